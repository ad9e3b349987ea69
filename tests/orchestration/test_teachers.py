"""Each arm has the teacher that its settings require; a plan names and counts them all; what cannot be honoured is
refused."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.monitoring.terminal import plan_rows, print_plan
from branchwise.orchestration.planning.machine import missing_inputs
from branchwise.orchestration.planning.plan import Plan, plan_new, plan_resumed
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.tables import collect
from branchwise.orchestration.run_folder.teachers import find_teachers
from branchwise.orchestration.space import load_space
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.contract import Cohort, Result
from branchwise.trainables.dash.settings import files
from branchwise.trainables.runtime.job import TEACHER, Job, record_of
from branchwise.trainables.runtime.kinds import run_job
from branchwise.trainables.runtime.shared_models import TeacherStore
from branchwise.trainables.runtime.storage import Storage

SURFACE = """\
name: taught
trainable: surface
teacher: {steps: 4, seconds_per_step: 10.0}
design:
  components:
    short_teacher: {off: {teacher.steps: 40}}
    anchor: {off: {anchor_weight: 0}}
  baselines: [scratch]
  blocks: 2
"""
DASH = """\
name: digits
data: {name: cifar10, path: nowhere}
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
evaluate: {samples: 10000}
design:
  components:
    changed: {off: {uncond_weight: 0}}
