"""What a sweep will do: its arms in trials, on which teacher, and for how long. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from branchwise.orchestration.designs.knobs import Tuning
from branchwise.orchestration.designs.layout import PlannedArm, lay_out
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import Cluster, machine
from branchwise.orchestration.execution.teacher import Teacher, find_teacher
from branchwise.orchestration.monitoring.trackers import refuse_missing
from branchwise.orchestration.planning.packing import Cost, Trial, makespan, pack
from branchwise.orchestration.run_folder import results
from branchwise.orchestration.space.model import Space
from branchwise.orchestration.tuning.search import arms_per_trial, known_arms, planned_arms
from branchwise.orchestration.tuning.warm_start import Earlier, earlier_arms
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.storage import Storage


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
    return fitted(plan, machine())


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


def confirmation(plan: Plan) -> tuple[Trial, ...]:
    """The trials that a search's confirmation still lacks, each with the arms it had the first time."""
    found = results.records(plan.run)
    trials = []
    for trial in _pack(plan, [arm for arm in known_arms(plan.space, plan.run) if arm.kind != "search"]):
        missing = tuple(arm for arm in trial.arms if not results.finished(found.get(arm.name)))
        if missing:
            trials.append(replace(trial, arms=missing))
    return tuple(trials)


def fitted(plan: Plan, on: Cluster) -> Plan:
    """The plan for this cluster. The trials of a resumed run stay as they are: their checkpoints go by their names."""
    plan = replace(plan, slots=_slots(plan.space, on))
    return plan if plan.resumed else replace(plan, trials=_pack(plan, plan.arms))


def _pack(plan: Plan, arms: Sequence[PlannedArm]) -> tuple[Trial, ...]:
    size = plan.space.resources.arms_per_trial
    return pack(
        arms,
        slots=max(1, plan.slots),
        cost=_cost(plan.space),
        arms_per_trial=None if size == "auto" else size,
        cohort_key=lambda arm: plan.space.cohort_key(arm.patch),
    )


def threads_of_worker(space: Space) -> int:
    """CPUs of each worker of a trial."""
    return max(1, space.resources.cpus_per_trial // max(1, space.resources.workers))


def _slots(space: Space, on: Cluster) -> int:
    """How many trials run at a time; 0 when not even one fits."""
    resources = space.resources
    fit = on.fit(threads_of_worker(space)) // max(1, resources.workers)
    if resources.gpus_per_trial and on.gpus:
        fit = min(fit, int(on.gpus / resources.gpus_per_trial))
    return fit if resources.max_concurrent == "auto" else min(fit, resources.max_concurrent)


def obstacle_here(plan: Plan) -> str:
    """Why this machine alone cannot carry the plan out; empty when it can."""
    return missing_inputs(plan.space) if plan.slots else too_small(plan.space, machine())


def missing_inputs(space: Space) -> str:
    """Which file this machine lacks for `space`, and what to do; empty when none."""
    try:
        space.module.check_inputs(space.spec)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def too_small(space: Space, on: Cluster) -> str:
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
