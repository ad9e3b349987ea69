"""Cost of a command's arm beyond its program: no-op programs as arms, as plain subprocesses, and
trials of Ray Tune that call them.

    python benchmarks/command.py [--arms 100 1000] [--trials 100]

Wall seconds an arm, with a program on each core at a time. Of a sweep and of Ray Tune, from the first result to the
last one, so that what starts once does not count. The workers' memory is the highest peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _common import ROOT, peak_mb, show

MARK = "BRANCHWISE_BENCHMARK"
PROGRAM = ["echo", '{"loss": 1.5}']
SPACE = """\
name: command
trainable: command
command: {{run: [echo, '{{{{"loss": {{loss}}.{{seed}}}}}}'], metric: {{key: loss}}, direction: minimize}}
settings: {{loss: 1}}
design: {{components: {{part: {{off: {{loss: 2}}}}}}, blocks: {blocks}}}
"""
TUNE = """\
import json, subprocess, sys, time
import ray
from ray import tune

def train(config):
    ran = subprocess.run({program!r}, capture_output=True, text=True, check=True)
    tune.report({{**json.loads(ran.stdout), "ended": time.time()}})

ray.init(num_cpus={cores}, log_to_driver=False, include_dashboard=False)
results = tune.Tuner(
    train,
    param_space={{"seed": tune.grid_search(list(range({trials})))}},
    tune_config=tune.TuneConfig(reuse_actors={reuse}),
    run_config=tune.RunConfig(storage_path={storage!r}, verbose=0),
).fit()
ends = sorted(result.metrics["ended"] for result in results)
print("seconds", (ends[-1] - ends[0]) / (len(ends) - 1))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--trials", type=int, default=100, help="of Ray Tune")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    plain = subprocesses(max(options.arms), cores)
    rows = [("plain subprocess", f"{max(options.arms):,}", f"{1000 * plain:.1f}", "", "", "")]
    for arms in options.arms:
        seconds, driver, worker = sweep(arms)
        costs = (f"{1000 * seconds:.1f}", f"{1000 * (seconds - plain):.1f}", f"{driver:.0f}", f"{worker:.0f}")
        rows.append(("branchwise, command", f"{arms:,}", *costs))
    for reuse in (True, False):
        seconds = ray_tune(options.trials, cores, reuse)
        name = f"Ray Tune, function{', actors reused' if reuse else ''}"
        rows.append((name, f"{options.trials:,}", f"{1000 * seconds:.1f}", f"{1000 * (seconds - plain):.1f}", "", ""))
    columns = ("way", "arms", "ms an arm", "beyond the program ms", "driver's peak MB", "worker's peak MB")
    show("Programs that do nothing", columns, rows)
    return 0


def subprocesses(count: int, cores: int) -> float:
    """Seconds a program."""

    def run(number: int) -> None:
        json.loads(subprocess.run(PROGRAM, capture_output=True, text=True, check=True).stdout)

    started = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(run, range(count)))
    return (time.perf_counter() - started) / count


def sweep(arms: int) -> tuple[float, float, float]:
    """Seconds an arm, and the peaks of the driver's and of a worker's memory in MB."""
    with tempfile.TemporaryDirectory(prefix="branchwise-command-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE.format(blocks=arms // 2))
        command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(folder / "space.yaml")]
        with (folder / "log").open("w") as log:
            env = os.environ | {MARK: folder.name}  # which the workers inherit
            process = subprocess.Popen([*command, "--storage", str(folder)], stdout=log, stderr=log, env=env)
        driver = worker = 0.0
        while process.poll() is None:
            driver = max(driver, peak_mb(process.pid))
            worker = max([worker, *map(peak_mb, workers(folder.name))])
            time.sleep(0.5)
        if process.returncode:
            raise SystemExit((folder / "log").read_text())
        ends = sorted(file.stat().st_mtime for file in (folder / "command/arms").glob("[!.]*.json"))
        assert len(ends) == arms
        return (ends[-1] - ends[0]) / (arms - 1), driver, worker


def workers(mark: str) -> list[int]:
    """The processes of Ray's workers with the mark in their environment."""
    matches = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
            if marked and (entry / "cmdline").read_bytes().startswith(b"ray::"):
                matches.append(int(entry.name))
        except OSError:  # it has just exited
            continue
    return matches


def ray_tune(trials: int, cores: int, reuse: bool) -> float:
    """Seconds a trial."""
    with tempfile.TemporaryDirectory(prefix="branchwise-tune-") as storage:
        code = TUNE.format(program=PROGRAM, cores=cores, trials=trials, reuse=reuse, storage=storage)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    return float(next(line for line in ran.stdout.splitlines() if line.startswith("seconds")).split()[1])


if __name__ == "__main__":
    sys.exit(main())
