"""Sweeps from the command line in a process that has started Ray itself: one start for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_teacher_that_diverges_ends_sweep_with_its_reason(sweep_here: Sweep, root: Path, tmp_path: Path) -> None:
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
