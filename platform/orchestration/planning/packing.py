"""Packing arms into cohorts: how many arms should share one, and so one teacher pass a step?

A large cohort spares teacher passes; many small ones keep every slot busy to the end. The makespan decides.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from branchwise.trainables import Arm, Cohort

Cost = Callable[[Sequence[Arm]], float]  # seconds a cohort of these arms takes


def pack(
    arms: Sequence[Arm],
    *,
    slots: int,
    cost: Cost,
    arms_per_cohort: int | None = None,
    cohort_key: Callable[[Arm], str] = lambda arm: "",
) -> tuple[Cohort, ...]:
    """The cohorts, longest first, of the packing with the shortest expected makespan on `slots` slots.

    Only arms of one block and an equal `cohort_key` train together. `arms_per_cohort` sets the size instead; the last
    cohort of a block may be smaller.
    """
    blocks: dict[tuple[int, str], list[Arm]] = defaultdict(list)
    for arm in arms:
        blocks[arm.block, cohort_key(arm)].append(arm)
    largest = max((len(block) for block in blocks.values()), default=1)
    sizes = [arms_per_cohort] if arms_per_cohort else range(largest, 0, -1)
    # Ties go to the larger cohort: fewer to start.
    return min((_packed(blocks, size, cost) for size in sizes), key=lambda cohorts: makespan(cohorts, slots))


def makespan(cohorts: Sequence[Cohort], slots: int) -> float:
    """Seconds until the last of the cohorts ends when each free slot takes the next one."""
    ends = [0.0] * slots
    for cohort in cohorts:
        heapq.heapreplace(ends, ends[0] + cohort.seconds)
    return max(ends)


def _packed(blocks: Mapping[Any, Sequence[Arm]], size: int, cost: Cost) -> tuple[Cohort, ...]:
    groups = [group for block in blocks.values() for group in _balanced(block, size, cost)]
    timed = sorted(((cost(group), group) for group in groups), key=lambda pair: -pair[0])
    return tuple(
        Cohort(name=f"t{number:04d}", arms=tuple(group), seconds=seconds)
        for number, (seconds, group) in enumerate(timed)
    )


def _balanced(block: Sequence[Arm], size: int, cost: Cost) -> list[list[Arm]]:
    """`block` in groups of nearly equal cost, of at most `size` arms: the dearest first, to the cheapest group."""
    count = math.ceil(len(block) / size)
    groups: list[list[Arm]] = [[] for _ in range(count)]
    totals = [0.0] * count
    for seconds, arm in sorted(((cost([arm]), arm) for arm in block), key=lambda pair: -pair[0]):
        open_groups = [index for index in range(count) if len(groups[index]) < size]
        cheapest = min(open_groups, key=totals.__getitem__)
        groups[cheapest].append(arm)
        totals[cheapest] += seconds
    return groups
