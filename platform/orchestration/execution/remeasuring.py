"""Remeasure finished models, from the plan to the tables next to the sweep's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console

from branchwise.orchestration.designs.method import TeacherAddress
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.runner import JobRunner, cluster_for, job_runner
from branchwise.orchestration.execution.shared_models import prepare_features
from branchwise.orchestration.execution.trials import job_of
from branchwise.orchestration.monitoring.progress import Display
from branchwise.orchestration.planning.remeasuring import MeasureSettings, RemeasurePlan, fit_to_cluster
from branchwise.orchestration.run_folder.lock import hold
from branchwise.orchestration.run_folder.tables import collect, records
from branchwise.orchestration.run_folder.teachers import SweepTeacher
from branchwise.trainables.runtime.job import TEACHER
from branchwise.trainables.runtime.run_folder import Measurements
from branchwise.trainables.runtime.shared_models import TeacherStore


def remeasure(plan: RemeasurePlan, address: str | None, console: Console, has_started: threading.Event) -> int:
    """Execute the plan and write a table of each measure; return the number still missing.

    `has_started` is set when that begins. Raises what `classify_exit` knows.
    """
    work = plan.work_folder.files
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(hold(work))
        except OSError as error:
            raise UserError(f"{work.root}: cannot be written: {error.strerror or error}") from error
        try:
            if plan.remaining:
                with cluster_for(plan, address, console) as on:
                    plan = fit_to_cluster(plan, on)
                    has_started.set()
                    with (
                        Display(console) as display,
                        job_runner(plan.space, plan.storage, on, display, lease) as runner,
                    ):
                        _measure(plan, runner)
        finally:
            missing = _collect(plan)
            if not missing:
                work.delete("")
    return missing


def _measure(plan: RemeasurePlan, runner: JobRunner) -> None:
    for spec in plan.nets:
        prepare_features(spec, runner)
    plan.work_folder.files.delete("progress")  # of an earlier process
    for measure in plan.measures:
        Measurements(plan.run).write_measure(measure.key, _described(plan, measure))
    runner.display.begin_arms(plan.seconds)
    total, before = plan.remaining, plan.finished

    def show() -> None:
        runner.display.measurements(plan.work_folder, plan.finished - before, total)

    for cohorts in filter(None, plan.stages):
        runner.run(cohorts, job_of(plan.space, plan.run, "measurement"), plan.slots, show)


def _described(plan: RemeasurePlan, measure: MeasureSettings) -> Mapping[str, Any]:
    """The description of a measure for the analysis: its settings, and whether the sweep's."""
    method, module = plan.space.method, plan.space.module
    local_key = module.evaluation_key(plan.space.spec)

    def measured(settings: Mapping[str, Any]) -> Any:
        """The measured sections, without the sweep's other measurements, which are equal for all."""
        single_spec = method.patched({**module.MEASURED_ALONE, **settings})
        return single_spec.model_dump(mode="json", include=set(module.MEASURED))

    return {
        "settings": measured(measure.settings),
        "of_the_sweep": measured({}),
        "as_in_the_sweep": measure.key == local_key,
    }


def _collect(plan: RemeasurePlan) -> int:
    """Write the table of each measure with records; return the number of missing measurements."""
    measurements = Measurements(plan.run)
    for measure in plan.measures:
        folder = measurements.folder(measure.key)
        if not folder.record_names():
            continue
        finished = [record for record in records(folder).values() if record is not None]
        finished.sort(key=lambda record: (record["block"], record["arm"]))
        order = {record["arm"]: number for number, record in enumerate(finished)}
        collect(folder, plan.space, order, [_teacher_under(teacher, measure, plan) for teacher in plan.teachers])
    return plan.total - plan.finished


def _teacher_under(teacher: SweepTeacher, measure: MeasureSettings, plan: RemeasurePlan) -> SweepTeacher:
    """The teacher as it is under a measure."""
    evaluation = TeacherStore(plan.storage).read_evaluation(teacher.key, measure.key)
    return replace(teacher, address=TeacherAddress(teacher.key, measure.key), evaluation=evaluation)


def same_as_sweep(plan: RemeasurePlan) -> tuple[int, int] | None:
    """Count the models with the sweep's values, bit for bit, and those measured as in the sweep.

    None when that is none of the plan's measures. Seconds, memory and places are no values.
    """
    local_key = plan.space.module.evaluation_key(plan.space.spec)
    if local_key not in {measure.key for measure in plan.measures}:
        return None
    repeated, names = records(Measurements(plan.run).folder(local_key)), {arm.name for arm in plan.arms} - {TEACHER}
    columns = [
        c.name
        for c in plan.space.module.COLUMNS
        if c.dtype != "string" and c.unit not in ("s", "MB") and c.name != "steps"
    ]
    equal = total = 0
    for arm, record in records(plan.run).items():
        result = repeated.get(arm)
        if arm in names and record is not None and result is not None:
            total += 1
            both = [name for name in columns if name in record["values"] and name in result["values"]]
            equal += all(record["values"][name] == result["values"][name] for name in both)
    return equal, total
