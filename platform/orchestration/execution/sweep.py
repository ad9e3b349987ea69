"""A sweep from its plan to its collected results."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from branchwise.orchestration.designs.knobs import Tuning
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import Cluster, cluster, on_cluster, refuse_unshared
from branchwise.orchestration.execution.teacher import find_teacher, prepare_teacher
from branchwise.orchestration.execution.trials import run_trials
from branchwise.orchestration.monitoring.gauges import Gauges
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.monitoring.trackers import trackers
from branchwise.orchestration.planning.plan import Plan, confirmation, fitted, threads_of_worker, too_small
from branchwise.orchestration.run_folder import results
from branchwise.orchestration.run_folder.lock import Lease, hold
from branchwise.orchestration.tuning.search import known_arms, run_search
from branchwise.trainables.runtime.ray_worker import Job
from branchwise.trainables.runtime.storage import Storage


def run_sweep(plan: Plan, address: str | None, console: Console) -> dict[str, int]:
    """Carries the plan out and collects the results, also after an interrupt or a failure.

    Returns how many arms have which status. Raises KeyboardInterrupt after Ctrl-C, UserError when nothing was begun,
    TeacherFailedError, and StorageLostError or OSError when the storage fails.
    """
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(hold(plan.run))
        except OSError as error:
            raise UserError(f"{plan.run.root}: cannot be written: {error.strerror or error}") from error
        if not plan.resumed and plan.run.exists("plan.json"):
            raise UserError(f"{plan.run.root} was begun by another process just now; choose another --name")
        try:
            return _run(plan, address, console, lease)
        finally:
            if not plan.run.exists("plan.json"):
                _leave_nothing(plan)


def _run(plan: Plan, address: str | None, console: Console, lease: Lease) -> dict[str, int]:
    if not plan.trials and not isinstance(plan.space.design, Tuning):  # every arm has its result already
        return _collect(plan, "finished")
    status = "not begun"
    try:
        with _log(plan.run) as log, cluster(address, log, plan.space.trainable) as on:
            plan = _begin(plan, on)
            status = "failed"
            if on.dashboard:
                console.print(f"Dashboard: {on.dashboard}", highlight=False)
            _work(plan, on, console, lease)
        status = "finished"
    except KeyboardInterrupt:
        status = status.replace("failed", "interrupted")
        raise
    finally:  # the workers have ended with the cluster, so what they left is all there is
        if status != "not begun":
            counts = _collect(plan, status)
    return counts


@contextlib.contextmanager
def _log(run: Storage) -> Iterator[Path]:
    """Where Ray's log is written: into the run folder, or for a run at a URI to a file that is stored at the end."""
    if run.local is not None:
        yield run.local / "logs/ray.log"
        return
    with tempfile.TemporaryDirectory(prefix="branchwise-") as scratch:
        log = Path(scratch) / "ray.log"
        yield log
        run.write("logs/ray.log", log.read_bytes())


def _leave_nothing(plan: Plan) -> None:
    """Removes the folder of a run that never began, and the storage when it holds nothing else."""
    plan.run.delete("")
    if plan.storage.local is not None:
        with contextlib.suppress(OSError):
            plan.storage.local.rmdir()


def _begin(plan: Plan, on: Cluster) -> Plan:
    """Fits the plan to the cluster and writes it down. Raises UserError when the cluster cannot carry it out."""
    if on.outside and isinstance(plan.space.design, Tuning):
        raise UserError("--address ray://...: a search is steered from within the cluster; use `ray job submit`")
    if on.joined and plan.run.local is not None:
        refuse_unshared(plan.run.local)
    # Only now are GPUs and the CPUs of other machines known.
    plan = fitted(plan, on)
    if not plan.slots:
        raise UserError(too_small(plan.space, on))
    if plan.resumed:
        for folder in ("", "arms", "checkpoints", "students"):
            plan.run.delete_unfinished(folder)
    else:
        results.write_plan(plan.run, plan.space, plan.trials)
    teacher = {"key": plan.teacher.key} if plan.teacher else None
    results.write_manifest(plan.run, plan.space, status="running", arms=plan.total, teacher=teacher)
    return plan


def _work(plan: Plan, on: Cluster, console: Console, lease: Lease) -> None:
    resources = plan.space.resources
    job = Job(
        trainable=plan.space.trainable,
        spec=plan.space.spec.model_dump(mode="json"),
        run=plan.run.root,
        teachers=plan.storage.path("teachers"),
        teacher=plan.teacher.key if plan.teacher else None,
        workers=resources.workers,
        threads=threads_of_worker(plan.space),
        gpu=resources.gpus_per_trial > 0,
    )
    gauges = Gauges(plan.run.root.rpartition("/")[2])
    with (
        trackers(plan.run, plan.space.tracking, console) as tell,
        Display(console, lease.check, (gauges, tell)) as display,
    ):
        prepare_teacher(plan.space, plan.storage, on, display)
        if isinstance(plan.space.design, Tuning):
            run_search(plan.space, plan.space.design, job, plan.slots, plan.earlier, display)
            plan = replace(plan, trials=confirmation(plan))
            if not plan.trials:  # a resumed search that lacked nothing
                return
        results.forget_failures(plan.run, [arm for trial in plan.trials for arm in trial.arms])
        cohorts = {trial.name: trial.arms for trial in plan.trials}
        display.begin_arms(plan.arm_seconds)
        arguments = plan.trials, job, resources, plan.slots

        def work(stop: threading.Event) -> None:
            if on.outside:
                on_cluster(run_trials, *arguments, stop=stop)
            else:
                run_trials(*arguments, stop)

        watch(work, lambda: display.arms(plan.run, cohorts))
        display.arms(plan.run, cohorts)


def _collect(plan: Plan, status: str) -> dict[str, int]:
    teacher = find_teacher(plan.space, plan.storage)
    evaluation = teacher.evaluation if teacher else None
    counts = results.collect(plan.run, plan.space, known_arms(plan.space, plan.run), evaluation)
    described = {"key": teacher.key, **(evaluation or {})} if teacher else None
    results.write_manifest(plan.run, plan.space, status=status, arms_by_status=counts, teacher=described)
    return counts
