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
    timed = min((_timed(blocks, size, cost) for size in sizes), key=lambda groups: _end([s for s, _ in groups], slots))
    return tuple(
        Cohort(name=f"t{number:04d}", arms=tuple(group), seconds=seconds)
        for number, (seconds, group) in enumerate(timed)
    )


def makespan(cohorts: Sequence[Cohort], slots: int) -> float:
    """Seconds until the last of the cohorts ends when each free slot takes the next one."""
    return _end([cohort.seconds for cohort in cohorts], slots)


def _end(seconds: Sequence[float], slots: int) -> float:
    ends = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def _timed(blocks: Mapping[Any, Sequence[Arm]], size: int, cost: Cost) -> list[tuple[float, list[Arm]]]:
    """The cohorts of at most `size` arms with their seconds, longest first.

    Blocks mostly have arms of the same settings, so each way to divide one is found once.
    """
    ways: dict[tuple[int, ...], list[tuple[float, list[int]]]] = {}
    timed = []
    for block in blocks.values():
        settings = tuple(id(arm.spec) for arm in block)
        if settings not in ways:
            groups = _balanced(block, size, cost)
            ways[settings] = [(cost([block[place] for place in group]), group) for group in groups]
        timed += [(seconds, [block[place] for place in group]) for seconds, group in ways[settings]]
    return sorted(timed, key=lambda pair: -pair[0])


def _balanced(block: Sequence[Arm], size: int, cost: Cost) -> list[list[int]]:
    """The places of `block` in groups of nearly equal cost, of at most `size` arms: the dearest first, to the cheapest
    group."""
    count = math.ceil(len(block) / size)
    groups: list[list[int]] = [[] for _ in range(count)]
    totals = [0.0] * count
    for seconds, place in sorted(((cost([arm]), place) for place, arm in enumerate(block)), key=lambda pair: -pair[0]):
        open_groups = [index for index in range(count) if len(groups[index]) < size]
        cheapest = min(open_groups, key=totals.__getitem__)
        groups[cheapest].append(place)
        totals[cheapest] += seconds
    return groups
