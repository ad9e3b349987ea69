"""Packing arms into cohorts: arms that share a cohort share a teacher pass per step.

A large cohort spares teacher passes; many small ones keep each slot busy to the end. The makespan
decides.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from branchwise.trainables import Arm, Cohort

Cost = Callable[[Sequence[Arm]], float]  # seconds of a cohort of these arms
Fits = Callable[[Sequence[Arm]], bool]  # whether the memory holds a cohort of these arms
Blocks = Mapping[tuple[int, str], Sequence[Arm]]

FEW_BLOCKS = 4  # for each slot: then cohorts of equal size may leave slots idle


def pack(
    arms: Sequence[Arm],
    *,
    slots: int,
    cost: Cost,
    arms_per_cohort: int | None = None,
    cohort_key: Callable[[Arm], str] = lambda arm: "",
    fits: Fits = lambda arms: True,
) -> tuple[Cohort, ...]:
    """The cohorts, longest first, of the packing with the shortest expected makespan on `slots`.

    Only arms of the same block and an equal `cohort_key` train together, and no more than the
    memory holds. `arms_per_cohort` sets the size instead; the last cohort of a block may be
    smaller.
    """
    blocks: dict[tuple[int, str], list[Arm]] = defaultdict(list)
    for arm in arms:
        blocks[arm.block, cohort_key(arm)].append(arm)
    if arms_per_cohort:
        return _cohorts(_timed(blocks, _layout_of_size(blocks, arms_per_cohort), cost))
    largest = max((len(block) for block in blocks.values()), default=1)
    layouts = [_layout_of_size(blocks, size) for size in range(largest, 0, -1)]
    if len(blocks) <= FEW_BLOCKS * slots:
        layouts += _uneven_layouts(blocks, slots, cost)
        # Full cohorts and small remainders, some of which share a slot.
        layouts += [_layout_of_size(blocks, size, filled=True) for size in range(largest - 1, 1, -1)]
    packings = [_timed(blocks, layout, cost) for layout in layouts]
    fits_cache: dict[tuple[int, ...], bool] = {}
    fitting = [groups for groups in packings if all(_fit(group, fits, fits_cache) for _, group in groups)]
    # Ties go to the first, with the larger cohorts: fewer to start. Where not even single arms fit, these are taken.
    best = min(fitting or [packings[largest - 1]], key=lambda groups: _end([seconds for seconds, _ in groups], slots))
    return _cohorts(best)


def makespan(cohorts: Sequence[Cohort], slots: int) -> float:
    """Seconds until the last of the cohorts ends when each free slot takes the next."""
    return _end([cohort.seconds for cohort in cohorts], slots)


def _end(seconds: Sequence[float], slots: int) -> float:
    ends = [0.0] * slots
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _settings(arms: Sequence[Arm]) -> tuple[int, ...]:
    """Equal where arms have the same settings, which those of an equal patch share."""
    return tuple(id(arm.spec) for arm in arms)


def _fit(group: Sequence[Arm], fits: Fits, fitting: dict[tuple[int, ...], bool]) -> bool:
    settings = _settings(group)
    if settings not in fitting:
        fitting[settings] = fits(group)
    return fitting[settings]


# Of each block: how many cohorts, how many arms at most in one, and whether one is filled before the next.
Layout = Mapping[tuple[int, str], tuple[int, int, bool]]


def _layout_of_size(blocks: Blocks, size: int, filled: bool = False) -> Layout:
    """Cohorts of at most `size` arms, as few as can be."""
    return {name: (math.ceil(len(block) / size), size, filled) for name, block in blocks.items()}


def _uneven_layouts(blocks: Blocks, slots: int, cost: Cost) -> list[Layout]:
    """Layouts of each number of cohorts, up to a few for each slot; costly blocks have more."""
    complete = {name: cost(block) for name, block in blocks.items()}
    counts = dict.fromkeys(blocks, 1)
    layouts: list[Layout] = []
    for _ in range(FEW_BLOCKS * slots):
        open_blocks = [name for name, count in counts.items() if count < len(blocks[name])]
        if not open_blocks:
            break
        counts[max(open_blocks, key=lambda name: complete[name] / counts[name])] += 1
        layouts.append({name: (count, len(blocks[name]), False) for name, count in counts.items()})
    return layouts


def _timed(blocks: Blocks, layout: Layout, cost: Cost) -> list[tuple[float, list[Arm]]]:
    """The cohorts of a layout with their seconds, longest first.

    Blocks mostly have arms of the same settings, so each way to divide one is found once.
    """
    ways: dict[tuple[object, ...], list[tuple[float, list[int]]]] = {}
    timed = []
    for name, block in blocks.items():
        packing_key = (_settings(block), layout[name])
        if packing_key not in ways:
            groups = _balanced(block, *layout[name], cost)
            ways[packing_key] = [(cost([block[item] for item in group]), group) for group in groups]
        timed += [(seconds, [block[entry] for entry in group]) for seconds, group in ways[packing_key]]
    return sorted(timed, key=lambda pair: -pair[0])


def _cohorts(timed: Sequence[tuple[float, Sequence[Arm]]]) -> tuple[Cohort, ...]:
    return tuple(
        Cohort(name=f"t{number:04d}", arms=tuple(group), seconds=seconds)
        for number, (seconds, group) in enumerate(timed)
    )


def _balanced(block: Sequence[Arm], count: int, size: int, filled: bool, cost: Cost) -> list[list[int]]:
    """The positions of `block` in `count` groups of `size` arms at most.

    The costliest come first, each to the cheapest group, so that all cost nearly the same, or
    `filled` in turn.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    totals = [0.0] * count
    for seconds, item in sorted(((cost([arm]), entry) for entry, arm in enumerate(block)), key=lambda pair: -pair[0]):
        open_groups = [index for index in range(count) if len(groups[index]) < size]
        cheapest = open_groups[0] if filled else min(open_groups, key=totals.__getitem__)
        groups[cheapest].append(item)
        totals[cheapest] += seconds
    return groups
