"""For each end of a sweep: a message, an exit code, a matching manifest, and a run that resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from kills import ARM_REPORTS, ROOT, Moment, finished, kill, resume, start, wait_for
from patience import patience

SPACE = """\
name: endings
trainable: surface
train: {steps: 20, seconds_per_step: 0.4, checkpoint_every: 2}
design: {components: {uncond_branch: {off: {uncond_weight: 0}}, anchor: {off: {anchor_weight: 0}}}, blocks: 3}
resources: {arms_per_trial: 2}
"""
ARMS = 12
NOTICED_SECONDS = 75  # a minute, and the delay of a busy machine


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path / "storage"


@contextmanager
def started_sweep(storage: Path, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep with some arms finished and others in progress."""
    space = storage.with_name("space.yaml")
    process = start(
        "--space", space, "--storage", storage, "--name", "run", *arguments, log=storage.with_suffix(".log")
    )
    try:
        assert wait_for(Moment(reports=ARM_REPORTS, share=0.75, seconds=0), process, storage), log_of(storage)
        deadline = time.monotonic() + patience(120)
        while len(finished(storage / "run")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(storage: Path) -> str:
    return storage.with_suffix(".log").read_text()


def manifest(storage: Path) -> str:
    return str(json.loads((storage / "run/manifest.json").read_text())["status"])


def leftovers(storage: Path) -> list[Path]:
    return [*storage.rglob("*.tmp"), *storage.rglob("lock.json")]


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


FILES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "plan.json deleted": (lambda run: (run / "plan.json").unlink(), ["plan.json"]),
    "space.yaml cut off": (lambda run: cut_short(run / "space.yaml"), ["space.yaml"]),
    "all deleted": (shutil.rmtree, ["space.yaml and ", "plan.json"]),
}


@pytest.mark.long(60)
@pytest.mark.parametrize("case", FILES)
def test_missing_run_files_are_detected_and_rewritten(storage: Path, case: str) -> None:
    harm, named = FILES[case]
    with started_sweep(storage) as process:
        before = finished(storage / "run")
        harm(storage / "run")
        assert process.wait(patience(NOTICED_SECONDS)) == 3, log_of(storage)
    output = log_of(storage)
    assert "Traceback" not in output
    assert all(name in output for name in named), output
    assert "deleted or changed while the sweep ran" in output
    assert "To resume: " in output
    assert manifest(storage) == "failed"
    after = finished(storage / "run")
    assert f" {len(after)} finished arms are kept" in output or (not after and "0 finished arms" in output)
    if case != "all deleted":
        assert {name: after.get(name) for name in before} == before
    assert resume(storage, "run") == 0, log_of(storage)
    assert len(finished(storage / "run")) == ARMS


@pytest.mark.long(60)
@pytest.mark.parametrize(
    ("part", "by", "printed"),
    [
        ("agent", signal.SIGKILL, "Ray node of this machine is dead"),
        ("raylet", signal.SIGTERM, "Ray node of this machine is dead"),
        ("gcs", signal.SIGKILL, "Ray"),
    ],
)
def test_part_of_ray_that_dies_ends_sweep(storage: Path, part: str, by: signal.Signals, printed: str) -> None:
    with started_sweep(storage) as process:
        before = finished(storage / "run")
        assert kill(part, process, by)
        assert process.wait(patience(NOTICED_SECONDS + 30 * (part == "gcs"))) == 3, log_of(storage)
    output = log_of(storage)
    assert printed in output
    assert "To resume: " in output
    assert "Traceback" not in output
    assert manifest(storage) == "failed"
    assert leftovers(storage) == []
    assert resume(storage, "run") == 0, log_of(storage)
    after = finished(storage / "run")
    assert len(after) == ARMS
    assert {name: after[name] for name in before} == before, "a finished arm was touched"


def test_repeated_signals_count_as_single_request(storage: Path) -> None:
    """Also in a job of the background, which starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as its children inherit it
    try:
        with started_sweep(storage) as process:
            for number in range(60):
                process.send_signal(signal.SIGTERM if number % 7 == 6 else signal.SIGINT)
                time.sleep(0.05 if number < 40 else 0.5)
                if process.poll() is not None:
                    break
            assert process.wait(patience(120)) == 130, log_of(storage)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in log_of(storage)
    assert "To resume:" in log_of(storage)
    assert manifest(storage) == "interrupted"
    assert leftovers(storage) == []


@pytest.mark.long(40)
def test_interrupt_of_report_counts_for_sweep(storage: Path) -> None:
    with started_sweep(storage, "--set", "train.seconds_per_step=0.05") as process:
        deadline = time.monotonic() + patience(200)
        while manifest(storage) != "finished" and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(patience(60)) == 130, log_of(storage)
    assert "Traceback" not in log_of(storage)
    assert manifest(storage) == "interrupted"
    assert leftovers(storage) == []
    assert resume(storage, "run") == 0
    assert log_of(storage).count("Starting Ray") == 1, "every arm was there"
    assert manifest(storage) == "finished"


# Python reads this first: the process interrupts itself at this import.
INTERRUPTED = """
import os, signal, sys

class Interruption:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interruption())
"""


@pytest.mark.parametrize(
    "module",
    [
        "rich.console",
        "numpy",
        "pyarrow",
        "branchwise.orchestration.space",
        "branchwise.orchestration.execution.sweep",
        "ray",
    ],
)
def test_interrupt_at_start_prints_message(storage: Path, tmp_path: Path, module: str) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(INTERRUPTED)
    command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(storage.with_name("space.yaml"))]
    ran = subprocess.run(
        [*command, "--storage", str(storage)],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "start"), "INTERRUPTED_AT": module},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patience(100),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert ran.returncode == 130, ran.stdout
    assert "Traceback" not in ran.stdout
    last_line = ran.stdout.splitlines()[-1]
    assert last_line == (
        "run_sweep: Interrupted" if module == "ray" else "Interrupted"
    ) + " before anything had started" + ("" if module == "ray" else ".")
    assert not (storage / "endings").exists()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"HOME": "/proc/nowhere"}, "HOME"),
        ({"TMPDIR": "/proc/nowhere", "RAY_TMPDIR": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_unwritable_folders_are_refused_at_start(storage: Path, environment: dict[str, str], named: str) -> None:
    ran = _run(storage, environment)
    assert ran.returncode == 2, ran.stderr
    assert named in ran.stderr
    assert "resume" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not storage.exists()


def test_full_stdout_is_refused_at_start(storage: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = _run(storage, stdout=full)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr == "run_sweep: stdout cannot be written: No space left on device\n"
    assert not storage.exists()


def _run(
    storage: Path, environment: Mapping[str, str] = {}, stdout: int | IO[str] = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(storage.with_name("space.yaml"))]
    return subprocess.run(
        [*command, "--storage", str(storage)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        timeout=patience(200),
    )
