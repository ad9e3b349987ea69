#!/usr/bin/env python3
"""Kills parts of running sweeps at random moments, resumes them, and compares with an uninterrupted sweep.

    export PYTHONPATH=tests/helpers
    python benchmarks/chaos.py --kills 20 --seed 0
    python benchmarks/chaos.py --faults 40 --seed 0 [--first 20]

Each kill has a separate sweep. SIGKILL hits in turn the driver, a trial's actor, a Ray Train worker (of the teacher
or of a trial) and the raylet of one of two nodes. After `--resume`, all values, curves and weights must equal the
uninterrupted sweep's, bit for bit; arms finished before the kill must not change. Exit code 1 if not.

Faults are of more kinds (tests/helpers/faults.py), in turn, on sweeps of the surface: parts of Ray killed
or stopped, files of the run deleted, cut off and flipped while it runs and at rest, a full disk, clocks that jump. A
run whose plan or space was harmed at rest may be refused by name; all others must end with the same bits. The moments,
files and bits of a fault depend only on the seed and its number. Needs root, for the full disk.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import faults
from kills import (
    ARM_REPORTS,
    DEADLINE,
    TEACHER_REPORTS,
    Moment,
    differences,
    finished,
    kill,
    resume,
    run_reference,
    start,
    wait_for,
)

KINDS = ("driver", "actor", "worker", "raylet")
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


@contextmanager
def two_nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """A Ray cluster of two one-CPU nodes: its address, and a function that kills the second raylet."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)

    def kill() -> None:
        node.all_processes["raylet"][0].process.kill()

    try:
        yield cluster.address, kill
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def draw(kind: str, number: int, moments: random.Random) -> Moment:
    """A random moment of the sweep: for some drivers of the start, for some Train workers of the teacher's training."""
    turn = number // len(KINDS) % 3
    if kind == "driver" and turn == 0:
        return Moment(reports="", share=0, seconds=moments.uniform(0, 15))
    of_teacher = kind in ("driver", "worker") and turn == 1
    share = moments.uniform(0.01, 0.8 if of_teacher else 1)
    return Moment(reports=TEACHER_REPORTS if of_teacher else ARM_REPORTS, share=share, seconds=moments.random())


def disturb(kind: str, number: int, expected: Path, folder: Path, moments: random.Random) -> str:
    """A single sweep, one kill, one resume. Returns a row of the table; raises RuntimeError when the results differ."""
    for attempt in range(5):  # a sweep may end before its kill
        moment = draw(kind, number, moments)
        storage = folder / f"{number:02d}-{kind}-{attempt}"
        storage.mkdir()
        if moment.reports == ARM_REPORTS:
            shutil.copytree(expected.parent / "teachers", storage / "teachers")
        workers = ("--set", "resources.workers=1") if kind == "worker" and moment.reports == ARM_REPORTS else ()
        # The space is that of the other run: it repeats the run.
        new = ("--space", expected / "space.yaml", "--name", "run", "--storage", storage, *workers)
        before = _killed_and_resumed(kind, new, moment, storage)
        if before is None:
            continue
        after = finished(storage / "run")
        wrong = differences(storage / "run", expected)
        wrong += [f"{name} was written again" for name, record in before.items() if after.get(name) != record]
        if wrong:
            raise RuntimeError(f"{storage}: {'; '.join(wrong)}\n{storage.with_suffix('.log').read_text()}")
        what = {"": "start", TEACHER_REPORTS: "teacher", ARM_REPORTS: "arms"}[moment.reports]
        return f"{number + 1:4d}  {kind:6}  {what:7}  {moment.share:10.2f}  {len(before):6d} of {len(after)}"
    raise RuntimeError(f"{kind}: the sweep ended five times before its kill")


def _killed_and_resumed(
    kind: str, new: tuple[object, ...], moment: Moment, storage: Path
) -> dict[str, tuple[int, bytes]] | None:
    """Arms finished at the kill; None if the sweep finished before. Raises RuntimeError when it cannot continue."""
    log = storage.with_suffix(".log")
    with two_nodes() if kind == "raylet" else nullcontext(("", None)) as (address, kill_raylet):
        where = ("--address", address) if address else ()
        process = start(*new, *where, log=log)
        try:
            killed = wait_for(moment, process, storage)
            if kill_raylet:
                kill_raylet()
            else:
                killed = killed and kill(kind, process)
            before = finished(storage / "run")
            process.wait(DEADLINE)  # a driver is dead; without another part it continues
        finally:
            process.kill()
        if not killed:
            return None
        # A driver killed before it wrote its plan has started no run: the same command begins.
        has_started = (storage / "run/plan.json").exists()
        code = resume(storage, "run", *where) if has_started else start(*new, log=log).wait(DEADLINE)
    if code:
        raise RuntimeError(f"{storage}: exit code {code}\n{log.read_text()}")
    return before


def all_faults(first: int, last: int, seed: int) -> int:
    """A line of a table for each fault; returns the exit code."""
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="branchwise-chaos-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(faults.SPACE)
        expected = run_reference(folder / "space.yaml", folder / "undisturbed")
        print("| fault | kind | what was done | ended after s | exit code | after --resume |", flush=True)
        print("| ---: | --- | --- | ---: | ---: | --- |", flush=True)
        for number in range(first, last + 1):
            kind = list(faults.FAULTS)[(number - 1) % len(faults.FAULTS)]
            for attempt in range(5):  # a sweep may end before its fault
                storage = folder / f"{number:02d}-{attempt}"
                try:
                    fault = faults.disturb(kind, expected, storage, random.Random(f"{seed}/{number}/{attempt}"))
                    break
                except (LookupError, ProcessLookupError, FileNotFoundError):
                    continue
            else:
                raise RuntimeError(f"{kind}: the sweep ended five times before its fault")
            failed += bool(fault.wrong)
            result = "; ".join(fault.wrong) or fault.result
            print(f"| {number} | {kind} | {fault.what} | {fault.seconds:.0f} | {fault.code} | {result} |", flush=True)
            if fault.wrong:
                print(storage.with_suffix(".log").read_text(), file=sys.stderr, flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{last - first + 1 - failed} of {last - first + 1} faults: the same bits, or refused; {minutes:.0f} min")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--faults", type=int, default=0, help="faults instead of kills")
    parser.add_argument("--first", type=int, default=1, help="the fault to begin with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.faults:
        return all_faults(options.first, options.faults, options.seed)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="branchwise-chaos-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE)
        expected = run_reference(folder / "space.yaml", folder / "undisturbed")
        print("kill  of      during   share done  arms finished then", flush=True)
        moments = random.Random(options.seed)
        for number in range(options.kills):
            print(disturb(KINDS[number % len(KINDS)], number, expected, folder, moments), flush=True)
    print(f"{options.kills} kills, all results bit for bit those of the undisturbed sweep; "
          f"{(time.monotonic() - started) / 60:.0f} min")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
