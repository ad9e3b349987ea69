"""The plan of a sweep: its arms in cohorts, their teachers, and durations. Writes no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning.cost_estimate import (
    cohort_estimate,
    fits,
    local_device,
    teacher_estimate,
)
from branchwise.orchestration.planning.gpus import Target, price_of
from branchwise.orchestration.planning.machine import (
    Cluster,
    check_ulimits,
    gpu_names,
    machine,
    missing_inputs,
    shortages,
    slots,
)
from branchwise.orchestration.planning.packing import Cost, makespan, pack
from branchwise.orchestration.run_folder.plan_file import (
    new_run,
    read_plan,
    refuse_other_data,
    refuse_other_teachers,
    started_run,
)
from branchwise.orchestration.run_folder.reuse import ReusedArm, reusable_arms
from branchwise.orchestration.run_folder.tables import Record, finished, records
from branchwise.orchestration.run_folder.teachers import SweepTeacher, find_teachers
from branchwise.orchestration.space import Space
from branchwise.orchestration.tracking.registry import refuse_missing
from branchwise.orchestration.tuning.warm_start import WarmStartTrial, earlier_arms
from branchwise.trainables import Arm, Cohort, CostEstimate, Device
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import Storage

ROUNDS = 4  # at least so often should a search learn from earlier arms
LARGEST_SEARCH_COHORT = 8
# Start-up, as measured on two cores: Ray's own, and that of the workers of one cohort or teacher, imports included.
RAY_SECONDS, WORKERS_SECONDS = 10.0, 5.0
PLATFORM_CORES = 0.08  # that the driver and Ray use of a machine with all cores in trials; measured on two


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """The common part of the plans of a sweep and of measuring.

    `cohorts` hold only what has no result yet.
    """

    space: Space
    storage: Storage
    run: RunFolder
    arms: tuple[Arm, ...]
    cohorts: tuple[Cohort, ...]
    slots: int  # cohorts at a time; 0 when not even one fits
    teachers: tuple[SweepTeacher, ...]

    @property
    def work_folder(self) -> RunFolder:
        """The folder to which the jobs write progress, logs and the lock."""
        return self.run


@dataclass(frozen=True, kw_only=True)
class Plan(JobPlan):
    """The plan of a sweep.

    Attributes:
        run: The folder that it fills.
        arms: Those planned before the run.
        damaged: Names of the arms with modified records; they rerun.
    """

    resumed: bool
    named: bool = True  # by the user; a generated name is changed if another process uses it first
    damaged: tuple[str, ...] = ()
    earlier: tuple[WarmStartTrial, ...] = ()  # arms of other runs that a new search learns from
    is_complete: bool = False  # each arm has its result already
    device: Device | None = None  # what a worker computes on, for the estimates; None for an unknown GPU
    target: Target | None = None  # machines that the plan is built for, instead of this one
    reused: tuple[ReusedArm, ...] = ()  # finished arms of other runs
    extends: Mapping[str, Any] | None = None  # the run that this run extends, and its arms
    stopped_after: int | None = None  # blocks at the look that has stopped the run
    final_total: int | None = None  # arms of a run after its searches

    @property
    def teacher_seconds(self) -> float:
        """Expected seconds of the unfinished training and evaluation of the teachers, in turn."""
        return sum(self.teacher_estimate(teacher).total for teacher in self.teachers)

    def teacher_estimate(self, teacher: SweepTeacher, workers: int | None = None) -> CostEstimate:
        """The cost of a teacher's unfinished part, with so many workers instead of the planned ones."""
        earlier = self.teachers[: self.teachers.index(teacher)]
        trained = teacher.trained or teacher.key in [item.key for item in earlier]
        return teacher_estimate(self.space, teacher, trained, workers or self.teacher_workers(teacher), self.device)

    def teacher_workers(self, teacher: SweepTeacher) -> int:
        """The number of processes that train a teacher; on GPUs as requested, up to those available."""
        if self.device is None or not self.device.memory:
            return max(1, self.slots)
        expected = self.space.module.teacher_workers(teacher.spec)
        return max(1, min(expected, self.target.count if self.target else len(gpu_names())))

    @property
    def arm_seconds(self) -> float:
        """Expected seconds from the first arm's start to the last arm's end."""
        at_a_time = max(1, self.slots)
        cores = 0 if self.space.resources.gpus_per_trial else at_a_time * self.space.resources.cpus_per_trial
        slowed = cores / (cores - PLATFORM_CORES) if cores else 1.0
        if not self.space.design.searches():
            return slowed * sum(makespan(stage, at_a_time) for _, stage in self.stages if stage)
        size = self.search_size
        cohort = cohort_estimate(self.space, [self.space.spec] * size, self.device).total
        return slowed * cohort / size * self.total / at_a_time

    @property
    def price(self) -> float | None:
        """The price of a GPU for an hour, by planning/gpus.yaml; None without a GPU or a price."""
        if self.target:
            return self.target.price
        name = self.device.name if self.device else ""
        return price_of(name) if self.space.resources.gpus_per_trial else None

    @property
    def stages(self) -> tuple[tuple[int, tuple[Cohort, ...]], ...]:
        """The cohorts that run between looks, each with the number of blocks that are then finished.

        One stage for a design without looks.
        """
        looks = self.space.design.looks
        if not looks:
            return ((self.space.design.max_blocks, self.cohorts),)
        return tuple(
            (end, tuple(cohort for cohort in self.cohorts if begin <= cohort.arms[0].block < end))
            for begin, end in zip((0, *looks.blocks), looks.blocks, strict=False)
        )

    @property
    def startup_seconds(self) -> float:
        """Expected seconds in which Ray and its workers start; a slot's cohorts do so in turn."""
        if self.is_complete:
            return 0.0
        starts = sum(math.ceil(len(stage) / max(1, self.slots)) for _, stage in self.stages)
        starts += sum(1 for teacher in self.teachers if teacher.evaluation is None)
        return RAY_SECONDS + WORKERS_SECONDS * starts

    @property
    def search_size(self) -> int:
        """Suggestions of a search in a single cohort."""
        return search_cohort_size(self.space, max(1, self.slots))

    @property
    def total(self) -> int:
        """Arms of a run without failures; at most as many if a look or a search stops some."""
        if self.final_total is not None:
            return self.final_total
        return self.space.design.total() if self.stopped_after is None else len(self.arms)


