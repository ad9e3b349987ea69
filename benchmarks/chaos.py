#!/usr/bin/env python3
"""Kills parts of running sweeps at random moments, resumes them, and compares with a sweep that nobody disturbed.

    python benchmarks/chaos.py --kills 20 --seed 0

Each kill has a sweep of its own. SIGKILL hits in turn the driver, a trial's actor, a Ray Train worker (of the teacher
or of a trial) and the raylet of one of two nodes. Then `--resume`, and every value, curve and weight must be the
undisturbed sweep's, bit for bit; what was finished when the kill came must not have been touched. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("driver", "actor", "worker", "raylet")
PROCESS = {"actor": "ray::ImplicitFunc", "worker": "ray::RayTrainWorker"}  # as their command lines begin
OF_THE_RUN = ("sweep", "trial", "train_seconds", "eval_seconds")  # columns that tell runs apart, not results
DEADLINE = 600  # seconds for any one sweep

SPACE = """\
name: chaos
trainable: dash
data: {name: digits}
teacher: {channels: [8, 16], norm_groups: 4, steps: 60, batch_size: 16, ema: 0.9, checkpoint_every: 5, workers: 1}
student: {channels: [8], norm_groups: 4}
train: {steps: 60, batch_size: 16, ema: 0.9, log_every: 10, checkpoint_every: 5}
evaluate: {samples: 640, sampler_steps: 2, gap_samples: 64}
design:
  kind: leave_one_out
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  blocks: 2
resources: {arms_per_trial: 3}
"""


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """The sweep to compare with, and how long its parts took: from the start, and from each part's first report."""

    run: Path
    seconds: float
    teacher_seconds: float
    arm_seconds: float


def start(*arguments: object, log: Path) -> subprocess.Popen[bytes]:
    """run_sweep.py with these arguments, its output appended to `log`."""
    command = [sys.executable, str(ROOT / "platform/run_sweep.py"), *map(str, arguments)]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=log.parent)


def run_undisturbed(space: Path, storage: Path) -> Undisturbed:
    """Runs `space` to its end. Raises RuntimeError when that fails."""
    began = time.monotonic()
    process = start("--space", space, "--storage", storage, "--name", "undisturbed", log=storage.with_suffix(".log"))
    first: dict[str, float] = {}
    try:
        while process.poll() is None and time.monotonic() - began < DEADLINE:
            for part, pattern in (("teacher", TEACHER_REPORTS), ("arms", ARM_REPORTS)):
                if part not in first and any(storage.glob(pattern)):
                    first[part] = time.monotonic()
            time.sleep(0.2)
    finally:
        process.kill()
    if process.wait() != 0:
        raise RuntimeError(f"the undisturbed sweep failed:\n{storage.with_suffix('.log').read_text()}")
    ended = time.monotonic()
    arms_began = first.get("arms", ended)
    return Undisturbed(
        run=storage / "undisturbed",
        seconds=ended - began,
        teacher_seconds=arms_began - first.get("teacher", arms_began),
        arm_seconds=ended - arms_began,
    )


TEACHER_REPORTS = "teachers/*.unfinished/progress/*.json"
ARM_REPORTS = "*/progress/*.json"


def kill_once(
    kind: str, process: subprocess.Popen[bytes], storage: Path, reports: str, moment: float, root: int | None = None
) -> bool:
    """Kills a process of that kind `moment` seconds after the first report; the driver, after its start.

    Processes are looked for below the process `root`, or below the driver. False when the sweep ended before.
    """
    began = time.monotonic()
    while kind != "driver" and not any(storage.glob(reports)):
        if process.poll() is not None or time.monotonic() - began > DEADLINE:
            return False
        time.sleep(0.1)
    time.sleep(moment)
    while process.poll() is None and time.monotonic() - began < DEADLINE:
        victims = [process.pid] if kind == "driver" else descendants(root or process.pid, PROCESS[kind])
        if victims:
            os.kill(min(victims), signal.SIGKILL)
            return True
        time.sleep(0.1)  # it has not started yet, or has just been killed by its owner
    return False


def descendants(root: int, name: str) -> list[int]:
    """The processes below `root` whose command line begins with `name`."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            pid, status = int(folder.name), (folder / "stat").read_text()
            names[pid] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        parents[pid] = int(status.rpartition(")")[2].split()[1])

    def below(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return [pid for pid, command in names.items() if command.startswith(name) and pid != root and below(pid)]


def finished(run: Path) -> dict[str, tuple[int, bytes]]:
    """The records of the finished arms: when each was written, and its content."""
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in (run / "arms").glob("[!.]*.json")}


def differences(run: Path, undisturbed: Path) -> list[str]:
    """In which tables and columns the results of `run` are not those of `undisturbed`, bit for bit."""
    found = []
    for file in sorted(undisturbed.glob("*.parquet")):
        tables = [pd.read_parquet(folder / file.name) for folder in (run, undisturbed)]
        ours, theirs = (table.drop(columns=list(OF_THE_RUN), errors="ignore") for table in tables)
        if len(ours) != len(theirs) or list(ours) != list(theirs):
            found.append(f"{file.name}: {len(ours)} rows for {len(theirs)}, or other columns")
            continue
        # repr tells every float from every other, and NaN equals itself.
        found += [
            f"{file.name}: {name}" for name in ours if list(map(repr, ours[name])) != list(map(repr, theirs[name]))
        ]
    return found


def resume(storage: Path, name: str, *arguments: object) -> int:
    """Goes on with the run until its end; returns the exit code."""
    process = start("--resume", name, "--storage", storage, *arguments, log=storage.with_suffix(".log"))
    try:
        return process.wait(DEADLINE)
    finally:
        process.kill()


@contextmanager
def two_nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """A Ray cluster of two nodes with one CPU each: its address, and what kills the second node's raylet."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)

    def kill() -> None:
        node.all_processes["raylet"][0].process.kill()

    try:
        yield cluster.address, kill
    finally:
        cluster.shutdown()


