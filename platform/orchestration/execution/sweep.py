"""A sweep from its plan to its collected results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import SweepAbortedError, TakenOverError, UserError
from branchwise.orchestration.execution.budget import meter_of, spent_by
from branchwise.orchestration.execution.exit_status import ExitStatus, classify_exit
from branchwise.orchestration.execution.first_arms import FirstArms
from branchwise.orchestration.execution.looks import facts, print_interim, results_at
from branchwise.orchestration.execution.runner import cluster_for, job_runner
from branchwise.orchestration.execution.search import run_searches
from branchwise.orchestration.execution.shared_models import prepare_features, prepare_teachers
from branchwise.orchestration.execution.trials import job_of
from branchwise.orchestration.execution.watchdog import modified
from branchwise.orchestration.limits import Meter
from branchwise.orchestration.monitoring.events import Events
from branchwise.orchestration.monitoring.gauges import Gauges
from branchwise.orchestration.monitoring.interim import interim_reports
from branchwise.orchestration.monitoring.progress import Display
from branchwise.orchestration.monitoring.trackers import trackers
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.planning.plan import Plan, fit_to_cluster, second_stage, shortened
from branchwise.orchestration.planning.plan_text import packing_text
from branchwise.orchestration.run_folder.lock import Lease, RunLockedError, hold
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import new_run, write_plan
from branchwise.orchestration.run_folder.reuse import copy_records
from branchwise.orchestration.run_folder.reuse import counts as reused_counts
from branchwise.orchestration.run_folder.tables import clear_failed_records, collect, complete, report
from branchwise.orchestration.run_folder.teachers import refresh
from branchwise.trainables import Arm, Cohort

if TYPE_CHECKING:  # it imports pandas and matplotlib
    from branchwise.analysis.report.build import Summary


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        plan: As it was executed.
        counts: The arms of each status; empty where no results were collected.
        summary: Set when the sweep ran to its end.
    """

    plan: Plan
    exit_status: ExitStatus
    counts: Mapping[str, int] = field(default_factory=dict)
    summary: Summary | None = None
    limit: str = ""  # the limit that has stopped it


@dataclass
class RunSession:
    """The work of this process in a run folder that it holds.

    `originals` are the files that the run depends on.
    """

    plan: Plan
    lease: Lease
    has_started: bool = False
    originals: Mapping[str, bytes] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter.without_limits)
    limit: str = ""  # the limit that has stopped the sweep
    events: Events = field(default_factory=Events)


def run_sweep(plan: Plan, address: str | None, console: Console, events: Events | None = None) -> SweepResult:
    """Execute the plan, collect the results and build the report.

    Also collects what an interrupt or a failure left.

    Raises UserError, OSError or KeyboardInterrupt when no arm was started, and unexpected errors.
    """
    with contextlib.ExitStack() as stack:
        with interrupts.deferred():
            run_session = stack.enter_context(acquire_run(plan))
            run_session.events = events or Events()
        try:
            _execute(run_session, address, console)
            with interrupts.deferred():
                if changed := run_session.plan.run.modified(run_session.originals):
                    raise modified(changed)
                counts = collect_session(run_session, "limited" if run_session.limit else "finished")
            _write_best(run_session.plan, console)
            summary = report(run_session.plan.run)
        except BaseException as error:
            if not run_session.has_started:
                raise
            with interrupts.deferred():
                return _finalize_failed(run_session, error)
        plan, done = run_session.plan, complete(counts, run_session.plan.total)
        exit_status = ExitStatus(code=0 if done else 3)
        return SweepResult(plan=plan, exit_status=exit_status, counts=counts, summary=summary, limit=run_session.limit)


