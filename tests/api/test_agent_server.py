"""`branchwise mcp`, used by a real client over stdio."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from patience import patience

if TYPE_CHECKING:
    from mcp.types import CallToolResult

SPACE = """\
name: agent
trainable: surface
train: {steps: 4}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  blocks: 4
  claims: [uncond_branch.shapley > 0]
"""


def text_of(result: CallToolResult) -> str:
    if not result.content:
        return ""
    content = result.content[0]
    assert content.type == "text"
    return content.text


async def session(root: Path, folder: Path, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[Any]]:
    """The names of the tools, and the result of each call: its value, or its error as text."""
    from mcp import Client, StdioServerParameters

    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "branchwise.cli", "mcp", "--root", str(folder)],
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    results: list[Any] = []
    async with Client(server) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            text = text_of(result)
            results.append(text if result.is_error else json.loads(text))
            deadline = time.monotonic() + patience(120)
            while name == "start" and results[-1]["started"] is not False:
                assert time.monotonic() < deadline, Path(results[-1]["log"]).read_text()
                state = await client.call_tool("status", {"name": results[-1]["name"]})
                if not state.is_error and json.loads(text_of(state))["state"] == "finished":
                    break
                await asyncio.sleep(0.5)
    return names, results


def test_tables_are_analysed_and_paths_confined(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    rows = [
        "ema,seed,acc",
        *(f"{e},{s},{0.6 + 0.05 * e + 0.001 * s * s + 0.002 * e * s}" for e, s in itertools.product((0, 1), range(5))),
    ]
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    table = {"components": ["ema"], "value": "acc", "direction": "maximize"}
    names, results = asyncio.run(
        session(
            root,
            folder,
            [
                ("analyze_table", table | {"path": "runs.csv"}),
                ("analyze_table", table | {"path": "../secret.csv"}),
                ("analyze_table", table | {"path": "link.csv"}),
                ("analyze_table", table | {"path": "runs.csv", "direction": "up"}),
                ("plan", {"space": str(tmp_path / "secret.csv")}),
                ("verdicts", {"name": "../work"}),
                ("status", {"name": "nothing"}),
            ],
        )
    )
    assert names == ["analyze_table", "plan", "start", "status", "stop", "verdicts", "verify"]
    assert results[0]["effects"][0]["effect"] == pytest.approx(5.4)
    for index, message in enumerate(
        ["leads outside", "leads outside", "direction", "leads outside", "name", "no such run"], 1
    ):
        assert message in results[index]
    assert sorted(path.name for path in folder.iterdir()) == ["link.csv", "runs.csv"]


@pytest.mark.slow(40)
def test_agent_plans_starts_and_reads_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    calls = [
        ("plan", {"space": "space.yaml"}),
        ("start", {"space": "space.yaml"}),
        ("verdicts", {"name": "agent"}),
        ("verify", {"name": "agent"}),
        ("stop", {"name": "agent"}),
    ]
    _, (planned, _, verdicts, checks, stopped) = asyncio.run(session(root, tmp_path, calls))
    assert planned["arms"] == 16
    assert verdicts["claims"][0]["verdict"] in ("supported", "refuted", "not shown")
    assert all(check["holds"] for check in checks["checks"])
    assert stopped["stopped"] is False
