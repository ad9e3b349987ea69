"""Training the teacher at the head of a sweep: interrupted, failing, gone on with."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

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
