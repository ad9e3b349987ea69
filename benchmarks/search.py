"""Overhead of a search: 1,000 trials of the instant `surface`, in Branchwise and in plain Ray Tune.

    python benchmarks/search.py [--trials 1000] [--rounds 1]

`plain` is what a user would write: a Tune function that reports the surface's value, and Ray's OptunaSearch, which
has its study in memory and a trial per arm. Ours runs as a command, journal, records, tables and report
included: with one arm per trial, and with automatic cohorts. They run in turn; times are of complete processes,
start-up included, the memory is the driver's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, median, peak_mb, range_text, show

LIMIT = 1.2  # times plain Ray Tune
SPACE = """\
name: search
trainable: surface
train: {{steps: 1}}
design:
  kind: search
  arms: {trials}
  knobs:
    anchor_weight: {{log_uniform: [0.01, 1.0]}}
    uncond_weight: {{uniform: [0.1, 3.0]}}
    curriculum: {{choice: [transfer, learned, min_snr, uniform]}}
  blocks: 2
resources: {{arms_per_trial: {size}}}
"""
PLAIN = """\
import math, sys
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from branchwise.trainables.surface import Method, log_value

def train(config):
    tune.report({{"value": math.exp(log_value(Method(**config)))}})

ray.init(num_cpus={cpus}, include_dashboard=True, log_to_driver=False)
tune.Tuner(
    train,
    param_space={{
        "anchor_weight": tune.loguniform(0.01, 1.0),
        "uncond_weight": tune.uniform(0.1, 3.0),
        "curriculum": tune.choice(["transfer", "learned", "min_snr", "uniform"]),
    }},
    tune_config=tune.TuneConfig(
        search_alg=OptunaSearch(seed=0), metric="value", mode="min", num_samples={trials},
        max_concurrent_trials={cpus}, reuse_actors=True,
    ),
    run_config=tune.RunConfig(name="plain", storage_path=sys.argv[1], verbose=0),
).fit()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    results: dict[str, list[tuple[float, float]]] = {"plain": [], "one arm a trial": [], "cohorts": []}
    for _ in range(options.rounds):
        for mode, runs in results.items():
            runs.append(once(mode, options.trials, cpus))
            print(f"{mode}: {runs[-1][0]:.0f} s, {runs[-1][1]:.0f} MB", file=sys.stderr)
    plain = median([seconds for seconds, _ in results["plain"]])
    rows = []
    for mode, runs in results.items():
        seconds = [run for run, _ in runs]
        full_ = median(seconds)
        peak = max(memory for _, memory in runs)
        each = f"{1000 * full_ / options.trials:.0f}"
        rows.append(
            (mode, str(len(runs)), f"{full_:.0f}", range_text(seconds), each, f"{peak:.0f}", f"{full_ / plain:.2f}")
        )
    columns = ("way", "n", "median s", "spread", "ms a trial", "driver's peak MB", "of plain")
    show(f"{options.trials:,} trials of `surface` by TPE", columns, rows, f"Limit: {LIMIT} times plain.")
    return 0


def once(mode: str, trials: int, cpus: int) -> tuple[float, float]:
    """Seconds and the driver's peak MB of a single search."""
    with tempfile.TemporaryDirectory(prefix="branchwise-search-") as scratch:
        folder = Path(scratch)
        if mode == "plain":
            (folder / "plain.py").write_text(PLAIN.format(cpus=cpus, trials=trials))
            command = [sys.executable, str(folder / "plain.py"), str(folder / "runs")]
        else:
            size = "1" if mode == "one arm a trial" else "auto"
            (folder / "space.yaml").write_text(SPACE.format(trials=trials, size=size))
            run_sweep, space = str(ROOT / "platform/run_sweep.py"), str(folder / "space.yaml")
            command = [sys.executable, run_sweep, "--space", space, "--storage", str(folder / "runs")]
        with (folder / "log").open("w") as log:
            started, peak = time.perf_counter(), 0.0
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            while process.poll() is None:
                peak = max(peak, peak_mb(process.pid))
                time.sleep(0.1)
        if process.returncode:
            raise SystemExit((folder / "log").read_text()[-2000:])
        return time.perf_counter() - started, peak


if __name__ == "__main__":
    sys.exit(main())
