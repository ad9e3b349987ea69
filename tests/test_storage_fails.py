"""A full or read-only storage: a message, an exit code, and only complete files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from branchwise.orchestration.errors import StorageUnavailableError
from branchwise.orchestration.run_folder import lock
from branchwise.trainables.runtime.storage import storage_at

Sweep = Callable[..., tuple[int, str]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Fill the disk, to the last page."""
    with (folder / "filling").open("ab", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return


def test_full_storage_is_refused_before_anything_starts(
    sweep_in_process: Sweep, surface_space: Path, small: Path
) -> None:
    fill(small)
    code, output = sweep_in_process("--space", surface_space, "--storage", small)
    assert code == 2
    assert "cannot be written: No space left on device" in output
    assert "Traceback" not in output


def test_read_only_storage_is_refused_before_anything_starts(
    sweep_in_process: Sweep, surface_space: Path, small: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    code, output = sweep_in_process("--space", surface_space, "--storage", small)
    assert code == 2
    assert "cannot be written: Read-only file system" in output
    assert "Traceback" not in output
    assert sweep_in_process("--space", surface_space, "--storage", small, "--dry-run")[0] == 0


def test_holder_detects_unavailable_storage(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2)  # longer than a busy machine may keep a thread waiting
    with lock.hold(storage_at(small / "run")) as lease:
        time.sleep(2.2)
        lease.check()
        while lease.failure is None:  # a renewal in progress lets go of its last file just after the disk was filled
            fill(small)
            time.sleep(0.001)
        lease.check()  # for a moment it may be full
        time.sleep(2.2)
        with pytest.raises(StorageUnavailableError, match="No space left on device"):
            lease.check()
        (small / "filling").unlink()
        time.sleep(1)
        lease.check()


@pytest.mark.slow(45)
@pytest.mark.usefixtures("ray_session")
def test_full_disk_stops_sweep_and_resume_continues(
    sweep_in_process: Sweep, surface_space: Path, small: Path, root: Path, tmp_path: Path
) -> None:
    # The minute for which a storage may fail is cut short; the rest is the command line.
    program = (
        "import sys; from branchwise.commands import run_sweep; sys.argv[0] = 'platform/run_sweep.py'; "
        "from branchwise.orchestration.run_folder import lock; "
        "lock.REFRESH_SECONDS, lock.LEASE_SECONDS = 0.5, 3"
    )
    command = [sys.executable, "-c", f"{program}; sys.exit(run_sweep.main(sys.argv[1:]))", "--storage", str(small)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    slow = ["--set", "train={steps: 20, seconds_per_step: 0.2}", "--set", "resources.arms_per_trial=3"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--space", str(surface_space), *slow], env=environment, stdout=stream, stderr=stream
        )
        run = small / "surface-ablation"
        while not any(run.glob("arms/*.json")):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        fill(small)
        assert process.wait(120) == 3, log.read_text()
    assert "No space left on device" in log.read_text()
    assert "--resume surface-ablation" in log.read_text()
    assert "Traceback" not in log.read_text()
    for file in (*run.glob("*.json"), *run.glob("arms/*.json")):
        json.loads(file.read_text())

    (small / "filling").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
    code, output = sweep_in_process("--resume", "surface-ablation", "--storage", small)
    assert code == 0, output
    assert "27 of 27 arms done" in output