@contextlib.contextmanager
def acquire_run(plan: Plan) -> Iterator[RunSession]:
    """Lock the run's folder, or the next free one if another process has just taken the plan's.

    Afterwards, no file of a run that never started remains. Raises UserError.
    """
    taken: list[str] = []
    with contextlib.ExitStack() as stack:
        while True:
            try:
                lease = stack.enter_context(hold(plan.run.files))
                if plan.resumed or not plan.run.has_plan():
                    break
                refusal = UserError(f"{plan.run.root} was just started by another process; choose another --name")
                stack.pop_all().close()
            except RunLockedError as locked:
                refusal = locked
            except OSError as error:
                raise UserError(f"{plan.run.root}: cannot be written: {error.strerror or error}") from error
            if plan.named:
                raise refusal
            taken.append(plan.run.name)
            plan = replace(plan, run=new_run(plan.storage, plan.space, None, taken))
        run_session = RunSession(plan, lease)
        try:
            yield run_session
        finally:
            if not run_session.has_started and not plan.resumed:
                _remove_unstarted(plan)


def _remove_unstarted(plan: Plan) -> None:
    """Remove the folder of a run that never started, and the storage if it is otherwise empty."""
    if plan.run.taken():
        return  # its content is not ours now
    plan.run.files.delete("")
    if plan.storage.local is not None:
        with contextlib.suppress(OSError):
            plan.storage.local.rmdir()


def _execute(run_session: RunSession, address: str | None, console: Console) -> None:
    plan = run_session.plan
    if plan.is_complete:
        run_session.has_started, run_session.originals = True, plan.run.read_originals()
        run_session.events.begin(plan)
        return
    with cluster_for(plan, address, console) as on:
        with interrupts.deferred():
            _begin(run_session, on, console)
        run_session.events.begin(run_session.plan)
        _work(run_session, on, console)
    # The workers have stopped with the cluster, so their records are final.


