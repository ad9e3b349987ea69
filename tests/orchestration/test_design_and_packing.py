"""The design has each cell of each block once; the packing has all arms, one block a cohort, slots busy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchwise.orchestration.planning.cost_estimate import cohort_estimate
from branchwise.orchestration.planning.gpus import target
from branchwise.orchestration.planning.packing import makespan, pack
from branchwise.orchestration.space import load_space
from branchwise.trainables import Arm, Cohort


def lay_out(file: Path, overrides: Sequence[str] = ()) -> tuple[Arm, ...]:
    space = load_space(file, overrides)
    return space.design.arms(space.method, {})


def test_factorial_has_all_cells_in_all_blocks(surface_space: Path) -> None:
    arms = lay_out(surface_space)
    assert len(arms) == 3 * (8 + 1)
    assert len({arm.name for arm in arms}) == len(arms)
    assert {arm.seed for arm in arms if arm.block == 2} == {2}
    by_name = {arm.name: arm for arm in arms}
    assert by_name["full-b0"].patch == {}
    assert by_name["base-b0"].patch == {"uncond_weight": 0, "anchor_weight": 0, "curriculum": "learned"}
    assert by_name["uncond_branch+anchor-b1"].patch == {"curriculum": "learned"}
    assert by_name["scratch-b0"].components == {}
    assert by_name["full-b0"].spec is by_name["full-b2"].spec, "settings are validated once, not for every arm"


def test_ablation_has_full_method_and_each_absence(surface_space: Path) -> None:
    first = ["design.kind=leave_one_out", "design.blocks=1", "design.baselines=[]", "design.claims=[]"]
    arms = lay_out(surface_space, first)
    assert [arm.cell for arm in arms] == [
        "full",
        "uncond_branch+anchor",
        "uncond_branch+curriculum_transfer",
        "anchor+curriculum_transfer",
    ]


def arms_of(blocks: Sequence[int]) -> list[Arm]:
    return [
        Arm(name=f"a{arm}-b{block}", cell=f"a{arm}", block=block, seed=block, spec=None)
        for block, size in enumerate(blocks)
        for arm in range(size)
    ]


def shared_teacher(cohort: Sequence[Arm]) -> float:
    return 10.0 + 5.0 * len(cohort)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6), st.none() | st.integers(1, 12))
def test_packing_keeps_arms_and_blocks(blocks: list[int], slots: int, size: int | None) -> None:
    arms = arms_of(blocks)
    trials = pack(arms, slots=slots, cost=shared_teacher, arms_per_cohort=size)
    assert sorted(arm.name for trial in trials for arm in trial.arms) == sorted(arm.name for arm in arms)
    assert all(len({arm.block for arm in trial.arms}) == 1 for trial in trials)
    assert all(len(trial.arms) <= (size or 12) for trial in trials)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6))
def test_auto_matches_best_fixed_size(blocks: list[int], slots: int) -> None:
    arms = arms_of(blocks)
    best = makespan(pack(arms, slots=slots, cost=shared_teacher), slots)
    for size in range(1, 10):
        assert best <= makespan(pack(arms, slots=slots, cost=shared_teacher, arms_per_cohort=size), slots) + 1e-9


def test_three_blocks_on_two_slots_are_balanced() -> None:
    """Two teacher passes fewer than with three halved blocks, and no slot is idle either."""
    trials = pack(arms_of([10, 10, 10]), slots=2, cost=shared_teacher)
    assert sorted(len(trial.arms) for trial in trials) == [5, 5, 10, 10]
    assert (
        makespan(trials, 2)
        == 60 + 35
        < makespan(pack(arms_of([10] * 3), slots=2, cost=shared_teacher, arms_per_cohort=5), 2)
    )


def test_no_cohort_is_larger_than_memory_holds() -> None:
    trials = pack(arms_of([10, 10]), slots=2, cost=shared_teacher, fits=lambda arms: len(arms) <= 4)
    assert max(len(trial.arms) for trial in trials) == 4
    single = pack(arms_of([3]), slots=2, cost=shared_teacher, fits=lambda arms: False)
    assert [len(trial.arms) for trial in single] == [1, 1, 1]


def partitions(number: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All ways to divide so many arms into cohorts, by their sizes."""
    if number == 0:
        yield ()
    for size in range(min(number, largest), 0, -1):
        for rest in partitions(number - size, size):
            yield (size, *rest)


@pytest.mark.parametrize("teacher", [1.0, 12.0, 60.0])
def test_45_arms_on_8_gpus_are_packed_within_tenth_of_best(teacher: float) -> None:
    """The best by exhaustive search over the cohort sizes of all three blocks of 15 arms, each slot taking the longest
    that remains."""

    def cost(cohort: Sequence[Arm]) -> float:
        return teacher + 6.0 * len(cohort)

    result = makespan(pack(arms_of([15, 15, 15]), slots=8, cost=cost), 8)
    blocks = list(partitions(15, 15))
    best = math.inf
    for three in itertools.combinations_with_replacement(blocks, 3):
        sizes = sorted((size for block in three for size in block), reverse=True)
        lower_bound = max((teacher * len(sizes) + 6.0 * 45) / 8, teacher + 6.0 * sizes[0])
        if lower_bound < best:
            best = min(best, makespan([Cohort(name="", arms=(), seconds=teacher + 6.0 * n) for n in sizes], 8))
    assert result <= 1.1 * best


def test_45_arms_of_paper_keep_8_gpus_busy(root: Path) -> None:
    """With what the arms of cifar10_ablation cost on a GPU, the pruned teacher three times as much as a student."""
    space = load_space(root / "search_spaces/cifar10_ablation.yaml")
    device, arms = target("8xH100").device, space.design.arms(space.method, {})
    costs: dict[Any, float] = {}

    def cost(cohort: Sequence[Arm]) -> float:
        key = tuple(sorted(arm.cell for arm in cohort))
        return costs.setdefault(key, cohort_estimate(space, [arm.spec for arm in cohort], device).total)

    result = makespan(pack(arms, slots=8, cost=cost), 8)
    single = sum(cost([arm]) for arm in arms) / 8
    uniform = [makespan(pack(arms, slots=8, cost=cost, arms_per_cohort=size), 8) for size in range(1, 16)]
    assert result <= min(uniform)
    assert result < 0.8 * single, "sharing the teacher's pass pays although two of eight GPUs get less to do"


def test_makespan_of_given_trials() -> None:
    trials = pack(arms_of([3, 2, 1]), slots=2, cost=shared_teacher, arms_per_cohort=9)
    assert makespan(trials, 2) == pytest.approx(max(25.0, 20.0 + 15.0))


def test_blocks_of_equal_arms_are_packed_once() -> None:
    requested = []

    def cost(cohort: Sequence[Arm]) -> float:
        requested.append(len(cohort))
        return shared_teacher(cohort)

    trials = pack(arms_of([10] * 2000), slots=2, cost=cost)
    assert sum(len(trial.arms) for trial in trials) == 20_000
    assert len(requested) < 200, "a plan of 100,000 arms takes 3 s, not 20"
