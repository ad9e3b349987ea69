"""Faults for running and resting sweeps: parts of Ray killed or stopped, files harmed, full disks, clocks that jump."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kills import ARM_REPORTS, DEADLINE, Moment, descendants, differences, finished, kill, resume, start, wait_for

SPACE = """\
name: chaos
trainable: surface
train: {steps: 40, seconds_per_step: 0.15, checkpoint_every: 3}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  baselines: [scratch]
  blocks: 4
resources: {arms_per_trial: 5, max_concurrent: 2, max_silence: 60}
"""
STOPPED_SECONDS = 20  # a driver that is continued afterwards
REFUSED = ("plan.json", "space.yaml")  # at rest, a run with a damaged plan or space is refused
# What a Python process reads as the time, with PYTHONPATH at this file's folder: `offset` next to it shifts it.
CLOCK = """\
import pathlib, time
_real, _file = time.time, pathlib.Path(__file__).with_name("offset")
def _shifted():
    try:
        return _real() + float(_file.read_text())
    except (OSError, ValueError):
        return _real()
time.time = _shifted
"""


@dataclass
class Disturbed:
    """A sweep that is to be disturbed."""

    process: subprocess.Popen[bytes]
    storage: Path
    draw: random.Random
    harmed: set[str] = field(default_factory=set)  # files of the run that the fault changed

    @property
    def run(self) -> Path:
        return self.storage / "run"


Fault = Callable[[Disturbed], str]  # does it, and states what it did; raises LookupError without a target


def _signal(part: str, by: signal.Signals) -> Fault:
    def fault(sweep: Disturbed) -> str:
        if not kill(part, sweep.process, by):
            raise LookupError(part)
        return f"{by.name} to {part}"

    return fault


def _stop_driver(sweep: Disturbed) -> str:
    sweep.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    sweep.process.send_signal(signal.SIGCONT)
    return f"driver stopped for {STOPPED_SECONDS} s"


def _signals(sweep: Disturbed) -> str:
    number = sweep.draw.randint(2, 30)
    for _ in range(number):
        sweep.process.send_signal(sweep.draw.choice((signal.SIGINT, signal.SIGTERM)))
        time.sleep(sweep.draw.uniform(0, 0.3))
    return f"{number} SIGINT and SIGTERM"


def _object_store(sweep: Disturbed) -> str:
    raylet = descendants(sweep.process.pid, "ray/raylet/raylet")[0]
    arguments = Path(f"/proc/{raylet}/cmdline").read_text().split("\0")
    socket = next(argument.split("=", 1)[1] for argument in arguments if argument.startswith("--store_socket_name="))
    Path(socket).unlink()
    return "object store's socket removed"


def _file(harm: str) -> Fault:
    def fault(sweep: Disturbed) -> str:
        files = sorted(file for file in sweep.run.rglob("*") if _belongs_to(file, sweep.run))
        kinds = sorted({file.relative_to(sweep.run).parts[0] for file in files})
        kind = sweep.draw.choice(kinds)  # so that records are not the only targets
        file = sweep.draw.choice([file for file in files if file.relative_to(sweep.run).parts[0] == kind])
        name = file.relative_to(sweep.run).as_posix()
        content = bytearray(file.read_bytes())
        sweep.harmed.add(name)
        if harm == "deleted":
            file.unlink()
        elif harm == "cut off":
            file.write_bytes(content[: sweep.draw.randrange(len(content) or 1)])
        elif content:
            content[sweep.draw.randrange(len(content))] ^= 1 << sweep.draw.randrange(8)
            file.write_bytes(bytes(content))
        return f"{name} {harm}"

    return fault


def _belongs_to(file: Path, run: Path) -> bool:
    """Ray's files and the report are rebuilt; what is being written has a name that begins with a dot."""
    parts = file.relative_to(run).parts
    return file.is_file() and parts[0] not in ("ray", "report", "logs") and not file.name.startswith(".")


def _folder(sweep: Disturbed) -> str:
    sweep.harmed |= {file.relative_to(sweep.run).as_posix() for file in sweep.run.rglob("*")}
    shutil.rmtree(sweep.run, ignore_errors=True)
    return "run folder deleted"


def _disk(sweep: Disturbed) -> str:
    """On a storage that is small (`small_disk`)."""
    with (sweep.storage / "filling").open("ab", buffering=0) as stream, suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    return "disk filled"


def _clock(sweep: Disturbed) -> str:
    seconds = sweep.draw.choice((-86400, -3600, -61, 61, 3600, 86400))
    (sweep.storage.with_suffix(".clock") / "offset").write_text(str(seconds))
    return f"clock set by {seconds:+d} s"