"""
SEARCH = """\
  kind: search
  arms: 8
  knobs: {uncond_weight: {uniform: [0.1, 2.0]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(SURFACE)
    return file


@pytest.fixture
def plan(file: Path, tmp_path: Path) -> Plan:
    return plan_new(load_space(file), Storage(str(tmp_path / "runs")), None)


def train(plan: Plan, key: str, values: dict[str, Any], content: str = "{}") -> None:
    """Leaves a teacher in the plan's storage, with what was measured of it."""
    folder = Path(plan.storage.root).parent / key
    folder.mkdir(parents=True)
    (folder / "teacher.json").write_text(content)
    teachers = TeacherStore(plan.storage)
    teachers.put(folder, key)
    (settings,) = {teacher.address.evaluation for teacher in plan.teachers}
    teachers.write_evaluation(key, settings, values)


def test_cohorts_share_teacher_of_their_arms(plan: Plan) -> None:
    short, long = plan.teachers
    assert short.cells == ("full", "short_teacher", "scratch")
    assert long.cells == ("anchor", "base")
    assert {arm.cell for arm in plan.arms if arm.teacher == long.key} == {"anchor", "base"}
    assert {arm.teacher for arm in plan.arms} == {short.key, long.key}
    key = plan.space.module.cohort_key
    assert len({key(arm.spec) for arm in plan.arms}) == 1, "the trainable itself tells them not apart"
    for cohort in plan.cohorts:
        assert {arm.teacher for arm in cohort.arms} == {cohort.teacher}


def test_dry_run_names_and_counts_all_teachers(plan: Plan) -> None:
    def output() -> str:
        stream = io.StringIO()
        print_plan(plan_rows(plan_new(plan.space, plan.storage, None), ""), Console(file=stream, width=200))
        return stream.getvalue()

    short, long = plan.teachers
    assert f"{short.key}, to be trained, about 40 s; of full, short_teacher, scratch\n" in output().replace("  ", "")
    assert f"{long.key}, to be trained, about 6 min 40 s; of anchor, base\n" in output().replace("  ", "")
    assert "time" in output()
    assert "about 7 min 50 s on this machine, 30 s of it start-up" in output()
    train(plan, long.key, {"metric": "surface", "value": 20.0})
    assert f"{long.key}, reused; of anchor, base" in output()
    assert "about 1 min 5 s on this machine, 25 s of it start-up" in output()


def test_record_names_teacher_and_its_value(plan: Plan) -> None:
    short, long = plan.teachers
    train(plan, short.key, {"metric": "surface", "value": 23.0})
    train(plan, long.key, {"metric": "surface", "value": 20.0})
    for arm in plan.arms:
        plan.run.write_record(arm.name, record_of(arm, "t0000", Result(status="done", values={"value": 30.0})))
    order = {arm.name: number for number, arm in enumerate(plan.arms)}
    collect(plan.run, plan.space, order, find_teachers(plan.space, plan.storage))
    table = pd.read_parquet(plan.run.table_path("arms")).set_index("arm")
    assert (table.loc["full-b0", "teacher"], table.loc["full-b0", "teacher_value"]) == (short.key, 23.0)
    assert (table.loc["base-b0", "teacher"], table.loc["base-b0", "teacher_value"]) == (long.key, 20.0)
    assert table.loc["base-b0", "hp.teacher.steps"] == 40


def job_of(plan: Plan) -> Job:
    return Job(
        trainable="surface", spec=plan.space.spec.model_dump(mode="json"), storage=plan.storage.root, run=plan.run.name,
        workers=0, threads=1, gpus=0.0,
    )  # fmt: skip


def test_deleted_teacher_is_named_and_retrained(plan: Plan) -> None:
    short, long = plan.teachers
    for teacher in (short, long):
        train(plan, teacher.key, {"metric": "surface", "value": 20.0}, '{"steps": 4}')
    folder = Path(plan.storage.path(f"teachers/{short.key}"))
    waiting = next(cohort for cohort in plan.cohorts if cohort.teacher == short.key)

    def run() -> None:
        run_job(waiting, job_of(plan))

    shutil.move(folder, folder.with_name("gone"))
    with pytest.raises(FileNotFoundError, match=f"^{folder}: not found; the teacher was deleted during the run, and"):
        run()
    assert not plan.run.record_names()
    assert [teacher.trained for teacher in find_teachers(plan.space, plan.storage)] == [False, True]
    shutil.move(folder.with_name("gone"), folder)  # as a resume leaves it
    (folder / "teacher.json").unlink()
    with pytest.raises(DamagedError, match=f"{folder}/teacher.json is damaged"):
        run()
    with pytest.raises(UserError, match=f"delete {folder} to have the teacher trained again"):
        find_teachers(plan.space, plan.storage)
    (folder / "teacher.json").write_text('{"steps": 4}')
    run()
    assert set(plan.run.record_names()) == {arm.name for arm in waiting.arms}


def test_worker_lends_cohort_teacher_of_its_arms(plan: Plan, tmp_path: Path) -> None:
    for teacher, steps in zip(plan.teachers, (1, 40), strict=True):
        train(plan, teacher.key, {"metric": "surface", "value": 20.0}, json.dumps({"steps": steps}))
    for cohort in plan.cohorts:
        run_job(cohort, job_of(plan))
    for block in (0, 1):
        full, base = (plan.run.read_record(f"{cell}-b{block}") for cell in ("short_teacher", "base"))
        assert (full["teacher"], base["teacher"]) == tuple(teacher.key for teacher in plan.teachers)
        ratio = full["values"]["value"] / base["values"]["value"]
        assert ratio == pytest.approx((1 + 1 / 1) / (1 + 1 / 40), rel=0.25), "but for the noise of the arms"


@pytest.mark.parametrize("original_plan", [None, [{"key": "another", "cells": ["full"]}]])
def test_remaining_arms_keep_their_teachers(plan: Plan, original_plan: Any) -> None:
    write_plan(plan.run, plan.space, plan.cohorts)
    assert plan_resumed(plan.storage, plan.run.name).teachers == plan.teachers
    written = {key: value for key, value in plan.run.read_plan().items() if key != "teachers"}
    plan.run.write_plan(written | ({} if original_plan is None else {"teachers": original_plan}))
    with pytest.raises(UserError, match="asks for other teachers than when this run started"):
        plan_resumed(plan.storage, plan.run.name, trust=True)


def test_cells_of_tuned_factorial_may_differ_in_teachers(file: Path, tmp_path: Path) -> None:
    tuned = SEARCH.replace("kind: search", "kind: tuned_factorial")
    file.write_text(SURFACE.replace("  blocks: 2\n", f"  blocks: 2\n{tuned}"))
    space = load_space(file)
    short, long = find_teachers(space, Storage(str(tmp_path / "runs")))
    results = {search.cell: [{**search.patch, "uncond_weight": 0.5}] for search in space.design.searches()}
    for arm in space.design.arms(space.method, results):
        assert arm.teacher == (long if arm.cell in ("anchor", "base") else short).key


@pytest.mark.parametrize("knob", ["teacher.steps: {int: [4, 40]}", "teacher.steps: {choice: [4, 40]}"])
def test_knob_that_changes_teacher_is_refused(file: Path, knob: str) -> None:
    file.write_text(SURFACE.split("  components")[0] + SEARCH.replace("knobs: {", f"knobs: {{{knob}, "))
    with pytest.raises(UserError, match=r"design.knobs.teacher.steps: it changes the teacher.* make it a component"):
        load_space(file)


@pytest.mark.parametrize(
    ("patch", "refused"),
    [
        ("evaluate.samples: 12000", True),
        ("evaluate.precision: bf16", True),
        ("data.name: cifar100", True),
        ("data.split: train_45k", False),
        ("data.flip: true", False),
        ("teacher.steps: 20", False),
    ],
)
def test_incomparable_values_are_refused_before_training(tmp_path: Path, patch: str, refused: bool) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(DASH.replace("uncond_weight: 0", f"anchor_weight: 0, {patch}"))
    if refused:
        with pytest.raises(UserError) as error:
            load_space(file)
        key, _ = patch.split(": ")
        assert str(error.value).startswith(f"{file}: design.components: the cell base: {key}: ")
        assert "is not allowed: it changes how values are measured" in str(error.value)
    else:
        default_teachers, changed = find_teachers(load_space(file), Storage(str(tmp_path / "runs")))
        assert default_teachers.key != changed.key


def test_data_needed_by_single_cell_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_weights", lambda name: None)  # which this machine may lack
    (tmp_path / "here/cifar-10-batches-py").mkdir(parents=True)
    file = tmp_path / "space.yaml"
    local_path = DASH.replace("path: nowhere", f"path: {tmp_path / 'here'}")
    file.write_text(local_path)
    assert missing_inputs(load_space(file)) == ""
    file.write_text(local_path.replace("uncond_weight: 0", "data.path: elsewhere, data.split: train_45k"))
    assert "cifar10 is not in" in missing_inputs(load_space(file))


DIGITS = """
name: by-block
trainable: dash
teacher: {channels: [8, 8], norm_groups: 4, steps: 6, seed: block}
student: {channels: [8, 8], norm_groups: 4}
train: {steps: 6}
evaluate: {samples: 640, sampler_steps: 2}
design:
  components: {uncond_branch: {off: {uncond_weight: 0}}}
  baselines: [scratch]
  blocks: 3
  first_seed: 7
"""


def test_each_block_has_teacher_that_its_arms_share(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(DIGITS)
    plan = plan_new(load_space(file), Storage(str(tmp_path / "runs")), None)
    assert [teacher.blocks for teacher in plan.teachers] == [(0,), (1,), (2,)]
    assert {teacher.cells for teacher in plan.teachers} == {("full", "base", "scratch")}
    for teacher in plan.teachers:
        assert {arm.block for arm in plan.arms if arm.teacher == teacher.key} == set(teacher.blocks)
        assert teacher.spec.teacher.seed == 1_000_007 + teacher.blocks[0]
    assert all(arm.patch["teacher.seed"] == 1_000_007 + arm.block for arm in plan.arms)
    assert len({cohort.teacher for cohort in plan.cohorts}) == 3
    single = load_space(file, ["teacher.seed=3"])
    assert len(plan_new(single, plan.storage, None).teachers) == 1
    with pytest.raises(UserError, match=r"teacher\.seed: block is not allowed with design\.kind search"):
        load_space(file, ["design={kind: search, arms: 4, knobs: {anchor_weight: {uniform: [0.0, 1.0]}}}"])


@pytest.mark.long(40)
def test_tables_hold_evaluations_of_students_and_teachers(tmp_path: Path) -> None:
    """A complete run without Ray: two teachers, their evaluations, the students of both, and the tables."""
    file = tmp_path / "space.yaml"
    file.write_text(DIGITS)
    named = ["evaluate.also={weak: {guidance: 1.0, repeats: 1}}", "design.blocks=2", "design.baselines=[]"]
    outcomes = [
        "design.outcomes=[value, value(weak), teacher_distance]",
        "evaluate.repeats=1",
        "evaluate.gap_samples=4",
    ]
    plan = plan_new(load_space(file, [*named, *outcomes]), Storage(str(tmp_path / "runs")), None)
    teachers = TeacherStore(plan.storage)
    job = Job(
        trainable="dash", spec=plan.space.spec.model_dump(mode="json"), storage=plan.storage.root, run=plan.run.name,
        workers=0, threads=1, gpus=0.0,
    )  # fmt: skip
    for teacher in plan.teachers:
        settings = teacher.spec.model_dump(mode="json")
        run_job(Cohort(name=TEACHER, arms=()), replace(job, kind="teacher", key=teacher.key, spec=settings))
    for cohort in plan.cohorts:
        run_job(cohort, job)
    result = find_teachers(plan.space, plan.storage)
    assert all(teacher.evaluation is not None for teacher in result)
    order = {arm.name: number for number, arm in enumerate(plan.arms)}
    assert collect(plan.run, plan.space, order, result)["done"] == 4
    arms = pd.read_parquet(plan.run.table_path("arms"))
    columns = ["value", "value(weak)", "teacher_distance", "teacher_distance(weak)"]
    assert np.isfinite(arms[[*columns, *(f"teacher_{column}" for column in columns)]].to_numpy(dtype=float)).all()
    assert (arms.groupby("block")["teacher_value(weak)"].nunique() == 1).all()
    assert arms["teacher_value(weak)"].nunique() == arms["teacher"].nunique() == 2
    weak = {json.loads(key)["guidance"] for key in arms["comparability_key(weak)"]}
    assert weak == {1.0} != {json.loads(key)["guidance"] for key in arms["comparability_key"]}

    assert teachers.files.local is not None
    folder = teachers.files.local / result[0].key / "evaluations" / result[0].address.evaluation
    (folder / "weak.npz").write_bytes(b"not what was stored")
    assert find_teachers(plan.space, plan.storage)[0].evaluation is None, "it is measured again"
