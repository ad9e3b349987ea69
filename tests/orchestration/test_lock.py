"""A single process at a time locks a run folder; leases of dead processes expire."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import patience

from branchwise.orchestration.errors import TakenOverError
from branchwise.orchestration.run_folder import lock
from branchwise.orchestration.run_folder.lock import RunLockedError, acquire_blocking, active_lease_owner, hold
from branchwise.trainables.runtime import processes
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


def test_locked_run_is_refused_until_holder_dies(run: Storage, root: Path) -> None:
    process = start_holder(run, root)
    try:
        with pytest.raises(RunLockedError, match=f"process {process.pid} on {platform.node()}"), hold(run):
            pytest.fail("two hold it")
    finally:
        process.kill()
        process.wait()
    with hold(run):
        assert run.exists("lock.json")
    assert not run.exists("lock.json")


def test_waiter_acquires_lock(run: Storage, root: Path) -> None:
    process = start_holder(run, root)
    waited = []

    def waiting() -> None:
        waited.append(1)
        process.kill()
        process.wait()

    with acquire_blocking(run, waiting):
        assert waited


@pytest.mark.parametrize(
    ("host", "pid", "ago", "free"),
    [
        ("elsewhere", 1, 0, False),
        ("elsewhere", 1, 3600, True),
        (platform.node(), os.getppid(), 0, False),
        (platform.node(), os.getppid(), 3600, True),
        (platform.node(), os.getpid(), 0, True),
        (platform.node(), 2**22 + 1, 0, True),  # more than Linux assigns
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
def test_lock_ownership(run: Storage, host: str, pid: int, ago: int, free: bool) -> None:
    run.write_json("lock.json", {"host": host, "pid": pid, "token": "x", "renewed": time.time() - ago})
    if free:
        with hold(run):
            pass
        return
    with pytest.raises(RunLockedError, match=f"process {pid} on {host}"), hold(run):
        pass
    assert run.exists("lock.json")


def test_stopped_holder_on_this_host_keeps_its_run(run: Storage, root: Path) -> None:
    """However long it is silent: it lives, and will go on."""
    process = start_holder(run, root)
    try:
        os.kill(process.pid, signal.SIGSTOP)
        run.write_json("lock.json", run.read_json("lock.json") | {"renewed": time.time() - 3600})
        with pytest.raises(RunLockedError, match=f"process {process.pid} on .* 3600 s ago"), hold(run):
            pytest.fail("two hold it")
        os.kill(process.pid, signal.SIGKILL)
        while processes.process_start_time(process.pid):  # dead, and a zombie until its parent waits for it
            time.sleep(0.01)
        with hold(run):
            pass
    finally:
        process.kill()
        process.wait()


def test_reused_pid_is_detected_by_start_time(run: Storage) -> None:
    local = {"host": platform.node(), "pid": os.getppid(), "token": "x", "renewed": time.time()}
    run.write_json("lock.json", local | {"host_namespace_id": processes.host_namespace_id(), "process_start_time": "1"})
    with hold(run):
        pass


def test_holder_hears_that_it_was_taken_over(run: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "REFRESH_SECONDS", 0.01)
    with hold(run) as lease:
        other = {"host": "elsewhere", "pid": 7, "token": "x", "renewed": time.time()}
        while not lease.holder:  # it may be refreshing its lease at the same moment
            run.write_json("lock.json", other)
            time.sleep(0.05)
        with pytest.raises(TakenOverError, match="taken over by process 7 on elsewhere"):
            lease.check()
    assert run.read_json("lock.json")["token"] == "x", "it is not ours to remove"


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_missing_lock_is_rewritten(run: Storage, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setattr(lock, "REFRESH_SECONDS", 0.01)
    run.write("plan.json", b"{}")
    with hold(run):
        if harm == "deleted":
            run.delete("lock.json")
        else:
            run.write("lock.json", b"{")
        deadline = time.monotonic() + patience(60)
        while time.monotonic() < deadline and not active_lease_owner(run):
            time.sleep(0.01)
        assert active_lease_owner(run)


def test_unreadable_lock_does_not_count(run: Storage) -> None:
    run.write("lock.json", b"")
    with hold(run):
        assert run.read_json("lock.json")["pid"] == os.getpid()


def test_holder_refreshes_lease(run: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "REFRESH_SECONDS", 0.01)
    with hold(run):
        first = run.read_json("lock.json")["renewed"]
        deadline = time.monotonic() + patience(60)
        while run.read_json("lock.json")["renewed"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.read_json("lock.json")["renewed"] > first
