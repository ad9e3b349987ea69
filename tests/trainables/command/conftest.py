"""Programs to run, and an arm's run without Ray."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from branchwise.trainables import Arm, Context, Result, load_trainable

TRAIN = """
    import argparse, json, random

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--ema", action="store_true")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    for step in range(1, 5):
        print(json.dumps({"step": step, "accuracy": 0.1 * step, "loss": 1 / step}))
    accuracy = 0.7 + options.lr + 0.1 * options.ema + draw.gauss(0, 0.01)
    accuracy = accuracy if options.lr < 1 else float("nan")
    json.dump({"accuracy": accuracy, "cost": {"gpu": [1.5]}}, open("result.json", "w"))
"""


@pytest.fixture
def tree() -> dict[str, Any]:
    """The trainable's keys of a space that runs TRAIN."""
    return {
        "command": {
            "run": ["python", "train.py", "--lr", "{lr}", "--seed", "{seed}", "{ema}"],
            "metric": {"file": "result.json", "key": "accuracy"},
            "direction": "maximize",
        },
        "settings": {"lr": 0.001, "ema": "--ema"},
    }


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a program next to the space and returns its folder."""

    def write(text: str) -> Path:
        (tmp_path / "train.py").write_text(textwrap.dedent(text))
        return tmp_path

    return write


@pytest.fixture
def train(program: Callable[[str], Path]) -> Path:
    """The folder with the program that `tree` runs."""
    return program(TRAIN)


class RecordedCalls:
    """The calls of an arm's run to its context."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.folders: dict[str, dict[str, str]] = {}
        self.reports: list[Mapping[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.rung_calls: list[tuple[int, float]] = []

    def finish(self, arm: Arm, result: Result, folder: Path | None) -> None:
        self.results[arm.name] = result
        self.folders[arm.name] = {file.name: file.read_text() for file in folder.iterdir()} if folder else {}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., RecordedCalls]:
    """Runs an arm with these keys of a space. A search continues it while its value is not above `limit`."""
    number = 0

    def run_arm(
        tree: Mapping[str, Any],
        *,
        seed: int = 3,
        rungs: tuple[int, ...] = (),
        limit: float = 9.0,
        name: str = "command",
    ) -> RecordedCalls:
        nonlocal number
        number += 1
        trainable = load_trainable(name, tree, str(tmp_path))
        calls = RecordedCalls()
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()

        def keep(arm: Arm, step: int, value: float) -> bool:
            calls.rung_calls.append((step, value))
            return value <= limit

        context = Context(
            rank=0,
            world_size=1,
            device="cpu",
            threads=1,
            scratch=scratch,
            teacher=None,
            report=calls.reports.append,
            save=lambda content: None,
            load=lambda: None,
            finish=calls.finish,
            rungs=rungs,
            should_continue=keep,
            workspaces=tmp_path / "workspaces",
            log=lambda arm, text: calls.logs.update({arm.name: text}),
        )
        spec = trainable.Spec.model_validate(tree)
        trainable.run_cohort([Arm(name="arm", seed=seed, spec=spec)], context)
        return calls

    return run_arm