def disturb(kind: str, number: int, undisturbed: Undisturbed, folder: Path, moments: random.Random) -> str:
    """One sweep, one kill, one resume. Returns a row of the table; raises RuntimeError when the results differ."""
    of_teacher = kind == "worker" and number % 8 < 4
    span = undisturbed.teacher_seconds if of_teacher else undisturbed.arm_seconds
    share = moments.random()
    for attempt in range(5):  # a sweep may be quicker than the undisturbed one and end before its kill
        moment = share * 0.6**attempt * (undisturbed.seconds if kind == "driver" else span)
        storage = folder / f"{number:02d}-{kind}-{attempt}"
        storage.mkdir()
        if kind != "driver" and not of_teacher:
            shutil.copytree(undisturbed.run.parent / "teachers", storage / "teachers")
        workers = ("--set", "resources.workers=1") if kind == "worker" and not of_teacher else ()
        new = ("--space", undisturbed.run / "space.yaml", "--name", "run", *workers)
        reports = TEACHER_REPORTS if of_teacher else ARM_REPORTS
        if kind == "raylet":
            row = _with_a_lost_node(new, storage, moment)
        else:
            process = start(*new, "--storage", storage, log=storage.with_suffix(".log"))
            killed = kill_once(kind, process, storage, reports, moment)
            row = _resumed(process, storage, killed, ())
        if row is None:
            continue
        before, code = row
        begun = (storage / "run/plan.json").exists()
        if not begun:  # killed before the plan was written: nothing to resume, so it is begun again
            process = start(*new, "--storage", storage, log=storage.with_suffix(".log"))
            code = process.wait(DEADLINE)
        wrong = [f"exit code {code}"] if code else differences(storage / "run", undisturbed.run)
        after = finished(storage / "run")
        wrong += [f"{name} was written again" for name, record in before.items() if after.get(name) != record]
        if wrong:
            raise RuntimeError(f"{storage}: {'; '.join(wrong)}\n{storage.with_suffix('.log').read_text()}")
        what = "teacher's worker" if of_teacher else "trial's worker" if kind == "worker" else kind
        return f"{number + 1:4d}  {what:17} {moment:8.1f}  {len(before):6d} of {len(after)}"
    raise RuntimeError(f"{kind}: the sweep ended five times before its kill")


def _resumed(
    process: subprocess.Popen[bytes], storage: Path, killed: bool, arguments: tuple[object, ...]
) -> tuple[dict[str, tuple[int, bytes]], int] | None:
    """What was finished at the kill, and the exit code of the resumed sweep; None when there was no kill."""
    before = finished(storage / "run")
    try:
        process.wait(DEADLINE)  # killed, or it goes on by itself
    finally:
        process.kill()
    if not killed:
        return None
    return before, resume(storage, "run", *arguments) if (storage / "run/plan.json").exists() else 0


def _with_a_lost_node(
    new: tuple[object, ...], storage: Path, moment: float
) -> tuple[dict[str, tuple[int, bytes]], int] | None:
    with two_nodes() as (address, kill):
        process = start(*new, "--storage", storage, "--address", address, log=storage.with_suffix(".log"))
        began = time.monotonic()
        while not any(storage.glob(ARM_REPORTS)) and process.poll() is None and time.monotonic() - began < DEADLINE:
            time.sleep(0.1)
        time.sleep(moment)
        killed = process.poll() is None
        kill()
        return _resumed(process, storage, killed, ("--address", address))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="branchwise-chaos-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE)
        undisturbed = run_undisturbed(folder / "space.yaml", folder / "undisturbed")
        print(
            f"undisturbed: {undisturbed.seconds:.0f} s, of which teacher {undisturbed.teacher_seconds:.0f} s",
            flush=True,
        )
        print("kill  of                 after (s)  arms finished then", flush=True)
        moments = random.Random(options.seed)
        for number in range(options.kills):
            print(disturb(KINDS[number % len(KINDS)], number, undisturbed, folder, moments), flush=True)
    print(f"{options.kills} kills, all results bit for bit those of the undisturbed sweep; "
          f"{(time.monotonic() - began) / 60:.0f} min")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
