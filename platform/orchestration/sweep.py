"""A sweep from its plan to its collected results."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from orchestration import results
from orchestration.cluster import Cluster, cluster, machine, on_cluster, refuse_unshared
from orchestration.design import PlannedArm, lay_out
from orchestration.errors import UserError
from orchestration.lock import Lease, hold
from orchestration.metrics import Gauges
from orchestration.packing import Cost, Trial, makespan, pack
from orchestration.progress import Display, watch
from orchestration.search import arms_per_trial, known_arms, planned_arms, run_search
from orchestration.search_space import Tuning
from orchestration.space import Space
from orchestration.teacher import Teacher, find_teacher, prepare_teacher
from orchestration.tracking import refuse_missing, trackers
from orchestration.trials import run_trials
from orchestration.warm_start import Earlier, earlier_arms
from trainables.ray_worker import Job
from trainables.settings import patched
from trainables.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do. `run` is the folder it fills; `trials` hold only the arms that have no result yet.

    `damaged` names the arms whose records are not what was written; they run again.
    """

    space: Space
    storage: Storage
    run: Storage
    arms: tuple[PlannedArm, ...]
    trials: tuple[Trial, ...]
    slots: int  # trials at a time; 0 when not even one fits
    teacher: Teacher | None
    resumed: bool
    damaged: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()  # arms of other runs that a new search learns from

    @property
    def teacher_seconds(self) -> float:
        """Expected seconds of teacher training; 0 when it is there."""
        if self.teacher is None or self.teacher.trained:
            return 0.0
        return float(self.space.module.estimate_teacher(self.space.spec, max(1, self.slots)))

    @property
    def arm_seconds(self) -> float:
        """Expected seconds from the first arm's start to the last one's end."""
        design = self.space.design
        if isinstance(design, Tuning):
            slots = max(1, self.slots)
            size = arms_per_trial(self.space, design, slots)
            cohort = self.space.module.estimate_cohort([self.space.spec] * size, self.space.resources.cpus_per_trial)
            return float(cohort) / size * self.total / slots
        return makespan(self.trials, max(1, self.slots))

    @property
    def total(self) -> int:
        """Arms that a finished run has."""
        return planned_arms(self.space)


def plan_new(space: Space, storage: Storage, name: str | None) -> Plan:
    """The plan of a new run on this machine. Writes nothing. Raises UserError, as when the name is taken."""
    refuse_missing(space.tracking)
    plan = Plan(
        space=space,
        storage=storage,
        run=results.new_run(storage, space, name),
        arms=lay_out(space),
        trials=(),
        slots=1,
        teacher=find_teacher(space, storage),
        resumed=False,
        earlier=_earlier(space, storage),
    )
    return _packed(plan, machine())


def plan_resumed(storage: Storage, name: str) -> Plan:
    """The plan of what a run still lacks: arms without a result, and failed ones once more. Raises UserError."""
    run = results.run_named(storage, name, "--resume")
    if not run.exists("plan.json"):
        runs = [entry for entry in storage.names("") if storage.exists(f"{entry}/plan.json")]
        raise UserError(f"--resume {name}: no such run in {storage.root}; there are: {', '.join(runs) or 'none'}")
    space, cohorts = results.read_plan(run)
    refuse_missing(space.tracking)
    arms = lay_out(space)
    records = results.records(run)
    finished = {arm for arm, record in records.items() if results.finished(record)}
    missing = {arm.name: arm for arm in arms if arm.name not in finished}
    cost = _cost(space)
    trials = []
    for trial, names in cohorts.items():
        cohort = tuple(missing[arm] for arm in names if arm in missing)
        if cohort:
            trials.append(Trial(name=trial, arms=cohort, seconds=cost(cohort)))
    return Plan(
        space=space,
        storage=storage,
        run=run,
        arms=arms,
        trials=tuple(trials),
        slots=_slots(space, machine()),
        teacher=find_teacher(space, storage),
        resumed=True,
        damaged=tuple(arm for arm, record in records.items() if record is None),
        earlier=_earlier(space, storage) if not run.exists(results.JOURNAL) else (),
    )


