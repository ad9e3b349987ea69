"""The default ablation, shortened: our packing against the plain way: a TorchTrainer a student through Ray Tune.

    python benchmarks/sweep.py [--rounds 1] [--full]

Both are complete commands on the same storage with a trained teacher, and write the same report; the plain
way is the same program with a trial and a Ray Train worker per arm. `--full` runs our packing on
only the default space as it is (about seven minutes).

`work` is the seconds that the arms spent in steps, sampling, features and distances; `other` the share of all cores'
time, from the start of the command to its end, that was not work; `cores` the share that was, between the first arm's
first report and the last one's result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from _common import finish, median, range_text, show, start

SHORT = {
    "teacher.steps": 60,
    "train.steps": 100,
    "evaluate.samples": 640,
    "evaluate.sampler_steps": 10,
    "design.blocks": 1,
}
PLAIN = {"resources.workers": 1, "resources.arms_per_trial": 1}
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="sweeps of each way, in turn")
    parser.add_argument("--full", action="store_true", help="the default space as it is, our packing only")
    options = parser.parse_args()
    short = {} if options.full else SHORT
    ways = {"ours": short} if options.full else {"ours": short, "the plain way": {**short, **PLAIN}}
    measured: dict[str, list[tuple[float, float, float]]] = {mode: [] for mode in ways}
    with tempfile.TemporaryDirectory(prefix="branchwise-sweep-") as scratch:
        finish(start("train-teacher", Path(scratch), short), Path(scratch))
        for round_ in range(options.rounds):
            for number, (mode, settings) in enumerate(ways.items()):
                measured[mode].append(sweep(Path(scratch), f"run{round_}-{number}", settings))
                print(f"{mode}: {measured[mode][-1][0]:.0f} s", file=sys.stderr)
    our_seconds = median([wall for wall, _, _ in measured["ours"]])
    rows = []
    for mode, runs in measured.items():
        walls, work, cores = ([run[i] for run in runs] for i in range(3))
        wall, other = median(walls), 1 - median(work) / (CORES * median(walls))
        columns = (f"{wall:.1f}", range_text(walls), f"{median(work):.0f}", f"{other:.0%}", f"{median(cores):.0%}")
        rows.append((mode, str(len(runs)), *columns, f"{wall / our_seconds:.2f}"))
    show(
        f"The default space{'' if options.full else f', shortened: {SHORT}'}, on {CORES} cores",
        ("way", "n", "wall s", "spread", "work s", "other", "cores", "times ours"),
        rows,
    )


def sweep(storage: Path, name: str, settings: dict[str, int]) -> tuple[float, float, float]:
    """Wall seconds of a sweep, the seconds of work of its arms, and the share of busy cores."""
    started = time.monotonic()
    process = start("run", storage, settings, "--name", name)
    first = 0.0  # when the first arm was observed in training
    while process.poll() is None:
        if not first and any((storage / name / "progress").glob("[!.]*.json")):
            first = time.time()
        time.sleep(0.2)
    finish(process, storage)
    wall = time.monotonic() - started
    records = list((storage / name / "arms").glob("[!.]*.json"))
    values = [json.loads(record.read_text())["values"] for record in records]
    work = sum(value["train_seconds"] + value["eval_seconds"] for value in values)
    last = max(record.stat().st_mtime for record in records)
    return wall, work, work / (CORES * (last - first))


if __name__ == "__main__":
    main()
