"""Scratch folders of killed processes go with the next that needs a folder; those of the living stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from patience import patience

from branchwise.trainables.runtime.processes import host_namespace_id, process_start_time, scratch_folder

ROOT = Path(__file__).resolve().parents[1]
WORKER = """
import time
from branchwise.trainables.runtime.processes import scratch_folder
with scratch_folder() as folder:
    (folder / "teacher").mkdir()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start_worker(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_only_dead_workers_folders_are_removed(temporary: Path) -> None:
    (killed, abandoned), (living, used) = start_worker(temporary), start_worker(temporary)
    try:
        killed.kill()
        killed.wait()
        with scratch_folder() as local:
            assert local.is_dir()
            assert not abandoned.exists()
            assert (used / "teacher").is_dir()
        assert not local.exists()
        os.kill(living.pid, signal.SIGSTOP)
        with scratch_folder():
            assert used.exists(), "stopped is not dead"
    finally:
        living.kill()
        living.wait()


def test_folders_of_other_machines_and_of_other_programs_stay(temporary: Path) -> None:
    stored = [
        f"branchwise-00000000-{2**22 + 1}-5-x",
        "branchwise-old",
        f"branchwise-{host_namespace_id()}-one-5-x",
        "other",
    ]
    for name in stored:
        (temporary / name).mkdir()
    (temporary / f"branchwise-{host_namespace_id()}-{os.getpid()}-1-x").mkdir()  # its number is reused now
    with scratch_folder():
        pass
    assert sorted(folder.name for folder in temporary.iterdir()) == sorted(stored)


def test_dead_have_no_birth() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert process_start_time(process.pid) == process_start_time(process.pid) != ""
    process.kill()
    deadline = time.monotonic() + patience(20)
    while process_start_time(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process_start_time(process.pid) == "", "a zombie is dead"
    process.wait()
    assert process_start_time(2**22 + 1) == ""