def _earlier(space: Space, storage: Storage) -> tuple[Earlier, ...]:
    return earlier_arms(space, space.design, storage) if isinstance(space.design, Tuning) else ()


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
    plan = replace(plan, slots=_slots(plan.space, on)) if plan.resumed else _packed(plan, on)
    if not plan.slots:
        raise UserError(_too_small(plan.space, on))
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
        threads=_threads(plan.space),
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
            plan = replace(plan, trials=_confirmation(plan))
            if not plan.trials:  # a resumed search that lacked nothing
                return
        results.forget_failures(plan.run, [arm for trial in plan.trials for arm in trial.arms])
        cohorts = {trial.name: trial.arms for trial in plan.trials}
        display.begin_arms(plan.arm_seconds)
        watch(
            lambda: on_cluster(run_trials, plan.trials, job, resources, plan.slots),
            lambda: display.arms(plan.run, cohorts),
        )
        display.arms(plan.run, cohorts)


def _confirmation(plan: Plan) -> tuple[Trial, ...]:
    """The trials that a search's confirmation still lacks, each with the arms it had the first time."""
    found = results.records(plan.run)
    trials = []
    for trial in _pack(plan, [arm for arm in known_arms(plan.space, plan.run) if arm.kind != "search"]):
        missing = tuple(arm for arm in trial.arms if not results.finished(found.get(arm.name)))
        if missing:
            trials.append(replace(trial, arms=missing))
    return tuple(trials)


def _collect(plan: Plan, status: str) -> dict[str, int]:
    teacher = find_teacher(plan.space, plan.storage)
    evaluation = teacher.evaluation if teacher else None
    counts = results.collect(plan.run, plan.space, known_arms(plan.space, plan.run), evaluation)
    described = {"key": teacher.key, **(evaluation or {})} if teacher else None
    results.write_manifest(plan.run, plan.space, status=status, arms_by_status=counts, teacher=described)
    return counts


def _packed(plan: Plan, on: Cluster) -> Plan:
    plan = replace(plan, slots=_slots(plan.space, on))
    return replace(plan, trials=_pack(plan, plan.arms))


def _pack(plan: Plan, arms: Sequence[PlannedArm]) -> tuple[Trial, ...]:
    size = plan.space.resources.arms_per_trial
    return pack(
        arms,
        slots=max(1, plan.slots),
        cost=_cost(plan.space),
        arms_per_trial=None if size == "auto" else size,
        cohort_key=lambda arm: plan.space.cohort_key(arm.patch),
    )


def _threads(space: Space) -> int:
    """CPUs of each worker of a trial."""
    return max(1, space.resources.cpus_per_trial // max(1, space.resources.workers))


def _slots(space: Space, on: Cluster) -> int:
    """How many trials run at a time; 0 when not even one fits."""
    resources = space.resources
    fit = on.fit(_threads(space)) // max(1, resources.workers)
    if resources.gpus_per_trial and on.gpus:
        fit = min(fit, int(on.gpus / resources.gpus_per_trial))
    return fit if resources.max_concurrent == "auto" else min(fit, resources.max_concurrent)


def obstacle_here(plan: Plan) -> str:
    """Why this machine alone cannot carry the plan out; empty when it can."""
    if not plan.slots:
        return _too_small(plan.space, machine())
    try:
        plan.space.module.check_inputs(plan.space.spec)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _too_small(space: Space, on: Cluster) -> str:
    return (
        f"resources.cpus_per_trial: {space.resources.cpus_per_trial} is not allowed here: the machines have "
        f"{', '.join(map(str, on.nodes))} CPUs"
    )


def _cost(space: Space) -> Cost:
    """Seconds a cohort is expected to take, remembered by what its arms change."""
    threads = space.resources.cpus_per_trial
    specs: dict[str, object] = {}
    seconds: dict[tuple[str, ...], float] = {}

    def cost(arms: Sequence[PlannedArm]) -> float:
        patches = tuple(sorted(repr(sorted(arm.patch.items())) for arm in arms))
        if patches not in seconds:
            for arm in arms:
                key = repr(sorted(arm.patch.items()))
                specs.setdefault(key, patched(space.spec, arm.patch))
            seconds[patches] = float(space.module.estimate_cohort([specs[key] for key in patches], threads))
        return seconds[patches]

    return cost
