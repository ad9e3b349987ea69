"""Sweeps as processes: started, killed at chosen moments, resumed, and compared with an uninterrupted sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from patience import patience

ROOT = Path(__file__).resolve().parents[2]
PROCESS = {  # what their command lines hold
    "actor": "ray::ResourceTrainable",
    "worker": "ray::RayTrainWorker",
    "agent": "ray::DashboardAgent",
    "raylet": "ray/raylet/raylet",
    "gcs": "gcs/gcs_server",
    "dashboard": "ray/dashboard/dashboard.py",
}
OF_RUN = (
    "sweep",
    "trial",
    "train_seconds",
    "eval_seconds",
    "sample_seconds",
    "sample_memory",
)  # columns that distinguish runs, not results
DEADLINE = 600  # seconds for a sweep, on an idle machine
TEACHER_REPORTS = "teachers/*.unfinished/progress/*.json"
ARM_REPORTS = "*/progress/*.json"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to kill: so many seconds after a report with this share of its work done."""

    reports: str
    share: float
    seconds: float


def start(*arguments: object, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """run_sweep.py with these arguments and variables, its output appended to `log`."""
    command = [sys.executable, str(ROOT / "platform/run_sweep.py"), *map(str, arguments)]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=log.parent, env=os.environ | environment
        )


def run_reference(space: Path, storage: Path) -> Path:
    """Runs `space` to its end; returns the run folder. Raises RuntimeError when that fails."""
    log = storage.with_suffix(".log")
    process = start("--space", space, "--storage", storage, "--name", "undisturbed", log=log)
    try:
        code = process.wait(patience(DEADLINE))
    finally:
        process.kill()
    if code:
        raise RuntimeError(f"the undisturbed sweep failed:\n{log.read_text()}")
    return storage / "undisturbed"


def wait_for(moment: Moment, process: subprocess.Popen[bytes], storage: Path) -> bool:
    """False when the sweep finished before that moment."""
    started = time.monotonic()
    while moment.share and max(map(_done, storage.glob(moment.reports)), default=-1.0) < moment.share:
        if process.poll() is not None or time.monotonic() - started > patience(DEADLINE):
            return False
        time.sleep(0.05)
    time.sleep(moment.seconds)
    return process.poll() is None


def _done(report: Path) -> float:
    try:
        state = json.loads(report.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0
    share: float = state["step"] / state["steps"]
    return 0.8 * share if state["phase"] == "train" else 0.8 + 0.2 * share


def kill(kind: str, process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGKILL) -> bool:
    """Sends a signal to the driver `process`, or to a process of that kind below it. False when the sweep finished
    before."""
    while process.poll() is None:
        victims = [process.pid] if kind == "driver" else descendants(process.pid, PROCESS[kind])
        if victims:
            os.kill(min(victims), by)
            return True
        time.sleep(0.1)  # it has not started yet
    return False


def descendants(root: int, name: str) -> list[int]:
    """The processes below `root` with `name` in their command line, as a program or as the title of a Ray process."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            pid, status = int(folder.name), (folder / "stat").read_text()
            names[pid] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just exited
        parents[pid] = int(status.rpartition(")")[2].split()[1])

    def below(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return [pid for pid, command in names.items() if name in command.partition("--")[0] and pid != root and below(pid)]


def finished(run: Path) -> dict[str, tuple[int, bytes]]:
    """The records of the finished arms: when each was written, and its content."""
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in (run / "arms").glob("[!.]*.json")}


def differences(run: Path, expected: Path) -> list[str]:
    """Return the tables and columns in which the results of `run` differ from `expected`, bit for bit."""
    wrong = []
    for file in sorted(expected.glob("*.parquet")):
        tables = [pd.read_parquet(folder / file.name) for folder in (run, expected)]
        actual, reference = (table.drop(columns=list(OF_RUN), errors="ignore") for table in tables)
        if len(actual) != len(reference) or list(actual) != list(reference):
            wrong.append(f"{file.name}: {len(actual)} rows for {len(reference)}, or other columns")
            continue
        # repr distinguishes all floats, and NaN equals NaN.
        wrong += [
            f"{file.name}: {name}"
            for name in actual
            if list(map(repr, actual[name])) != list(map(repr, reference[name]))
        ]
    return wrong


def resume(storage: Path, name: str, *arguments: object) -> int:
    """Resume the run until its end; return the exit code."""
    process = start("--resume", name, "--storage", storage, *arguments, log=storage.with_suffix(".log"))
    try:
        return process.wait(patience(DEADLINE))
    finally:
        process.kill()
