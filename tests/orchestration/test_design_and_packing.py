"""The design holds every cell of every block once; the packing keeps every arm, one block a cohort, slots busy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchwise.orchestration.planning.packing import makespan, pack
from branchwise.orchestration.space import load_space
from branchwise.trainables import Arm


def lay_out(file: Path, overrides: Sequence[str] = ()) -> tuple[Arm, ...]:
    space = load_space(file, overrides)
    return space.design.arms(space.method, {})


def test_the_factorial_has_every_cell_in_every_block(surface_space: Path) -> None:
    arms = lay_out(surface_space)
    assert len(arms) == 3 * (8 + 1)
    assert len({arm.name for arm in arms}) == len(arms)
    assert {arm.seed for arm in arms if arm.block == 2} == {2}
    by_name = {arm.name: arm for arm in arms}
    assert by_name["full-b0"].patch == {}
    assert by_name["base-b0"].patch == {"uncond_weight": 0, "anchor_weight": 0, "curriculum": "uniform"}
    assert by_name["uncond_branch+anchor-b1"].patch == {"curriculum": "uniform"}
    assert by_name["scratch-b0"].components == {}
    assert by_name["full-b0"].spec is by_name["full-b2"].spec, "settings are validated once, not for every arm"


def test_leave_one_out_has_the_full_method_and_each_absence(surface_space: Path) -> None:
    one = ["design.kind=leave_one_out", "design.blocks=1", "design.baselines=[]", "design.claims=[]"]
    arms = lay_out(surface_space, one)
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
def test_packing_keeps_every_arm_and_never_mixes_blocks(blocks: list[int], slots: int, size: int | None) -> None:
    arms = arms_of(blocks)
    trials = pack(arms, slots=slots, cost=shared_teacher, arms_per_cohort=size)
    assert sorted(arm.name for trial in trials for arm in trial.arms) == sorted(arm.name for arm in arms)
    assert all(len({arm.block for arm in trial.arms}) == 1 for trial in trials)
    assert all(len(trial.arms) <= (size or 12) for trial in trials)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6))
def test_auto_is_at_least_as_good_as_any_fixed_size(blocks: list[int], slots: int) -> None:
    arms = arms_of(blocks)
    best = makespan(pack(arms, slots=slots, cost=shared_teacher), slots)
    for size in range(1, 10):
        assert best <= makespan(pack(arms, slots=slots, cost=shared_teacher, arms_per_cohort=size), slots) + 1e-9


def test_three_blocks_on_two_slots_are_halved() -> None:
    trials = pack(arms_of([10, 10, 10]), slots=2, cost=shared_teacher)
    assert sorted(len(trial.arms) for trial in trials) == [5] * 6


def test_makespan_of_known_trials() -> None:
    trials = pack(arms_of([3, 2, 1]), slots=2, cost=shared_teacher, arms_per_cohort=9)
    assert makespan(trials, 2) == pytest.approx(max(25.0, 20.0 + 15.0))


def test_blocks_of_equal_arms_are_packed_once() -> None:
    asked = []

    def cost(cohort: Sequence[Arm]) -> float:
        asked.append(len(cohort))
        return shared_teacher(cohort)

    trials = pack(arms_of([10] * 2000), slots=2, cost=cost)
    assert sum(len(trial.arms) for trial in trials) == 20_000
    assert len(asked) < 200, "a plan of 100,000 arms takes 3 s, not 20"
