"""`--at`: which value of a history is a run's result, what is refused, and its mention in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorboardX

import branchwise as bw
from branchwise.analysis.__main__ import main
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run

OPTIONS: dict[str, Any] = {"components": ["ema"], "value": "loss", "direction": "minimize"}
STEPS = 6
RUNS = [(ema, seed) for ema in (0, 1) for seed in range(4)]


def history(ema: int, seed: int) -> list[float]:
    """Losses that are best at the second step."""
    draw = np.random.default_rng(10 * seed + ema)
    return [
        float(np.float32(value))
        for value in 2 - 0.3 * ema + draw.uniform(0, 0.1, STEPS) - 0.5 * (np.arange(STEPS) == 1)
    ]


def ray(folder: Path) -> str:
    for ema, seed in RUNS:
        trial = folder / f"tuned/train_{ema}{seed}"
        trial.mkdir(parents=True)
        (trial / "params.json").write_text(json.dumps({"ema": ema, "seed": seed}))
        lines = [{"loss": loss, "training_iteration": i} for i, loss in enumerate(history(ema, seed))]
        (trial / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder / "tuned")


def tensorboard(folder: Path) -> str:
    for ema, seed in RUNS:
        with tensorboardX.SummaryWriter(str(folder / f"tb/{ema}{seed}")) as writer:
            for step, loss in enumerate(history(ema, seed)):
                writer.add_scalar("loss", loss, step)
            writer.add_hparams({"ema": ema, "seed": seed}, {}, name="h")
    return str(folder / "tb")


def values(source: Any, out: Path, **changes: Any) -> tuple[dict[tuple[int, int], float], list[str]]:
    """The value of each run, and the notes."""
    run = load_run(run_from_table(source, ImportOptions(**{**OPTIONS, **changes}), out / "made"))
    keys = zip(run.arms["component.ema"].astype(int), run.arms["seed"], strict=True)
    cells = dict(zip(keys, run.arms["value"], strict=True))
    return cells, list(json.loads((out / "made/manifest.json").read_text())["notes"])


@pytest.mark.parametrize("write", [ray, tensorboard])
def test_value_is_chosen_by_name(write: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in")
    choices: dict[str | None, Callable[[list[float]], float]] = {
        None: lambda item: item[-1],
        "last": lambda entry: entry[-1],
        "best": min,
        "3": lambda row: row[3],
    }
    for at, chosen in choices.items():
        result, notes = values(source, tmp_path, at=at)
        assert result == {run: chosen(history(*run)) for run in RUNS}
        assert any("optimistic" in note for note in notes) == (at == "best")
        assert any("value at step 3" in note for note in notes) == (at == "3")
    result, _ = values(source, tmp_path, at="best", direction="maximize")
    assert result == {run: max(history(*run)) for run in RUNS}
    with pytest.raises(RunFolderError, match=r"no value at step 6 in 8 runs: .*; the last step that all have is 5"):
        values(source, tmp_path, at="6")
    with pytest.raises(RunFolderError, match=r"--at first: it must be last, best or the number of a step"):
        values(source, tmp_path, at="first")


def test_step_missing_from_run_is_refused(tmp_path: Path) -> None:
    """Failed runs need no such step, and runs of equal length are not called unequal."""
    source = Path(ray(tmp_path))
    short, failed = source / "train_12/result.json", source / "train_03/result.json"
    short.write_text("".join(short.read_text().splitlines(keepends=True)[:4]))
    failed.write_text(failed.read_text().splitlines(keepends=True)[0] + '{"loss": 0.')
    result, notes = values(str(source), tmp_path, at="3")
    assert result[1, 2] == history(1, 2)[3]
    assert np.isnan(result[0, 3])
    assert not any("equally long" in note for note in notes)
    with pytest.raises(RunFolderError, match=r"step 5 in 1 run: run 7 \(train_12\); the last step that all have is 3"):
        values(str(source), tmp_path, at="5")


def test_duplicate_step_is_noted(tmp_path: Path) -> None:
    source = Path(ray(tmp_path))
    file = source / "train_00/result.json"
    file.write_text(
        file.read_text() + '{"loss": 9.5, "training_iteration": 3}\n{"loss": 9.0, "training_iteration": 5}\n'
    )
    for at, value in (("3", 9.5), ("last", 9.0)):
        result, notes = values(str(source), tmp_path, at=at)
        assert result[0, 0] == value
        assert any(note.startswith("1 run logged loss more than once at that step") for note in notes)


def test_best_of_diverged_run_is_noted(tmp_path: Path) -> None:
    source = Path(ray(tmp_path))
    file = source / "train_00/result.json"
    file.write_text(file.read_text() + '{"loss": NaN, "training_iteration": 6}\n')
    result, notes = values(str(source), tmp_path, at="best")
    assert result[0, 0] == min(history(0, 0))
    assert any(note.startswith("1 run had no finite loss at the end") for note in notes)
    assert np.isnan(values(str(source), tmp_path, at="last")[0][0, 0])


def test_at_without_history_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame([{"ema": ema, "seed": seed, "loss": history(ema, seed)[-1]} for ema, seed in RUNS])
    table.to_csv(tmp_path / "runs.csv", index=False)
    command = [str(tmp_path / "runs.csv"), "--components", "ema", "--value", "loss", "--direction", "minimize"]
    for at in ("last", "best", "3"):
        assert main([*command, "--at", at]) == 2
        assert f"one value of loss for each run and no history; leave out --at {at}" in capsys.readouterr().err
    with pytest.raises(bw.InputError, match="no history"):
        bw.analyze(table, **OPTIONS, at=3)
    with pytest.raises(RunFolderError, match=r"holds no history of config\.seed"):
        run_from_table(
            ray(tmp_path),
            ImportOptions(**{**OPTIONS, "block": "training_iteration", "value": "seed", "at": "best"}),
            tmp_path / "x",
        )
