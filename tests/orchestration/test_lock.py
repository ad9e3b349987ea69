"""One process at a time holds a run folder; the dead do not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from branchwise.orchestration.run_folder import lock
from branchwise.orchestration.run_folder.lock import HeldError, hold, hold_when_free
from branchwise.trainables.runtime.storage import Storage, storage_at

HOLDER = """
import sys, time
from pathlib import Path
from branchwise.orchestration.run_folder.lock import hold
from branchwise.trainables.runtime.storage import storage_at
with hold(storage_at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return storage_at(tmp_path / "run")


def start_holder(run: Storage, root: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'platform'}"}
    command = [sys.executable, "-c", HOLDER, run.root]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_run_is_refused_until_its_holder_is_dead(run: Storage, root: Path) -> None:
    process = start_holder(run, root)
    try:
        with pytest.raises(HeldError, match=f"process {process.pid} on {platform.node()}"), hold(run):
            pytest.fail("two hold it")
    finally:
        process.kill()
        process.wait()
    with hold(run):
        assert run.exists("lock.json")
    assert not run.exists("lock.json")


def test_one_that_waits_gets_it_in_the_end(run: Storage, root: Path) -> None:
    process = start_holder(run, root)
    waited = []

    def waiting() -> None:
        waited.append(1)
        process.kill()
        process.wait()

    with hold_when_free(run, waiting):
        assert waited


@pytest.mark.parametrize(
    ("host", "pid", "ago", "free"),
    [
        ("elsewhere", 1, 0, False),
        ("elsewhere", 1, 3600, True),
        (platform.node(), os.getppid(), 0, False),
        (platform.node(), os.getppid(), 3600, True),
        (platform.node(), os.getpid(), 0, True),
        (platform.node(), 2**22 + 1, 0, True),  # more than Linux ever gives
    ],
    ids=[
        "elsewhere, alive",
        "elsewhere, silent for an hour",
        "here, alive",
        "here, its number given to another process",
        "here, its number given to this process",
        "here, dead",
    ],
)
def test_whose_lock_counts(run: Storage, host: str, pid: int, ago: int, free: bool) -> None:
    run.write_json("lock.json", {"host": host, "pid": pid, "token": "x", "renewed": time.time() - ago})
    if free:
        with hold(run):
            pass
        return
    with pytest.raises(HeldError, match=f"process {pid} on {host}"), hold(run):
        pass
    assert run.exists("lock.json")


def test_an_unreadable_lock_does_not_count(run: Storage) -> None:
    run.write("lock.json", b"")
    with hold(run):
        assert run.read_json("lock.json")["pid"] == os.getpid()


def test_the_holder_gives_signs_of_life(run: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.01)
    with hold(run):
        first = run.read_json("lock.json")["renewed"]
        deadline = time.monotonic() + 60
        while run.read_json("lock.json")["renewed"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.read_json("lock.json")["renewed"] > first
