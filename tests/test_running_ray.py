"""Sweeps from the command line in a process that has started Ray itself: one start for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from branchwise.orchestration.space import load_space

Sweep = Callable[..., tuple[int, str]]

pytestmark = [pytest.mark.slow(20), pytest.mark.usefixtures("ray_session")]


def test_names_are_free_or_refused(sweep_here: Sweep, surface_space: Path, tmp_path: Path) -> None:
    arguments = ("--space", surface_space, "--storage", tmp_path, "--set", "design.blocks=1")
    code, output = sweep_here(*arguments)
    assert code == 0, output
    run = tmp_path / "surface-ablation"
    before = (run / "arms.parquet").read_bytes()
    code, output = sweep_here(*arguments)
    assert code == 0, output
    assert (tmp_path / "surface-ablation-2/arms.parquet").exists()
    assert (run / "arms.parquet").read_bytes() == before
    code, output = sweep_here(*arguments, "--name", "surface-ablation")
    assert code == 2
    assert "exists already" in output


STOPPED = """\
name: stopped
trainable: surface
train: {steps: 9}
faults: {crash: [1001]}
design:
  kind: search
  arms: 12
  scheduler: asha
  rungs: [3, 6]
  reduction: 2
  knobs:
    uncond_weight: {uniform: [0.1, 3.0]}
  blocks: 2
resources: {max_retries: 0}
"""


def test_stopped_and_failed_arms_are_told_apart(sweep_here: Sweep, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(STOPPED)
    code, output = sweep_here("--space", tmp_path / "space.yaml", "--storage", tmp_path)
    assert code == 3, output
    arms = pd.read_parquet(tmp_path / "stopped/arms.parquet").set_index("arm")
    searched = arms[arms["kind"] == "search"]
    assert len(searched) == 12
    assert set(searched["status"]) == {"done", "stopped"}
    stopped = searched[searched["status"] == "stopped"]
    assert set(stopped["steps"]) <= {3, 6}
    assert stopped["value"].isna().all()
    assert stopped["rung_value"].notna().all()
    confirmed = arms[arms["kind"] == "confirm"]
    assert set(confirmed.loc[confirmed["seed"] == 1001, "status"]) == {"failed"}, "told to crash on this seed"
    assert "told to crash" in confirmed.loc["best-b1", "error"]
    assert "stopped at a rung" in output
    assert f"Ablate its best settings: branchwise run {tmp_path}/stopped/best.yaml" in output
    best = load_space(tmp_path / "stopped/best.yaml")
    assert best.folder == str(tmp_path)  # where its run was started from
    assert best.design.component_names() == ("uncond_weight",)


def test_a_teacher_that_diverges_ends_the_sweep_with_its_reason(sweep_here: Sweep, root: Path, tmp_path: Path) -> None:
    space, storage = root / "search_spaces/smoke.yaml", tmp_path / "runs"
    code, output = sweep_here(
        "--space", space, "--storage", storage, "--set", "teacher.lr=1e30", "--set", "resources.max_retries=0"
    )
    assert code == 3, output
    assert "the teacher's training failed: FloatingPointError: the teacher's loss or its gradient was not" in output
    assert "Traceback" not in output
    (log,) = storage.glob("teachers/*.unfinished/logs/teacher.txt")
    assert str(log) in output
    assert "in train_teacher" in log.read_text()
