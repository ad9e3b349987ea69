"""A sweep from its plan to its collected results."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

from rich.console import Console

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import TOKEN_HINT, on_cluster, refuse_unshared, started
from branchwise.orchestration.execution.search import run_searches
from branchwise.orchestration.execution.teacher import prepare_teachers
from branchwise.orchestration.execution.trials import run_cohorts
from branchwise.orchestration.monitoring.gauges import Gauges
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.monitoring.trackers import trackers
from branchwise.orchestration.planning.machine import Cluster, shortages, threads_of_worker
from branchwise.orchestration.planning.plan import Plan, fitted, packing_text, second_stage
from branchwise.orchestration.run_folder.lock import Lease, hold
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.tables import collect, forget_failures
from branchwise.orchestration.run_folder.teachers import look_again
from branchwise.trainables import Arm
from branchwise.trainables.runtime.ray_worker import Job


def run_sweep(plan: Plan, address: str | None, console: Console) -> dict[str, int]:
    """Carries the plan out and collects the results, also after an interrupt or a failure.

    Returns how many arms have which status. Raises KeyboardInterrupt after Ctrl-C, UserError when nothing was begun,
    TeacherFailedError, and StorageLostError or OSError when the storage fails.
    """
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(hold(plan.run.files))
        except OSError as error:
            raise UserError(f"{plan.run.root}: cannot be written: {error.strerror or error}") from error
        if not plan.resumed and plan.run.begun():
            raise UserError(f"{plan.run.root} was begun by another process just now; choose another --name")
        try:
            return _run(plan, address, console, lease)
        finally:
            if not plan.run.begun():
                _leave_nothing(plan)


def _run(plan: Plan, address: str | None, console: Console, lease: Lease) -> dict[str, int]:
    if plan.nothing_left:
        return _collect(plan, "finished")
    status = "not begun"
    try:
        with plan.run.ray_log() as log, started(address, log, plan.space.trainable, console) as on:
            plan = _begin(plan, on, console)
            status = "failed"
            if on.dashboard:
                console.print(f"Dashboard: {on.dashboard} ({TOKEN_HINT})", highlight=False)
            _work(plan, on, console, lease)
        status = "finished"
    except KeyboardInterrupt:
        status = status.replace("failed", "interrupted")
        raise
    finally:  # the workers have ended with the cluster, so what they left is all there is
        if status != "not begun":
            counts = _collect(plan, status)
    return counts


def _leave_nothing(plan: Plan) -> None:
    """Removes the folder of a run that never began, and the storage when it holds nothing else."""
    plan.run.files.delete("")
    if plan.storage.local is not None:
        with contextlib.suppress(OSError):
            plan.storage.local.rmdir()


def _begin(plan: Plan, on: Cluster, console: Console) -> Plan:
    """Fits the plan to the cluster and writes it down. Raises UserError when the cluster cannot carry it out."""
    if on.outside and plan.space.design.searches():
        raise UserError("--address ray://...: a search is steered from within the cluster; use `ray job submit`")
    if on.joined and plan.run.files.local is not None:
        refuse_unshared(plan.run.files.local)
    plan = fit(plan, on, console)
    if plan.resumed:
        plan.run.delete_unfinished()
    else:
        write_plan(plan.run, plan.space, plan.cohorts)
    teachers = [teacher.described() for teacher in plan.teachers]
    write_manifest(plan.run, plan.space, status="running", arms=plan.total, teachers=teachers)
    return plan


def fit(plan: Plan, on: Cluster, console: Console) -> Plan:
    """The plan for this cluster, whose GPUs and other nodes are known only now; says what that changes.

    Raises UserError when not even one cohort fits.
    """
    planned, plan = plan, fitted(plan, on)
    if not plan.slots:
        raise UserError("; ".join(shortages(plan.space, on)))
    if packing_text(plan) != packing_text(planned):
        console.print(f"Fitted to the cluster: {packing_text(plan)}; planned: {packing_text(planned)}", highlight=False)
    return plan


def _work(plan: Plan, on: Cluster, console: Console, lease: Lease) -> None:
    resources = plan.space.resources
    job = Job(
        trainable=plan.space.trainable,
        spec=plan.space.spec.model_dump(mode="json"),
        storage=plan.storage.root,
        run=plan.run.name,
        workers=resources.workers,
        threads=threads_of_worker(plan.space),
        gpus=resources.gpus_per_worker,
    )
    with (
        trackers(plan.run, plan.space.tracking, console) as tell,
        Display(console, lease.check, (Gauges(plan.run.name, plan.space.module.COLUMNS), tell)) as display,
    ):
        prepare_teachers(plan.space, plan.storage, on, display)
        run_searches(plan, job, display)
        if plan.space.design.searches():
            plan = replace(plan, cohorts=second_stage(plan, _known_arms(plan)))
            if not plan.cohorts:  # a resumed search that lacked nothing
                return
        forget_failures(plan.run, [arm.name for cohort in plan.cohorts for arm in cohort.arms])
        display.begin_arms(plan.arm_seconds)
        arguments = plan.cohorts, job, resources, plan.slots

        def work(stop: threading.Event) -> None:
            if on.outside:
                on_cluster(run_cohorts, *arguments, stop=stop)
            else:
                run_cohorts(*arguments, stop)

        watch(work, lambda: display.arms(plan.run, plan.cohorts))
        display.arms(plan.run, plan.cohorts)


def _collect(plan: Plan, status: str) -> dict[str, int]:
    teachers = [look_again(teacher, plan.storage) for teacher in plan.teachers]
    order = {arm.name: number for number, arm in enumerate(_known_arms(plan))}
    counts = collect(plan.run, plan.space, order, teachers)
    described = [teacher.described() for teacher in teachers]
    write_manifest(plan.run, plan.space, status=status, arms_by_status=counts, teachers=described)
    return counts


def _known_arms(plan: Plan) -> tuple[Arm, ...]:
    """Every arm that the run has so far, in the order of the table."""
    if not plan.space.design.searches():
        return plan.arms
    from branchwise.orchestration.tuning.studies import known_arms  # Optuna: for searches alone

    return known_arms(plan.space, plan.run)