def _finalize_failed(run_session: RunSession, error: BaseException) -> SweepResult:
    """Collect the results of a failed sweep, as far as the storage allows, to make it resumable.

    Reraises an unexpected error.
    """
    plan, counts = run_session.plan, {}
    if isinstance(error, TakenOverError):
        return SweepResult(plan=plan, exit_status=classify_exit(error, has_started=True))
    try:
        plan.run.restore(run_session.originals)
        plan.run.delete_unfinished()  # partial files of workers that stopped with the cluster
        counts = collect_session(run_session, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
    except OSError as failure:
        error = error if isinstance(error, (KeyboardInterrupt, SweepAbortedError)) else failure
    return SweepResult(plan=plan, exit_status=classify_exit(error, has_started=True), counts=counts)


def _begin(run_session: RunSession, on: Cluster, console: Console) -> None:
    """Fit the plan to the cluster and write it.

    Raises UserError for a search that is steered from outside.
    """
    plan = run_session.plan
    if on.outside and plan.space.design.searches():
        raise UserError("--address ray://...: a search is steered from within the cluster; use `ray job submit`")
    plan = fit(plan, on, console)
    if plan.resumed:
        plan.run.delete_unfinished()
    else:
        # A reused arm that turns out to be damaged is trained by itself.
        reused_cohorts = tuple(Cohort(name=f"reused-{item.arm.name}", arms=(item.arm,)) for item in plan.reused)
        write_plan(plan.run, plan.space, (*plan.cohorts, *reused_cohorts), plan.extends)
        copy_records(plan.run, plan.reused)
    run_session.meter = meter_of(plan)
    run_session.plan, run_session.has_started, run_session.originals = plan, True, plan.run.read_originals()
    teachers = [teacher.described() for teacher in plan.teachers]
    taken = {"reused": reused_counts(plan.reused)} if plan.reused else {}
    write_manifest(plan.run, plan.space, status="running", arms=plan.total, teachers=teachers, **taken)


def fit(plan: Plan, on: Cluster, console: Console) -> Plan:
    """Fit the plan to this cluster's GPUs and nodes, unknown before, and print the changes."""
    planned, plan = plan, fit_to_cluster(plan, on)
    if packing_text(plan) != packing_text(planned):
        console.print(f"Fitted to the cluster: {packing_text(plan)}; planned: {packing_text(planned)}", highlight=False)
    return plan


def _work(run_session: RunSession, on: Cluster, console: Console) -> None:
    plan = run_session.plan
    job = job_of(plan.space, plan.run)
    first_arms = FirstArms(plan.run, plan.total, plan.space.method.file, len(plan.space.design.data_sets))
    with (
        trackers(plan.run, plan.space.tracking, console) as tell,
        interim_reports(plan, console) as rerender,
        Display(
            console,
            (Gauges(plan.run.name, plan.space.module.COLUMNS), tell, rerender, run_session.events),
            run_session.events.teacher,
        ) as display,
        job_runner(
            plan.space,
            plan.storage,
            on,
            display,
            run_session.lease,
            lambda: plan.run.modified(run_session.originals),
            first_arms.check,
        ) as runner,
    ):
        for data_set in plan.space.design.data_sets:
            prepare_features(data_set.on(plan.space.method).spec, runner)
        prepare_teachers(runner)
        run_searches(plan, job, runner)
        if plan.space.design.searches():
            arms = _recorded_arms(plan)
            run_session.plan = plan = replace(plan, cohorts=second_stage(plan, arms), final_total=len(arms))
            if not plan.cohorts:  # a resumed search that was complete
                return
        waiting = {arm.name for cohort in plan.cohorts for arm in cohort.arms}
        clear_failed_records(plan.run, waiting)
        display.begin_arms(plan.arm_seconds)

        def run_stage(cohorts: Sequence[Cohort]) -> None:
            def show() -> None:
                display.arms("arms", plan.run, waiting, len(waiting))

            run_session.limit = runner.run(cohorts, job, plan.slots, show, run_session.meter)

        if plan.space.design.looks:
            work_by_looks(run_session, plan, run_stage, console)
        elif plan.cohorts:
            run_stage(plan.cohorts)


def work_by_looks(
    run_session: RunSession, plan: Plan, run_stage: Callable[[Sequence[Cohort]], None], console: Console
) -> None:
    """Run the blocks before each look, then the look, until a look or a limit ends the sweep."""
    stages = plan.stages
    for number, (blocks, cohorts) in enumerate(stages):
        if cohorts:
            run_stage(cohorts)
            if run_session.limit:
                return
        elif not any(later for _, later in stages[number + 1 : number + 2]) and blocks < stages[-1][0]:
            continue  # resumed: a later look has seen all of this
        with interrupts.deferred():
            results = results_at(plan, blocks)
            print_interim(results, console)
            looks_so_far = facts(results)
            write_manifest(plan.run, plan.space, status="running", **looks_so_far)
            run_session.events.interim(results.blocks[-1], looks_so_far["looks"][-1]["decided"])
        if results.ended:
            run_session.plan = shortened(plan, results.blocks[-1])
            return


def collect_session(run_session: RunSession, status: str) -> dict[str, int]:
    plan = run_session.plan
    teachers = [refresh(teacher, plan.storage) for teacher in plan.teachers]
    order = {arm.name: number for number, arm in enumerate(_recorded_arms(plan))}
    counts = collect(plan.run, plan.space, order, teachers)
    described = [teacher.described() for teacher in teachers]
    manifest_values: dict[str, Any] = {"arms": plan.total, "arms_by_status": counts, "teachers": described}
    spent = asdict(spent_by(plan, run_session.meter))
    write_manifest(plan.run, plan.space, status=status, spent=spent, limit=run_session.limit, **manifest_values)
    return counts


def _write_best(plan: Plan, console: Console) -> None:
    """Write the best settings of a finished search as a space, where they differ from the space."""
    if not plan.space.design.searches():
        return
    from branchwise.orchestration.tuning.best import best_space
    from branchwise.orchestration.tuning.studies import best_configs, open_studies  # Optuna: only for searches

    patches = best_configs(open_studies(plan.space, plan.run)) if plan.run.searching() else None
    try:
        text = best_space(plan.space, patches) if patches else None
    except UserError as error:
        console.print(f"best.yaml was not written: {error}", highlight=False, markup=False)
        return
    if text:
        plan.run.write_best(text.encode())


def _recorded_arms(plan: Plan) -> tuple[Arm, ...]:
    """Each arm that the run has so far, in the order of the table."""
    if not plan.space.design.searches():
        return plan.arms
    from branchwise.orchestration.tuning.studies import recorded_arms  # Optuna: only for searches

    return recorded_arms(plan.space, plan.run)
