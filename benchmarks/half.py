"""Does sampling in bf16 move the distance beyond its noise? Students of a short default sweep, sampled both ways.

    python benchmarks/half.py [--repeats 4]

Each student is sampled under the same seeds in fp32 and in bf16. `moved` is the mean of the
differences, `noise` the standard deviation of the fp32 values over the seeds. A space with bf16
(`evaluate.precision`) is safe where `moved` is well below `noise`; the limit is 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _common import ROOT, finish, show, silent, start

SHORT = {"teacher.steps": 300, "train.steps": 200, "design.blocks": 1}
CELLS = ("full", "base", "composite")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=4, help="seeds of each student")
    repeats = parser.parse_args().repeats
    rows = []
    with tempfile.TemporaryDirectory(prefix="branchwise-half-") as scratch:
        finish(start("run", Path(scratch), SHORT, "--name", "half"), Path(scratch))
        for cell in CELLS:
            exact, rounded = (values(Path(scratch) / f"half/students/{cell}-b0", p, repeats) for p in ("fp32", "bf16"))
            moved = statistics.mean(b - a for a, b in zip(exact, rounded, strict=True))
            noise = statistics.stdev(exact)
            row = (statistics.mean(exact), statistics.mean(rounded), moved, noise, abs(moved) / noise)
            rows.append((cell, str(repeats), *(f"{value:.4f}" for value in row[:4]), f"{row[4]:.2f}", "1"))
    columns = ("student", "n", "fp32", "bf16", "moved", "noise", "moved / noise", "limit")
    show("fd_digits64 of the same students sampled in fp32 and in bf16", columns, rows)


def values(folder: Path, precision: str, repeats: int) -> list[float]:
    """The distance of the student in `folder` under each of the seeds."""
    import torch

    from branchwise.orchestration.space import load_space
    from branchwise.trainables.dash.compute.progress import Progress
    from branchwise.trainables.dash.evaluation import measurement
    from branchwise.trainables.dash.evaluation.evaluations import load_reference
    from branchwise.trainables.dash.nets import checkpoint

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    overrides = [f"evaluate.precision={precision}", f"evaluate.repeats={repeats}"]
    spec: Any = load_space(ROOT / "search_spaces/ablation.yaml", overrides).spec
    context = silent("cpu")
    net, _ = checkpoint.load_model(folder, "cpu")
    result, _, _ = measurement.measure(
        net, load_reference(spec, "cpu", None), spec.evaluate, 0, context, Progress(context, "evaluate", 10**6)
    )
    return list(result["value_repeats"])


if __name__ == "__main__":
    main()