def plan_new(
    space: Space,
    storage: Storage,
    name: str | None,
    target: Target | None = None,
    extends: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a new run on this machine, or on the `target`. Writes no files.

    Raises UserError, as when the name is taken, or the space requests no GPU of the target's.
    """
    if target and not space.resources.gpus_per_trial:
        raise UserError(
            f"--for {target.count}x{target.device.name}: {space.name} asks for no GPU; resources.gpus_per_trial and "
            "resources.workers must be at least 1 (--set)"
        )
    refuse_missing(space.tracking)
    plan = Plan(
        space=space,
        storage=storage,
        run=new_run(storage, space, name),
        arms=_fixed_arms(space),
        cohorts=(),
        slots=1,
        teachers=find_teachers(space, storage),
        resumed=False,
        named=name is not None,
        earlier=earlier_arms(space, storage),
        device=target.device if target else local_device(space),
        target=target,
        extends=extends,
    )
    if space.reuse:
        plan = replace(plan, reused=tuple(reusable_arms(space, storage, plan.arms, space.reuse)))
    return fit_to_cluster(plan, target.cluster if target else machine())


def plan_resumed(storage: Storage, name: str, trust: bool = False, dry_run: bool = False) -> Plan:
    """The plan of the rest of a run: arms without a result, and failed ones once more.

    Raises UserError, also for a run that this user neither started nor trusts.
    """
    run = started_run(storage, name, "run")
    space, cohorts = read_plan("run", run, trust, dry_run)
    refuse_missing(space.tracking)
    refuse_other_data(run, space)
    teachers = find_teachers(space, storage)
    if space.has_trainable:
        refuse_other_teachers(run, teachers)
    arms = {arm.name: arm for arm in _fixed_arms(space)}
    result = records(run)
    device = local_device(space)
    cost = _cost(space, device)
    remaining = []
    for cohort, names in cohorts.items():
        if unknown := [arm for arm in names if arm not in arms]:
            raise UserError(f"{run.plan_path()}: cohorts.{cohort}: {unknown[0]} is no arm of its space")
        missing = tuple(arms[arm] for arm in names if not finished(result.get(arm)))
        if missing:
            remaining.append(Cohort(name=cohort, arms=missing, seconds=cost(missing)))
    plan = Plan(
        space=space,
        storage=storage,
        run=run,
        arms=tuple(arms.values()),
        cohorts=tuple(remaining),
        slots=slots(space, machine()),
        teachers=teachers,
        resumed=True,
        damaged=tuple(arm for arm, record in result.items() if record is None),
        earlier=() if run.searching() else earlier_arms(space, storage),
        is_complete=not remaining,
        device=device,
    )
    if space.design.searches():
        plan = _with_searches(plan, result)
    stopped_after = run.read_manifest().get("stopped_after")
    if stopped_after is None:
        return plan
    plan = shortened(plan, stopped_after)
    return replace(plan, is_complete=not plan.cohorts)


def _with_searches(plan: Plan, result: Mapping[str, Record | None]) -> Plan:
    """The plan of the rest of a run that searches, and its number of arms after them."""
    plan = replace(plan, is_complete=False)
    if not plan.run.searching():
        return plan
    from branchwise.orchestration.tuning.studies import recorded_arms  # Optuna: only for searches

    arms = recorded_arms(plan.space, plan.run)
    if all(arm.kind == "search" for arm in arms):
        return plan
    over = all(finished(result.get(arm.name)) for arm in arms)
    return replace(plan, is_complete=over, final_total=len(arms) if over else None)


def _fixed_arms(space: Space) -> tuple[Arm, ...]:
    return () if space.design.searches() else space.design.arms(space.method, {})


def second_stage(plan: Plan, arms: Sequence[Arm]) -> tuple[Cohort, ...]:
    """The cohorts of the `arms` that a search led to, without those that have a result.

    Each cohort is as it was the first time.
    """
    result = records(plan.run)
    remaining = []
    for cohort in _pack(plan, [arm for arm in arms if arm.kind != "search"]):
        missing = tuple(arm for arm in cohort.arms if not finished(result.get(arm.name)))
        if missing:
            remaining.append(replace(cohort, arms=missing))
    return tuple(remaining)


def fit_to_cluster(plan: Plan, on: Cluster) -> Plan:
    """The plan for this cluster.

    The cohorts of a resumed run stay as they are: their checkpoints go by their names.
    """
    plan = replace(plan, slots=slots(plan.space, on))
    return plan if plan.resumed else replace(plan, cohorts=_pack_stages(plan))


def search_cohort_size(space: Space, at_a_time: int) -> int:
    """Suggestions of a single cohort.

    As many as share a teacher pass without a search learning too seldom.
    """
    if size := cohort_size(space):
        return size
    total = sum(search.options.searched for search in space.design.searches())
    return max(1, min(LARGEST_SEARCH_COHORT, math.ceil(total / (ROUNDS * at_a_time))))


def cohort_size(space: Space) -> int | None:
    """Arms of a cohort if fixed by the space, or one if arms gain nothing from a shared cohort."""
    if space.resources.arms_per_trial != "auto":
        return space.resources.arms_per_trial
    return 1 if space.module.cohort_key(space.spec) is None else None


def blocking_issues(plan: Plan) -> str:
    """Everything that this machine, or the plan's target, lacks for the plan; empty if nothing."""
    short = [] if plan.slots else shortages(plan.space, plan.target.cluster if plan.target else machine())
    issues = [] if plan.target else [missing_inputs(plan.space), check_ulimits()]
    return "; ".join(filter(None, [*short, _memory_shortage(plan), *issues]))


def _memory_shortage(plan: Plan) -> str:
    """The message when the memory of the GPU does not hold even one arm; empty when it does."""
    for arm in plan.arms:
        if not fits(plan.space, [arm.spec], plan.device) and plan.device is not None:
            needed = max(cohort_estimate(plan.space, [arm.spec], plan.device).memory.values())
            return (
                f"{arm.name} alone needs {needed / 1e9:.1f} GB of GPU memory, {plan.device.name} has "
                f"{plan.device.memory / 1e9:g} GB; more workers share the batch"
            )
    return ""


def _pack_stages(plan: Plan) -> tuple[Cohort, ...]:
    """The cohorts of each stage between looks, so that each slot has work in each of them."""
    looks = plan.space.design.looks
    ends = looks.blocks if looks else (plan.space.design.max_blocks,)
    cohorts: list[Cohort] = []
    reused = {item.arm.name for item in plan.reused}
    for begin, end in zip((0, *ends), ends, strict=False):
        for cohort in _pack(plan, [arm for arm in plan.arms if begin <= arm.block < end and arm.name not in reused]):
            cohorts.append(replace(cohort, name=f"t{len(cohorts):04d}"))
    return tuple(cohorts)


def shortened(plan: Plan, blocks: int) -> Plan:
    """The plan of a run that a look after so many blocks has stopped.

    It is complete with what has run.
    """
    stored = tuple(arm for arm in plan.arms if arm.block < blocks)
    remaining = tuple(cohort for cohort in plan.cohorts if cohort.arms[0].block < blocks)
    return replace(plan, arms=stored, cohorts=remaining, stopped_after=blocks)


def _pack(plan: Plan, arms: Sequence[Arm]) -> tuple[Cohort, ...]:
    # Arms of an equal patch share their settings, so each is requested once.
    keys = {id(arm.spec): plan.space.method.cohort_key(arm) for arm in {id(arm.spec): arm for arm in arms}.values()}
    return pack(
        arms,
        slots=max(1, plan.slots),
        cost=_cost(plan.space, plan.device),
        arms_per_cohort=cohort_size(plan.space),
        cohort_key=lambda arm: keys[id(arm.spec)],
        fits=lambda arms: fits(plan.space, [arm.spec for arm in arms], plan.device),
    )


def _cost(space: Space, device: Device | None) -> Cost:
    """Seconds a cohort is expected to take, remembered by what its arms change."""
    seconds: dict[tuple[str, ...], float] = {}

    def cost(arms: Sequence[Arm]) -> float:
        by_patch = sorted((repr(sorted(arm.patch.items())), number) for number, arm in enumerate(arms))
        patches = tuple(patch for patch, _ in by_patch)
        if patches not in seconds:
            specs = [arms[number].spec for _, number in by_patch]
            seconds[patches] = cohort_estimate(space, specs, device).total
        return seconds[patches]

    return cost
