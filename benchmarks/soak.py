#!/usr/bin/env python3
"""Does a long sweep grow, and does it lose anything?

    export PYTHONPATH=tests/helpers
    python benchmarks/soak.py                               304 short trials: the driver's memory and open files
    python benchmarks/soak.py --minutes 60 --every 30       3,000 students of DASH of three steps; a fault every 30 s

Faults are drawn from tests/helpers/faults.py; a sweep that exits is resumed. After the time is up, the sweep
runs to its end without faults. Exit code 1 when an arm is missing or a finished arm has changed.
"""

from __future__ import annotations

import argparse
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import faults
from kills import descendants, finished, start

REPORT_INTERVAL = 50  # trials between two lines
LINE_SECONDS = 300  # between two lines of the long table
FACTORIAL = """\
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
    curriculum_transfer: {off: {curriculum: learned}}
"""
SHORT = (
    f"name: soak\ntrainable: surface\ntrain: {{steps: 3}}\n{FACTORIAL}  blocks: 38\nresources: {{arms_per_trial: 1}}\n"
)
LONG = f"""\
name: soak
trainable: dash
data: {{name: digits}}
teacher: {{channels: [8, 16], norm_groups: 4, steps: 20, batch_size: 16, ema: 0.9, workers: 1}}
student: {{channels: [8], norm_groups: 4}}
train: {{steps: 3, batch_size: 16, ema: 0.9, log_every: 1, checkpoint_every: 1}}
evaluate: {{samples: 640, sampler_steps: 2, gap_samples: 64}}
{FACTORIAL}  blocks: BLOCKS
resources: {{arms_per_trial: 8, max_retries: 100, max_silence: 600}}
"""
CELLS = 8
# Few of them stop the sweep, so that it makes progress: Ray's start lasts as long as the time between faults.
KINDS = (
    *("actor killed",) * 4,
    *("file deleted", "file cut off", "file flipped"),
    *("dashboard killed", "clock", "driver killed", "agent killed", "signals"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0, help="of faults; 0: the short form, without any")
    parser.add_argument("--every", type=float, default=30, help="seconds between two faults")
    parser.add_argument("--arms", type=int, default=3000, help="a multiple of 8; a fast machine needs more for an hour")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, ray {version('ray')}")
    with tempfile.TemporaryDirectory(prefix="branchwise-soak-") as scratch:
        if options.minutes:
            return soak(Path(scratch), options.arms, 60 * options.minutes, options.every, random.Random(options.seed))
        return expected(Path(scratch))


def expected(folder: Path) -> int:
    (folder / "space.yaml").write_text(SHORT)
    process = start("--space", folder / "space.yaml", "--storage", folder, log=folder / "log")
    started, last_done = time.monotonic(), 0
    print("trials  seconds  resident MB  open files  threads", flush=True)
    while process.poll() is None:
        done = len(list((folder / "soak/arms").glob("[!.]*.json")))
        if done >= last_done + REPORT_INTERVAL or (last_done == 0 and done):
            last_done = done
            print(f"{done:6d}  {time.monotonic() - started:7.0f}  {_state(process.pid)}", flush=True)
        time.sleep(0.2)
    if process.returncode:
        print((folder / "log").read_text())
    return process.returncode


def soak(folder: Path, arms: int, seconds: float, interval: float, draw: random.Random) -> int:
    (folder / "space.yaml").write_text(LONG.replace("BLOCKS", str(arms // CELLS)))
    storage, run = folder / "storage", folder / "storage/run"
    (folder / "storage.clock").mkdir()
    (folder / "storage.clock/sitecustomize.py").write_text(faults.CLOCK)
    # The scratch folders of workers are where they can be counted; the path of Ray's sockets must be short.
    environment = {"PYTHONPATH": str(folder / "storage.clock"), "TMPDIR": str(folder), "RAY_TMPDIR": "/tmp"}
    new = ("--space", folder / "space.yaml", "--name", "run", "--storage", storage)
    resumed = ("--resume", "run", "--storage", storage)
    print("minute  arms  faults  starts  resident MB  open files  threads  processes  scratch folders", flush=True)
    started = last_line = last_fault = time.monotonic()
    sizes: dict[str, tuple[int, bytes]] = {}
    harmed: set[str] = set()  # files that faults changed
    number, starts, wrong = 0, 0, []
    process: subprocess.Popen[bytes] | None = None
    while True:
        now = time.monotonic()
        if process is None or process.poll() is not None:
            if process is not None and process.returncode in (0, 2):
                break
            has_started = (run / "plan.json").exists()
            process, starts = start(*(resumed if has_started else new), log=folder / "log", **environment), starts + 1
            last_fault = now
        if now - last_line > LINE_SECONDS:
            last_line = now
            counts = f"{len(list((run / 'arms').glob('[!.]*.json'))):5d}  {number:6d}  {starts:6d}"
            print(
                f"{(now - started) / 60:6.0f}  {counts}  {_state(process.pid)}  {_leftovers(process.pid, folder)}",
                flush=True,
            )
        moves = any((run / "progress").glob("*.json")) and descendants(process.pid, "ray::ResourceTrainable")
        if now - started < seconds and now - last_fault > interval and moves:
            last_fault, number = now, number + 1
            harmed |= _disturb(faults.Disturbed(process, storage, draw), draw)
            wrong += _touched(sizes, run, harmed)
        time.sleep(1)
    wrong += _touched(sizes, run, harmed)
    done = len(finished(run))
    print(f"{done} of {arms} arms after {(time.monotonic() - started) / 60:.0f} min, {number} faults, {starts} starts; "
          f"{len(wrong)} finished arms touched")  # fmt: skip
    print("\n".join(wrong))
    traceback = "Traceback" in (folder / "log").read_text()
    print("tracebacks were printed" if traceback else "no traceback was printed")
    return 0 if done == arms and not wrong and not traceback else 1


def _disturb(sweep: faults.Disturbed, draw: random.Random) -> set[str]:
    """The files that it harmed."""
    try:
        faults.FAULTS[draw.choice(KINDS)](sweep)
    except (LookupError, OSError):  # its target has just exited
        return set()
    return sweep.harmed


def _touched(records: dict[str, tuple[int, bytes]], run: Path, harmed: set[str]) -> list[str]:
    """Return finished arms with changed records, except harmed ones, and update `records`."""
    now = {name: record for name, record in finished(run).items() if f"arms/{name}" not in harmed}
    for name in harmed:
        records.pop(name.removeprefix("arms/"), None)
    wrong = [f"{name} was touched" for name, record in records.items() if now.get(name) != record]
    records.update(now)
    return wrong


def _state(pid: int) -> str:
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return f"{int(status['VmRSS'].split()[0]) / 1024:11.0f}  {files:10d}  {int(status['Threads']):7d}"
    except (OSError, KeyError):  # it has just exited
        return f"{'-':>11}  {'-':>10}  {'-':>7}"


def _leftovers(pid: int, folder: Path) -> str:
    return f"{len(descendants(pid, '')):9d}  {len(list(folder.glob('branchwise-*'))):15d}"


if __name__ == "__main__":
    sys.exit(main())