RUNNING: dict[str, Fault] = {
    "driver killed": _signal("driver", signal.SIGKILL),
    "actor killed": _signal("actor", signal.SIGKILL),
    "agent killed": _signal("agent", signal.SIGKILL),
    "raylet ended": _signal("raylet", signal.SIGTERM),
    "raylet killed": _signal("raylet", signal.SIGKILL),
    "GCS killed": _signal("gcs", signal.SIGKILL),
    "dashboard killed": _signal("dashboard", signal.SIGKILL),
    "driver stopped": _stop_driver,
    "actor stopped": _signal("actor", signal.SIGSTOP),
    "raylet stopped": _signal("raylet", signal.SIGSTOP),
    "GCS stopped": _signal("gcs", signal.SIGSTOP),
    "dashboard stopped": _signal("dashboard", signal.SIGSTOP),
    "object store": _object_store,
    "file deleted": _file("deleted"),
    "file cut off": _file("cut off"),
    "file flipped": _file("flipped"),
    "folder deleted": _folder,
    "disk full": _disk,
    "clock": _clock,
    "signals": _signals,
}
AT_REST: dict[str, Fault] = {
    f"{name} at rest": RUNNING[name] for name in ("file deleted", "file cut off", "file flipped")
}
FAULTS = RUNNING | AT_REST


@dataclass(frozen=True, kw_only=True)
class RecordedCalls:
    """Result of a fault. `wrong` is empty when the results are the uninterrupted sweep's, or the run was refused."""

    what: str  # was done
    code: int  # of the sweep that was disturbed
    seconds: float  # until its end
    result: str  # "same bits" or "refused"
    wrong: list[str]


def disturb(kind: str, expected: Path, storage: Path, draw: random.Random) -> RecordedCalls:
    """One sweep, one fault, and resuming until it is done. Raises LookupError when the sweep finishes first."""
    log = storage.with_suffix(".log")
    with ExitStack() as stack:
        environment = stack.enter_context(_prepared(kind, storage))
        process = start(
            *("--space", expected / "space.yaml", "--name", "run", "--storage", storage), log=log, **environment
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        sweep = Disturbed(process, storage, draw)
        moment = Moment(reports=ARM_REPORTS, share=draw.uniform(0.02, 0.95), seconds=draw.uniform(0, 3))
        if not wait_for(moment, process, storage):
            raise LookupError("the sweep ended before its fault")
        if kind in AT_REST:
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE)
        before = finished(sweep.run)
        started = time.monotonic()
        what = FAULTS[kind](sweep)
        code = process.wait(DEADLINE)
        seconds = time.monotonic() - started
        (storage / "filling").unlink(missing_ok=True)
        stored = {name: record for name, record in before.items() if f"arms/{name}" not in sweep.harmed}
        return _resumed(
            RecordedCalls(what=what, code=code, seconds=seconds, result="", wrong=[]), sweep, expected, stored
        )


def _resumed(
    calls: RecordedCalls, sweep: Disturbed, expected: Path, stored: dict[str, tuple[int, bytes]]
) -> RecordedCalls:
    log = sweep.storage.with_suffix(".log")
    wrong = [] if calls.code in (0, 3, 130, -signal.SIGKILL) else [f"exit code {calls.code}"]
    for _ in range(3):  # an unnoticed damage of a record is detected at the end; the arm runs with the next
        code = resume(sweep.storage, "run")
        if code != 3:
            break
    if "Traceback" in log.read_text():
        wrong.append("a traceback")
    if code == 2 and sweep.harmed & set(REFUSED) and any(name in log.read_text() for name in sweep.harmed):
        result = "refused"
    else:
        result = "same bits"
        after = finished(sweep.run)
        wrong += [f"exit code {code} of --resume"] * (code != 0) + differences(sweep.run, expected)
        wrong += [f"{name} was touched" for name, record in stored.items() if after.get(name) != record]
    return RecordedCalls(what=calls.what, code=calls.code, seconds=calls.seconds, result=result, wrong=wrong)


@contextmanager
def _prepared(kind: str, storage: Path) -> Iterator[dict[str, str]]:
    """The storage, small where the disk is to fill, and the environment of the sweep. Mounting needs root."""
    storage.mkdir()
    if kind == "clock":
        folder = storage.with_suffix(".clock")
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(CLOCK)
        yield {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}
        return
    if kind != "disk full":
        yield {}
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", storage], check=True)
    try:
        yield {}
    finally:
        subprocess.run(["umount", "--lazy", storage], check=True)
