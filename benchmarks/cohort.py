"""What an arm costs in a cohort of K of the paper's nets, and what the arithmetic allows.

    python benchmarks/cohort.py [--arms 1 2 4 8 16] [--batch 2] [--steps 5] [--threads 1] [--device cpu] [--mode exact]

The teacher's pass is shared, so an arm's work in a cohort of K is teacher / K + student. The limit is the ratio of that
for one arm and for K in multiply-accumulates, counted from the nets; a student whose small layers run at less than the
teacher's speed falls short of it. The cohorts of all sizes take their steps in turn.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

from _common import in_turn, median, paper_setting, range_text, show


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each size; one more comes before")
    parser.add_argument("--threads", type=int, default=1, help="as a trial has them; more that wait count in full")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--mode", choices=("exact", "fast"), default="exact")
    options = parser.parse_args()
    setting, spec = paper_setting(options.device, options.threads)
    ways = {str(k): cohort_of(k, setting, spec, options.batch, options.mode) for k in options.arms}
    seconds = in_turn(ways, options.steps, options.device)
    single_seconds = median(seconds[str(options.arms[0])]) / options.arms[0]
    rows = []
    for k in options.arms:
        times = seconds[str(k)]
        an_arm = median(times) / k
        limit = work(spec, options.arms[0]) / work(spec, k)
        row = (
            f"{median(times):.3f}",
            range_text(times),
            f"{an_arm:.3f}",
            f"{single_seconds / an_arm:.2f}",
            f"{limit:.2f}",
        )
        rows.append((str(k), str(len(times)), *row))
    show(
        f"The paper's nets, fp32, batch {options.batch}, {options.device}, threads: {options.threads}, {options.mode}",
        ("arms", "n", "median s a step", "spread", "s an arm", "times cheaper", "limit"),
        rows,
    )


def cohort_of(k: int, setting: Any, spec: Any, batch: int, mode: str) -> Callable[[], object]:
    from branchwise.trainables import Arm
    from branchwise.trainables.dash.compute import modes
    from branchwise.trainables.dash.training import steps as training
    from branchwise.trainables.runtime.settings import patched

    patch = {"train.batch_size": batch, "train.mode": mode}
    modes.choose(mode, setting.context.device)
    arms = [Arm(name=f"arm{i}", seed=0, spec=patched(spec, patch)) for i in range(k)]
    students, steps, arm_seconds = training.begin(arms, setting), itertools.count(), {arm.name: 0.0 for arm in arms}
    return lambda: training.take_step(students, setting, next(steps), arm_seconds)


def work(spec: Any, k: int) -> float:
    """MACs of a single arm's part of a step, a sample: both branches, and three passes for the student's gradient."""
    from branchwise.trainables.dash.costs.counts import count

    teacher, student = (count(net, spec.data.image_shape, spec.data.classes) for net in (spec.teacher, spec.student))
    return 2 * teacher.macs / k + 6 * student.macs


if __name__ == "__main__":
    main()
