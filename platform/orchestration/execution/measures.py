"""Remeasure finished models, from the plan to the tables next to the sweep's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from branchwise.orchestration.designs.method import TeacherAddress
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import TOKEN_HINT, on_cluster, refuse_unshared, started
from branchwise.orchestration.execution.features import prepare_features
from branchwise.orchestration.execution.trials import job_of, run_measures
from branchwise.orchestration.execution.watchdog import Watchdog
from branchwise.orchestration.monitoring.progress import Display, read_progress, watch
from branchwise.orchestration.planning.machine import Cluster, shortages
from branchwise.orchestration.planning.measures import Measure, MeasurePlan, fit_to_cluster
from branchwise.orchestration.run_folder.lock import Lease, hold
from branchwise.orchestration.run_folder.tables import collect, records
from branchwise.orchestration.run_folder.teachers import Teacher
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.ray_worker import TEACHER, Job
from branchwise.trainables.runtime.run_folder import Measurements, Teachers


def remeasure(plan: MeasurePlan, address: str | None, console: Console, has_started: threading.Event) -> int:
    """Carries the plan out and makes a table of each measure; returns how many measurements are missing still.

    `has_started` is set when that begins. Raises what `classify_exit` knows.
    """
    work = Measurements(plan.run).work()
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(hold(work.files))
        except OSError as error:
            raise UserError(f"{work.root}: cannot be written: {error.strerror or error}") from error
        try:
            if plan.remaining:
                _work(plan, address, console, lease, has_started)
        finally:
            missing = _collect(plan)
            if not missing:
                work.files.delete("")
    return missing


def _work(plan: MeasurePlan, address: str | None, console: Console, lease: Lease, has_started: threading.Event) -> None:
    work = Measurements(plan.run).work()
    with work.ray_log() as log, started(address, log, plan.space, console) as on:
        if on.joined and plan.run.files.local is not None:
            refuse_unshared(plan.run.files.local)
        plan = fit_to_cluster(plan, on)
        if not plan.slots:
            raise UserError("; ".join(shortages(plan.space, on)))
        if on.dashboard:
            console.print(f"Dashboard: {on.dashboard} ({TOKEN_HINT})", highlight=False)
        has_started.set()
        with (
            Display(console) as display,
            Watchdog(plan.space, on, lease) as watchdog,
            watchdog.translate_errors(),
        ):

            def check() -> None:
                watchdog.check(display.pulse)

            for spec in plan.nets:
                prepare_features(plan.space, spec, plan.storage, on, display, check)
            _measure(plan, on, display, check)


def _measure(plan: MeasurePlan, on: Cluster, display: Display, check: Callable[[], None]) -> None:
    job = job_of(plan.space, plan.run)
    Measurements(plan.run).work().files.delete("progress")  # of an earlier process
    for measure in plan.measures:
        Measurements(plan.run).write_measure(measure.key, _described(plan, measure))
    display.begin_arms(plan.seconds)
    total, before = plan.remaining, _finished_count(plan)

    def show() -> None:
        done = _finished_count(plan) - before
        running = [read_progress(Measurements(plan.run).work(), cohort.name) for cohort in plan.cohorts]
        reports = [(r["step"] / max(1, r["steps"]), len(r["arms"])) for r in running if r]
        display.measures(max(done, sum(share * size for share, size in reports)), done, total)

    # Students use what a rule has chosen in their teacher's evaluation, so that runs first.
    of_teachers = [cohort for cohort in plan.cohorts if cohort.arms[0].name == TEACHER]
    for cohorts in (of_teachers, [cohort for cohort in plan.cohorts if cohort not in of_teachers]):
        if cohorts:
            watch(partial(_run, cohorts, job, plan, on), show, check)
    show()


def _run(cohorts: Sequence[Cohort], job: Job, plan: MeasurePlan, on: Cluster, stop: threading.Event) -> None:
    if on.outside:
        on_cluster(run_measures, cohorts, job, plan.space.resources, plan.slots, stop=stop)
    else:
        run_measures(cohorts, job, plan.space.resources, plan.slots, stop)


def _described(plan: MeasurePlan, measure: Measure) -> Mapping[str, Any]:
    """What the analysis needs to know of a measure: its settings, and whether they are those of the sweep."""
    method, module = plan.space.method, plan.space.module
    local_key = module.evaluation_key(plan.space.spec)

    def measured(settings: Mapping[str, Any]) -> Any:
        """The measured sections, without what a sweep measures besides, in which no two measures differ."""
        single_spec = method.patched({**module.MEASURED_ALONE, **settings})
        return single_spec.model_dump(mode="json", include=set(module.MEASURED))

    return {
        "settings": measured(measure.settings),
        "of_the_sweep": measured({}),
        "as_in_the_sweep": measure.key == local_key,
    }


def _finished_count(plan: MeasurePlan) -> int:
    """The finished measurements of the plan."""
    names = {arm.name for arm in plan.arms}
    measurements, teachers = Measurements(plan.run), Teachers(plan.storage)
    created = sum(len(names.intersection(measurements.folder(item.key).record_names())) for item in plan.measures)
    for teacher in plan.teachers:
        created += sum(teachers.read_evaluation(teacher.key, measure.key) is not None for measure in plan.measures)
    return created


def _collect(plan: MeasurePlan) -> int:
    """Makes the table of each measure that has records; returns how many measurements are missing."""
    measurements = Measurements(plan.run)
    for measure in plan.measures:
        folder = measurements.folder(measure.key)
        if not folder.record_names():
            continue
        finished = [record for record in records(folder).values() if record is not None]
        finished.sort(key=lambda record: (record["block"], record["arm"]))
        order = {record["arm"]: number for number, record in enumerate(finished)}
        collect(folder, plan.space, order, [_under(teacher, measure, plan) for teacher in plan.teachers])
    return plan.total - _finished_count(plan)


def _under(teacher: Teacher, measure: Measure, plan: MeasurePlan) -> Teacher:
    """The teacher as it is under a measure."""
    evaluation = Teachers(plan.storage).read_evaluation(teacher.key, measure.key)
    return replace(teacher, address=TeacherAddress(teacher.key, measure.key), evaluation=evaluation)


def same_as_sweep(plan: MeasurePlan) -> tuple[int, int] | None:
    """The number of models with the sweep's values, bit for bit, and of those measured as in the sweep.

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
