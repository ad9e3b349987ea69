"""Runs that grow, arms that are taken from other runs, and limits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from branchwise.orchestration.designs.ablation import Ablation
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.limits import Limits, Meter, Usage, exceeded_limit
from branchwise.orchestration.planning.extending import Extension, parse_added, plan_extended
from branchwise.orchestration.planning.plan import Plan, plan_new, plan_resumed
from branchwise.orchestration.planning.plan_text import describe
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.reuse import copy_records, reusable_arms
from branchwise.orchestration.run_folder.tables import records
from branchwise.orchestration.space import load_space
from branchwise.orchestration.tuning.queue import Metered
from branchwise.trainables import Arm, Cohort, Result
from branchwise.trainables.runtime.job import record_of
from branchwise.trainables.runtime.storage import Storage, storage_at

WARM = {"warm": {"off": {"train.steps": 2}}}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_at(tmp_path / "runs")


@pytest.fixture
def done(storage: Storage, surface_space: Path) -> Plan:
    """A finished run called `first`, of 8 cells and a baseline in 3 blocks."""
    plan = plan_new(load_space(surface_space), storage, "first")
    write_plan(plan.run, plan.space, plan.cohorts)
    for number, arm in enumerate(plan.arms):
        result = Result(status="done", values={"metric": "surface", "value": 20.0 + number})
        plan.run.write_record(arm.name, record_of(arm, "t0000", result))
    write_manifest(plan.run, plan.space, status="finished", arms=len(plan.arms))
    return plan


def test_extension_runs_new_blocks_only(done: Plan, storage: Storage) -> None:
    plan = plan_extended(storage, Extension(name="first", blocks=5), None)
    assert plan.run.name == "surface-ablation"
    assert {arm.block for cohort in plan.cohorts for arm in cohort.arms} == {3, 4}
    assert {item.arm.name for item in plan.reused} == {arm.name for arm in done.arms}
    assert plan.extends is not None
    decided = plan.extends["decided"]
    assert {**plan.extends, "decided": []} == {
        "run": "first", "blocks": 3, "components": [], "baselines": [], "cells": [], "decided": []
    }  # fmt: skip
    assert [entry["text"] for entry in decided] == [
        "uncond_branch.share > 0.60", "uncond_branch.shapley", "anchor.shapley", "curriculum_transfer.shapley"
    ]  # fmt: skip
    assert {element["run"] for element in decided} == {"first"}
    assert plan.space.design.component_names() == done.space.design.component_names()
    assert dict(describe(plan))["reused"] == "27 finished arms (27 of first); 18 to run"
    copy_records(plan.run, plan.reused)
    stored, before = records(plan.run), records(done.run)
    assert stored.keys() == before.keys()
    for name, record in stored.items():
        original = before[name]
        assert record is not None
        assert original is not None
        assert record["values"] == original["values"]
        assert record["reused_from"] == "first"


def claims_of(plan: Plan) -> tuple[str, ...]:
    assert isinstance(plan.space.design, Ablation)
    return plan.space.design.claims


def test_confirmation_uses_only_fresh_seeds(done: Plan, storage: Storage) -> None:
    plan = plan_extended(storage, Extension(name="first", blocks=5, confirm=True), "fresh")
    assert plan.extends == {"run": "first", "confirmation": True, "earlier": [], "blocks": 5, "first_seed": 3}
    assert not plan.reused
    assert sorted({arm.seed for arm in plan.arms}) == [3, 4]
    assert claims_of(plan) == claims_of(done)


def begin(plan: Plan, status: str = "finished") -> None:
    write_plan(plan.run, plan.space, plan.cohorts, plan.extends)
    write_manifest(plan.run, plan.space, status=status, arms=len(plan.arms))


def test_confirmation_avoids_used_seeds(done: Plan, storage: Storage) -> None:
    begin(plan_extended(storage, Extension(name="first", blocks=5), "more"))
    fresh = plan_extended(storage, Extension(name="first", blocks=5, confirm=True), "fresh")
    assert sorted({arm.seed for arm in fresh.arms}) == [5, 6]
    begin(fresh, "running")
    second = plan_extended(storage, Extension(name="first", blocks=5, confirm=True), "second")
    assert sorted({arm.seed for arm in second.arms}) == [7, 8]
    assert second.extends is not None
    assert second.extends["earlier"] == ["fresh"]
    write_manifest(fresh.run, fresh.space, status="finished")
    third = plan_extended(storage, Extension(name="fresh", blocks=4, confirm=True), "third")
    assert third.extends is not None
    assert third.extends["earlier"] == ["fresh"]


def test_exploratory_seeds_stay_exploratory(done: Plan, storage: Storage) -> None:
    more = plan_extended(storage, Extension(name="first", blocks=4), "more")
    copy_records(more.run, more.reused)
    for arm in more.arms[27:]:
        result = Result(status="done", values={"metric": "surface", "value": 30.0 + len(arm.name)})
        more.run.write_record(arm.name, record_of(arm, "t0000", result))
    begin(more)
    third = plan_extended(storage, Extension(name="more", blocks=5), "third")
    assert third.extends is not None
    assert third.extends["blocks"] == 3
    assert {extend["run"] for extend in third.extends["decided"]} == {"first"}


def test_added_cell_is_only_new_arm(storage: Storage, surface_space: Path) -> None:
    first = plan_new(load_space(surface_space, ["design.kind=leave_one_out", "design.claims=[]"]), storage, "loo")
    for number, arm in enumerate(first.arms):
        result = Result(status="done", values={"metric": "surface", "value": 20.0 + number % 7})
        first.run.write_record(arm.name, record_of(arm, "t0000", result))
    begin(first)
    cell = {"anchor": "off", "uncond_branch": "off"}
    added = Extension(name="loo", cells=[cell], claims=["full.value < curriculum_transfer.value"])
    plan = plan_extended(storage, added, None)
    assert len(plan.reused) == len(first.arms) == 15
    assert [arm.cell for cohort in plan.cohorts for arm in cohort.arms] == ["curriculum_transfer"] * 3
    assert plan.extends is not None
    assert plan.extends["cells"] == ["curriculum_transfer"]
    with pytest.raises(UserError, match="must be on what is added \\(curriculum_transfer\\)"):
        plan_extended(storage, replace(added, claims=["full.value < uncond_branch+anchor.value"]), None)
    with pytest.raises(UserError, match="is a cell of the design already"):
        plan_extended(storage, replace(added, cells=[{"anchor": "off"}]), None)
    with pytest.raises(UserError, match="nothing is no component of it"):
        plan_extended(storage, replace(added, cells=[{"nothing": "off"}]), None)


def test_texts_of_components_and_cells_are_checked() -> None:
    assert parse_added("--add-cell", "first", ["{anchor: off}"]) == [{"anchor": "off"}]
    assert parse_added("--add-component", "first", ["warm: {off: {train.steps: 2}}"]) == [WARM]
    for option, text in (("--add-cell", "anchor"), ("--add-cell", "{anchor: [off]}"), ("--add-component", "[")):
        with pytest.raises(UserError, match=f"run first: {option} .*: must be"):
            parse_added(option, "first", [text])


def test_new_component_keeps_cells_that_ran(done: Plan, storage: Storage) -> None:
    added = Extension(name="first", components=WARM, claims=["warm.shapley > 0"])
    plan = plan_extended(storage, added, None)
    assert len(plan.arms) == 3 * 17
    assert len(plan.reused) == 27
    assert claims_of(plan) == ("warm.shapley > 0",)


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (Extension(name="first"), "nothing to add"),
        (Extension(name="first", blocks=3), "it has 3 blocks; more are needed"),
        (Extension(name="first", blocks=5, claims=["anchor.shapley > 0"]), "use --confirm"),
        (Extension(name="first", components={"anchor": {"off": {"anchor_weight": 0}}}), "is a component of it already"),
        (Extension(name="first", baselines=["scratch"]), "is a baseline of it already"),
        (Extension(name="first", baselines=["none"], claims=["none.value > 1"]), "'none' is not allowed"),
        (
            Extension(name="first", components=WARM, claims=["anchor.shapley > 0"]),
            "must be on what is added",
        ),
        (  # the claim of the arms that ran, under their new names
            Extension(name="first", components=WARM, claims=["full.value < warm.value"]),
            "must be on what is added",
        ),
        (Extension(name="first", confirm=True, baselines=["none"]), "it goes with --blocks"),
        (Extension(name="nothing", blocks=5), "no such run"),
    ],
)
def test_refusals(done: Plan, storage: Storage, extension: Extension, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("{", r"\{")):
        plan_extended(storage, extension, None)


def test_unfinished_run_is_resumed_first(done: Plan, storage: Storage) -> None:
    write_manifest(done.run, done.space, status="interrupted")
    with pytest.raises(UserError, match="branchwise resume first"):
        plan_extended(storage, Extension(name="first", blocks=5), None)


def test_reuse_requires_equal_settings_and_seeds(done: Plan, storage: Storage, surface_space: Path) -> None:
    def taken(*overrides: str) -> int:
        space = load_space(surface_space, overrides)
        return len(reusable_arms(space, storage, plan_new(space, storage, None).arms, ["first"]))

    assert taken() == 27
    assert taken("noise.block=0.2") == 0
    assert taken("design.first_seed=2") == 9
    assert taken("design.blocks=2") == 18
    with pytest.raises(UserError, match="reuse nothing: no such run"):
        reusable_arms(done.space, storage, done.arms, ["nothing"])


@pytest.mark.parametrize("fact", ["code_sha256", "machine", "python", "versions"])
def test_reuse_requires_equal_environment(done: Plan, storage: Storage, fact: str) -> None:
    other = {"versions": {"torch": "1.0"}}.get(fact, "another")
    write_manifest(done.run, done.space, status="finished", **{fact: other})
    with pytest.raises(UserError, match="reuse first: its arms were made with other"):
        reusable_arms(done.space, storage, done.arms, ["first"])


def test_failed_arms_are_not_taken(done: Plan, storage: Storage) -> None:
    arm = done.arms[0]
    done.run.delete_record(arm.name)
    done.run.write_record(arm.name, record_of(arm, "t0000", Result(status="failed", error="x")))
    assert len(reusable_arms(done.space, storage, done.arms, ["first"])) == 26


def test_space_keeps_reuse_and_limits(surface_space: Path) -> None:
    space = load_space(surface_space, ["reuse=[first]", "limits={hours: 8, failures: 3}"])
    surface_space.write_text(space.resolved())
    repeated = load_space(surface_space)
    assert (repeated.reuse, repeated.limits) == (("first",), Limits(hours=8, failures=3))


def test_limits_name_what_is_passed() -> None:
    limits = Limits(hours=2, gpu_hours=3, cost=10, failures=2)
    assert exceeded_limit(limits, Usage(hours=1), Usage(hours=0.5)) == ""
    assert exceeded_limit(limits, Usage(hours=1.8), Usage(hours=0.5)).startswith("limits.hours: 1.8 of 2 h are spent")
    assert exceeded_limit(limits, Usage(gpu_hours=3), Usage(gpu_hours=0.1)).startswith("limits.gpu_hours")
    assert exceeded_limit(limits, Usage(cost=9), Usage(cost=2)).startswith("limits.cost")
    assert exceeded_limit(limits, Usage(failures=2)).startswith("limits.failures: 2 arms failed")


def queue(limits: Limits, before: float = 0.0, gpus: float = 0.0) -> Metered:
    cohorts = [Cohort(name=f"t{i}", arms=(Arm(name=f"a{i}", seed=0, spec=None),), seconds=60.0) for i in range(4)]
    started_at = time.time()
    return Metered(
        cohorts, Meter(limits=limits, before=Usage(hours=before), started_at=started_at, gpus=gpus, price=2.0)
    )


def test_no_cohort_begins_that_would_pass_limit() -> None:
    result = queue(Limits(hours=1), before=0.99)
    assert result.next_cohort("x") == "FINISHED"
    assert result.reason.startswith("limits.hours: 0.99 of 1 h")
    result = queue(Limits(cost=0.1), gpus=2)
    assert isinstance(result.next_cohort("x"), Cohort)
    result = queue(Limits(cost=0.05), gpus=2)
    assert result.next_cohort("x") == "FINISHED"


def test_failures_stop_queue() -> None:
    result = queue(Limits(failures=2))
    for trial in ("x", "y"):
        assert isinstance(result.next_cohort(trial), Cohort)
        result.on_trial_complete(trial, error=True)
    assert result.next_cohort("z") == "FINISHED"
    assert "2 arms failed" in result.reason


def test_looks_pack_each_stage_for_all_slots(surface_space: Path, storage: Storage) -> None:
    space = load_space(surface_space, ["design.blocks={first: 4, max: 6}"])
    plan = replace(plan_new(space, storage, None))
    assert [blocks for blocks, _ in plan.stages] == [4, 5, 6]
    assert [sum(len(cohort.arms) for cohort in cohorts) for _, cohorts in plan.stages] == [36, 9, 9]
    assert len({cohort.name for cohort in plan.cohorts}) == len(plan.cohorts)
    outline = json.loads(json.dumps(space.design.outline(space.method)))
    assert outline["looks"] == {"blocks": [4, 5, 6], "spending": "obrien_fleming", "futility": 0.1}


def test_plan_states_whether_limits_suffice(done: Plan, storage: Storage, surface_space: Path) -> None:
    def limit_message(limits: str, plan: Plan | None = None) -> str | None:
        planned = plan or plan_new(load_space(surface_space, [f"limits={limits}"]), storage, None)
        return dict(describe(planned)).get("limits")

    assert limit_message("{hours: 8}") == "hours 8; expected to suffice"
    assert (limit_message("{hours: 0.0001}") or "").startswith(
        "hours 0.0001; not expected to suffice: the whole run takes"
    )
    assert limit_message("{failures: 3}") == "failures 3"
    has_started = plan_new(load_space(surface_space, ["limits={hours: 8}"]), storage, "begun")
    write_plan(has_started.run, has_started.space, has_started.cohorts)
    write_manifest(
        has_started.run, has_started.space, status="limited", spent={"hours": 7.999, "gpu_hours": 0.0, "cost": 0.0}
    )
    resumed = plan_resumed(storage, "begun")
    assert limit_message("", resumed) == "hours 8; not expected to suffice: the whole run takes about hours 8"


def test_clock_set_back_does_not_refund_hours() -> None:
    meter = Meter(limits=Limits(hours=2), before=Usage(hours=1.5), started_at=time.time() + 86_400)
    assert meter.spent(0.0).hours == 1.5
    assert meter.exceeded_limit(0.0, 3600.0, 0)
    assert not meter.exceeded_limit(0.0, 60.0, 0)
