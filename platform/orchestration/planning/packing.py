"""Packing arms into trials: how many arms should share one cohort, and so one teacher pass a step?

A large cohort spares teacher passes; many small ones keep every slot busy to the end. The makespan decides.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from branchwise.orchestration.designs.layout import PlannedArm

Cost = Callable[[Sequence[PlannedArm]], float]  # seconds a cohort of these arms takes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One Ray Tune trial: a cohort of arms of one block."""

    name: str
    arms: tuple[PlannedArm, ...]
    seconds: float  # expected


def pack(
    arms: Sequence[PlannedArm],
    *,
    slots: int,
    cost: Cost,
    arms_per_trial: int | None = None,
    cohort_key: Callable[[PlannedArm], str] = lambda arm: "",
) -> tuple[Trial, ...]:
    """The trials, longest first, of the packing with the shortest expected makespan on `slots` slots.

    Only arms of one block and an equal `cohort_key` train together. `arms_per_trial` sets the cohort size instead; the
    last cohort of a block may be smaller.
    """
    blocks: dict[tuple[int, str], list[PlannedArm]] = defaultdict(list)
    for arm in arms:
        blocks[arm.block, cohort_key(arm)].append(arm)
    largest = max((len(block) for block in blocks.values()), default=1)
    sizes = [arms_per_trial] if arms_per_trial else range(largest, 0, -1)
    # Ties go to the larger cohort: fewer trials to start.
    return min((_packed(blocks, size, cost) for size in sizes), key=lambda trials: makespan(trials, slots))


def makespan(trials: Sequence[Trial], slots: int) -> float:
    """Seconds until the last of the trials ends when each free slot takes the next one."""
    ends = [0.0] * slots
    for trial in trials:
        heapq.heapreplace(ends, ends[0] + trial.seconds)
    return max(ends)


def _packed(blocks: Mapping[Any, Sequence[PlannedArm]], size: int, cost: Cost) -> tuple[Trial, ...]:
    cohorts = [cohort for block in blocks.values() for cohort in _balanced(block, size, cost)]
    timed = sorted(((cost(cohort), cohort) for cohort in cohorts), key=lambda pair: -pair[0])
    return tuple(
        Trial(name=f"t{number:04d}", arms=tuple(cohort), seconds=seconds)
        for number, (seconds, cohort) in enumerate(timed)
    )


def _balanced(block: Sequence[PlannedArm], size: int, cost: Cost) -> list[list[PlannedArm]]:
    """`block` in cohorts of nearly equal cost, of at most `size` arms: the dearest first, to the cheapest cohort."""
    cohorts = math.ceil(len(block) / size)
    groups: list[list[PlannedArm]] = [[] for _ in range(cohorts)]
    totals = [0.0] * cohorts
    for seconds, arm in sorted(((cost([arm]), arm) for arm in block), key=lambda pair: -pair[0]):
        open_groups = [index for index in range(cohorts) if len(groups[index]) < size]
        cheapest = min(open_groups, key=totals.__getitem__)
        groups[cheapest].append(arm)
        totals[cheapest] += seconds
    return groups
