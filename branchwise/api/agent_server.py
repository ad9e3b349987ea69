"""`branchwise mcp --root DIR`: the tools of this package for agents, by the Model Context Protocol over stdio.

Paths are confined to the root. The server starts spaces that lie there and nothing else, and an agent sees no verdict
before a run has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTRUCTIONS = """Branchwise answers which part of a method did it: ablations as factorial designs over shared seeds.
1. Write a space (YAML) with components, claims and at least 5 blocks. 2. `plan` it and show the user its cost.
3. `start` it, follow it with `status`, and read `verdicts` when it has finished.
Never change claims after a run has started, never add seeds because a result is not significant, never report a claim
that is "not shown" as refuted, and report failed arms."""


@dataclass(frozen=True)
class Workplace:
    """Scope of the tools: a folder of the user's, and the runs in its `results`."""

    root: Path

    @property
    def storage(self) -> Path:
        """The folder of runs."""
        return self.root / "results"

    def path(self, name: str) -> Path:
        """The path of what lies in the root.

        Raises:
            InputError: It leads outside, also by a link, or nothing is there.
        """
        from branchwise.api.errors import InputError

        try:
            path = (self.root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{name!r}: not found in {self.root}") from error
        if not path.is_relative_to(self.root):
            raise InputError(f"{name!r}: leads outside of {self.root}")
        return path

    def run(self, name: str) -> Any:
        """The folder of the run called `name`.

        Raises:
            UserError: There is no such run.
        """
        from branchwise.orchestration.errors import UserError
        from branchwise.orchestration.run_folder.plan_file import run_named
        from branchwise.trainables.runtime.storage import storage_at

        run = run_named(storage_at(str(self.storage)), name, "name")
        if not run.has_plan():
            raise UserError(f"name {name}: no such run in {self.storage}")
        return run


def analyze_table(
    workplace: Workplace,
    path: str,
    components: list[str],
    value: str,
    direction: str,
    block: str = "seed",
    claims: list[str] | None = None,
) -> dict[str, Any]:
    """Analyze external runs in a file of the root: effects, cells, exploratory claims, notes.

    Effects have intervals. components: columns whose values are compared. value: column of the
    result. direction: maximize or minimize. block: column of the seed that cells share.
    """
    from branchwise.api.tables import analyze

    source = workplace.path(path)
    study = analyze(source, components=components, value=value, direction=direction, block=block, claims=claims or [])
    return _study(study)


def plan(workplace: Workplace, space: str) -> dict[str, Any]:
    """Show what a space file of the root would run: arms, time, claims. Starts nothing."""
    from branchwise.orchestration.planning.plan import blocking_issues, plan_new
    from branchwise.orchestration.planning.plan_text import describe
    from branchwise.orchestration.space import load_space
    from branchwise.trainables.runtime.storage import storage_at

    planned = plan_new(load_space(workplace.path(space), imports=False), storage_at(str(workplace.storage)), None)
    return {
        "name": planned.run.name,
        "arms": planned.total,
        "seconds": planned.arm_seconds + planned.teacher_seconds + planned.startup_seconds,
        "obstacle": blocking_issues(planned),
        "plan": dict(describe(planned)),
    }


def start(workplace: Workplace, space: str) -> dict[str, Any]:
    """Start the sweep of a space file of the root in the background; return its run's name."""
    planned = plan(workplace, space)
    if planned["obstacle"]:
        return planned | {"started": False}
    name = planned["name"]
    workplace.storage.mkdir(exist_ok=True)
    log = workplace.storage / f"{name}.log"
    command = [sys.executable, "-m", "branchwise.cli", "run", str(workplace.path(space)), "--name", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--storage", str(workplace.storage)],
            cwd=workplace.root,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return {"started": True, "name": name, "arms": planned["arms"], "pid": process.pid, "log": str(log)}


def status(workplace: Workplace, name: str) -> dict[str, Any]:
    """Show how far a run is: its state, finished arms and time left. No effects and no verdicts."""
    from branchwise.orchestration.monitoring.run_state import RunState
    from branchwise.orchestration.monitoring.status import overview, remaining_seconds

    run = workplace.run(name)
    view, state = overview(run), RunState(run)
    state.refresh()
    return {
        "name": view.name,
        "state": view.state,
        "arms_done": view.done,
        "arms": view.total,
        "seconds_left": remaining_seconds(state, view.total) if view.holder else None,
    }


def stop(workplace: Workplace, name: str) -> dict[str, Any]:
    """Interrupt a run of this machine.

    Finished arms are kept, and `branchwise resume NAME` continues it.
    """
    import platform

    from branchwise.orchestration.errors import UserError
    from branchwise.orchestration.monitoring.status import overview

    holder = overview(workplace.run(name)).holder
    if holder is None:
        return {"name": name, "stopped": False, "reason": "nobody runs it"}
    if holder["host"] != platform.node():
        raise UserError(f"name {name}: runs on {holder['host']}; it can be stopped there only")
    os.kill(holder["pid"], signal.SIGINT)
    return {"name": name, "stopped": True}


def verdicts(workplace: Workplace, name: str) -> dict[str, Any]:
    """Read the results of an ended run: verdicts of claims, effects, cells, failed arms, notes."""
    from branchwise.api.study import load
    from branchwise.orchestration.errors import UserError
    from branchwise.orchestration.monitoring.status import overview

    run = workplace.run(name)
    if overview(run).holder:
        raise UserError(f"name {name}: still running; verdicts are given when it has ended, see `status`")
    return _study(load(str(run.root)))


def verify(workplace: Workplace, name: str) -> dict[str, Any]:
    """Check a run: sealed claims, planned arms, intact records, a report that matches them."""
    from branchwise.api.study import verify as verify_run

    return {"checks": _records(verify_run(str(workplace.run(name).root)))}


TOOLS: tuple[Callable[..., Any], ...] = (analyze_table, plan, start, status, stop, verdicts, verify)


def _study(study: Any) -> dict[str, Any]:
    arms = study.arms
    failed = arms[~arms["status"].isin(["done", "stopped"])]
    return {
        "name": study.name,
        "claims": _records(study.claims),
        "effects": _records(study.effects),
        "cells": _records(study.cells),
        "failed_arms": _records(failed[["arm", "status", "error"]]),
        "notes": list(study.notes),
        "folder": str(study.folder),
    }


def _records(table: Any) -> list[dict[str, Any]]:
    """Rows as plain values; numbers that are not finite are null."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def build_server(root: Path) -> Any:
    """Return the MCP server whose tools see `root`."""
    import functools
    import inspect

    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    from branchwise.api.errors import InputError, input_errors

    workplace = Workplace(root.resolve(strict=True))
    server = MCPServer("branchwise", instructions=INSTRUCTIONS, log_level="WARNING")

    def as_tool(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(**arguments: Any) -> Any:
            try:
                with input_errors():
                    return function(workplace, **arguments)
            except InputError as error:
                raise ToolError(str(error)) from error

        signature = inspect.signature(function, eval_str=True)
        given = [value for name, value in signature.parameters.items() if name != "workplace"]
        call.__signature__ = signature.replace(parameters=given)  # type: ignore[attr-defined]
        call.__annotations__ = {value.name: value.annotation for value in given} | {
            "return": signature.return_annotation
        }
        return call

    for function in TOOLS:
        server.add_tool(as_tool(function), name=function.__name__, description=function.__doc__)
    return server


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The command line of `branchwise mcp`."""
    parser = argparse.ArgumentParser(prog=program or "branchwise mcp", description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the tools may see (default: this one)")
    return parser


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Serve until the client closes the connection. Returns the exit code."""
    options = parser(program).parse_args(arguments)
    if not options.root.is_dir():
        print(f"branchwise mcp: --root {options.root}: must be a folder", file=sys.stderr)
        return 2
    try:
        server = build_server(options.root)
    except ModuleNotFoundError:
        print("branchwise mcp: mcp is not installed; pip install 'branchwise[mcp]'", file=sys.stderr)
        return 2
    server.run("stdio")
    return 0


if __name__ == "__main__":
    sys.exit(main())
