"""docs/own-script.md and the quick start of the README work unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from branchwise.cli import parser_of
from branchwise.orchestration.authoring.one_arm import arm_named, run_arm
from branchwise.orchestration.space import load_space

SCRIPT = """\
import argparse, json, random
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--seed", type=int)
parser.add_argument("--ema", action="store_true")
options = parser.parse_args()
accuracy = 0.7 + 0.1 * options.ema + random.Random(options.seed).gauss(0, 0.01)
json.dump({"accuracy": accuracy}, open("result.json", "w"))
"""
MAX_LINES = 15  # of the quick start, from a script to its table
Sweep = Callable[..., tuple[int, str]]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```(?:python|yaml)\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.long(60)
def test_script_and_function_of_page_run(root: Path, tmp_path: Path, sweep: Sweep) -> None:
    command, function, space = blocks(root / "docs/own-script.md")
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "train.yaml").write_text(command)
    (tmp_path / "fit.py").write_text(function)
    (tmp_path / "fit.yaml").write_text(space)
    (tmp_path / "readme.yaml").write_text(quick_space(quick_start(root)))
    for name in ("train", "fit", "readme"):
        code, output = sweep("--space", tmp_path / f"{name}.yaml", "--storage", tmp_path / "runs")
        assert code == 0, output
    table = pd.read_parquet(tmp_path / "runs/ema/arms.parquet").groupby("cell")["value"].mean()
    assert table["full"] - table["base"] == pytest.approx(0.1)


def test_page_lists_all_command_keys(root: Path) -> None:
    from branchwise.trainables.command.settings import CommandSettings

    page = (root / "docs/own-script.md").read_text()
    assert not [key for key in CommandSettings.model_fields if key != "run" and f"| `{key}` |" not in page]


def quick_start(root: Path) -> list[str]:
    """The lines of the README's quick start with a script: commands and the space."""
    text = (root / "README.md").read_text()
    section = text.partition("## Your own script")[2].partition("\n## ")[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


def quick_space(lines: list[str]) -> str:
    start = next(index for index, line in enumerate(lines) if line.startswith("name:"))
    end = next(index for index in range(start, len(lines)) if lines[index].startswith("branchwise "))
    return "\n".join(lines[start:end])


def test_quick_start_of_readme_is_short_and_right(root: Path, tmp_path: Path) -> None:
    """It runs, an arm with the component and an arm without; its sweep is in the long test."""
    lines = quick_start(root)
    assert 0 < len(lines) <= MAX_LINES
    space = quick_space(lines)
    assert yaml.safe_load(space)["trainable"] == "command"
    (tmp_path / "train.yaml").write_text(space)
    (tmp_path / "train.py").write_text(SCRIPT)
    loaded = load_space(tmp_path / "train.yaml")
    assert loaded.design.component_names() == ("ema",)
    full, base = (run_arm(loaded, arm_named(loaded, name), tmp_path / name) for name in ("full-b0", "base-b0"))
    assert full.result.values["value"] - base.result.values["value"] == pytest.approx(0.1)
    for line in lines:
        if line.startswith("branchwise "):
            command, *arguments = line.partition("#")[0].split()[1:]
            parser_of(command).parse_args(arguments)
