"""Training the teacher at the head of a sweep: interrupted, failing, gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

StartSweep = Callable[..., subprocess.Popen[str]]
Sweep = Callable[..., tuple[int, str]]


@pytest.mark.slow(45)
def test_an_interrupted_teacher_ends_the_sweep_with_130(start_sweep: StartSweep, root: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    process = start_sweep(
        "--space", root / "search_spaces/smoke.yaml", "--storage", storage, "--set", "teacher.steps=100000"
    )
    while not any(storage.glob("teachers/*.unfinished/progress/teacher.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 130, output
    assert "--resume smoke" in output


@pytest.mark.slow
def test_a_teacher_that_diverges_ends_the_sweep_with_its_reason(sweep: Sweep, root: Path, tmp_path: Path) -> None:
    space, storage = root / "search_spaces/smoke.yaml", tmp_path / "runs"
    code, output = sweep(
        "--space", space, "--storage", storage, "--set", "teacher.lr=1e30", "--set", "resources.max_retries=0"
    )
    assert code == 3, output
    assert "the teacher's training failed: FloatingPointError: the teacher's loss or its gradient was not" in output
    assert "Traceback" not in output
    (log,) = storage.glob("teachers/*.unfinished/logs/teacher.txt")
    assert str(log) in output
    assert "in train_teacher" in log.read_text()


@pytest.mark.slow(60)
def test_the_teacher_chooses_the_guidance_before_its_students_train(sweep: Sweep, root: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    settings = {
        "evaluate.guidance": "{choose: [6.0, {w_min: 1.0, w_max: 2.0, beta: 5.0}]}",
        "evaluate.at_steps": "[10, 20]",
        "design.blocks": "1",
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, output = sweep("--space", root / "search_spaces/smoke.yaml", "--storage", storage, *overrides)
    assert code == 0, output
    teacher = json.loads((storage / "smoke/manifest.json").read_text())["teacher"]
    tried = {json.dumps(row["guidance"]): row["value"] for row in teacher["guidance_candidates"]}
    assert len(tried) == 2
    assert tried[json.dumps(teacher["chosen_guidance"])] == min(tried.values())
    arms = pd.read_parquet(storage / "smoke/arms.parquet")
    (key,) = set(arms["comparability_key"])
    assert key == teacher["comparability_key"]
    told = {"6.0": 6.0}.get(json.dumps(teacher["chosen_guidance"]), "adaptive 1 to 2, beta 5")
    assert json.loads(key)["guidance"] == told
    assert set(arms["floor_halves"]) == {teacher["floor_halves"]}
    assert set(arms["floor_halves_samples"]) == {898}
    assert arms["floor_held_out"].isna().all()
    budgets = pd.read_parquet(storage / "smoke/budgets.parquet")
    assert budgets.groupby("arm")["step"].apply(list).tolist() == [[10, 20]] * len(arms)
    for column in ("value", "relative_gap", "mse_cond", "mse_uncond", "gap_mse", "rho"):
        assert budgets[column].notna().all()
    assert "Outcomes against training steps" in (storage / "smoke/report/index.html").read_text()
