"""A plan as text: what runs, the estimated GPUs, memory, work and money, and their basis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from branchwise.orchestration.limits import Usage, spent_of
from branchwise.orchestration.planning.cost_estimate import cohort_estimate
from branchwise.orchestration.planning.gpus import Target
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.run_folder.reuse import counts
from branchwise.trainables import CostEstimate, Device

MIN_SPEEDUP = 0.8  # more workers are suggested if the teacher then needs at most this part of the time


def describe(plan: Plan) -> Iterator[tuple[str, str]]:
    """The plan's description of its arms: the design's text, and how they are packed."""
    yield from plan.space.module.describe(plan.space.spec)
    yield from plan.space.design.describe(plan.slots)
    if plan.earlier:
        sources = dict.fromkeys(arm.source.partition("/")[0] for arm in plan.earlier)
        yield "learns from", f"{len(plan.earlier)} arms of {', '.join(sources)}"
    if not plan.arms:
        return
    waiting = sum(len(cohort.arms) for cohort in plan.cohorts)
    if plan.resumed and waiting < len(plan.arms):
        yield "resumed", f"{len(plan.arms) - waiting} have a result already, {waiting} to run"
    if limits := plan.space.limits.model_dump(exclude_none=True):
        yield "limits", f"{', '.join(f'{key} {value:g}' for key, value in limits.items())}{_limits_outlook(plan)}"
    if plan.reused:
        taken = ", ".join(f"{number} of {source}" for source, number in counts(plan.reused).items())
        yield "reused", f"{len(plan.reused)} finished arms ({taken}); {len(plan.arms) - len(plan.reused)} to run"
    yield "cohorts", packing_text(plan)


def _limits_outlook(plan: Plan) -> str:
    """Whether the limits are enough for the expected use, and what a resumed run has used."""
    allowed = plan.space.limits.model_dump(exclude_none=True)
    if set(allowed) == {"failures"}:
        return ""
    arms = plan.arm_seconds
    if not arms and plan.cohorts:
        return "; not known whether they suffice: how long an arm takes is not known before the first one"
    before = spent_of(plan.run.read_manifest()) if plan.resumed else Usage()
    hours = before.hours + (plan.teacher_seconds + arms + plan.startup_seconds) / 3600
    gpu_hours = plan.space.resources.gpus_per_trial * sum(cohort.seconds for cohort in plan.cohorts) / 3600
    cost = before.cost + gpu_hours * (plan.price or 0.0)
    needed = {"hours": hours, "gpu_hours": before.gpu_hours + gpu_hours, "cost": cost}
    short = [f"{key} {value:.3g}" for key, value in needed.items() if value > allowed.get(key, math.inf)]
    if not short:
        return "; expected to suffice"
    return f"; not expected to suffice: the whole run takes about {', '.join(short)}"


def packing_text(plan: Plan) -> str:
    """A short description of how the arms are packed."""
    largest = max((len(cohort.arms) for cohort in plan.cohorts), default=0)
    at_a_time = f", {plan.slots} at a time" if plan.slots else ""
    return f"{len(plan.cohorts)} of up to {largest} arms{at_a_time}"


def describe_estimate(plan: Plan, target: Target) -> Iterator[tuple[str, str]]:
    """Describe GPUs, memory, arithmetic and cost of a plan: pairs of a key and a text."""
    estimates, trained = _estimates(plan)
    yield "for", f"{target.text}, CPUs for {max(1, plan.slots)} x {plan.space.resources.cpus_per_trial}"
    yield "rates", _basis(target.device, [*estimates, *trained])
    for word, owner, match in (("memory", "", _peaks(estimates)), ("", "teacher's ", _peaks(trained))):
        if match:
            peaks = ", ".join(f"{owner}{phase} {size / 1e9:.1f} GB" for phase, size in match.items())
            yield word, f"{peaks}, of {target.device.memory / 1e9:g} GB on each GPU"
    if plan.cohorts:
        counted = sum(estimate.flop for estimate in [*estimates, *trained])
        busy = {
            phase: sum(estimate.seconds.get(phase, 0.0) for estimate in estimates) for phase in estimates[0].seconds
        }
        shares = ", ".join(f"{phase} {seconds / sum(busy.values()):.0%}" for phase, seconds in busy.items())
        yield "work", f"{counted / 1e18:.3g} EFLOP; of the arms' time {shares}"
    yield from _more_workers(plan, target)
    hours = (plan.teacher_seconds + plan.arm_seconds) / 3600
    if target.price is not None:
        yield "money", f"{hours * target.count * target.price:,.0f} = {hours:.1f} h x {target.count} x {target.price:g}"


def measured_share(plan: Plan) -> float:
    """The share of a plan's seconds that rests on rates of its own nets, measured on its device."""
    return _measured([estimate for estimates in _estimates(plan) for estimate in estimates])


def _estimates(plan: Plan) -> tuple[list[CostEstimate], list[CostEstimate]]:
    """Of what remains to do: cohorts, of a search one of the space's settings, and teachers."""
    groups = [[arm.spec for arm in cohort.arms] for cohort in plan.cohorts] or [[plan.space.spec] * plan.search_size]
    estimates = [cohort_estimate(plan.space, specs, plan.device) for specs in groups]
    return estimates, [plan.teacher_estimate(teacher) for teacher in plan.teachers]


def _measured(estimates: Sequence[CostEstimate]) -> float:
    total = sum(estimate.total for estimate in estimates)
    return sum(estimate.measured * estimate.total for estimate in estimates) / total if total else 0.0


def _peaks(estimates: Sequence[CostEstimate]) -> dict[str, float]:
    """By phase, the most that any of them needs."""
    phases = dict.fromkeys(phase for estimate in estimates for phase in estimate.memory)
    return {phase: max(estimate.memory.get(phase, 0.0) for estimate in estimates) for phase in phases}


def _basis(device: Device, estimates: Sequence[CostEstimate]) -> str:
    measured = _measured(estimates)
    if measured > 0.99:
        return "measured by `branchwise calibrate`"
    shares = ", ".join(f"{part:.0%} of {name}" for name, part in device.efficiency.items() if name in device.flops)
    launches = ", ".join(f"{seconds * 1e6:g} us {mode}" for mode, seconds in device.launch_seconds.items())
    known = f"measured for {measured:.0%} of the time, else " if measured else ""
    return f"{known}assumed (planning/gpus.yaml): {shares}; a launch {launches}"


def _more_workers(plan: Plan, target: Target) -> Iterator[tuple[str, str]]:
    """Whether the teacher would be ready sooner on more of the GPUs that wait for it."""
    waiting = [teacher for teacher in plan.teachers if teacher.evaluation is None]
    if not waiting:
        return
    first = waiting[0]
    requested = best = plan.teacher_workers(first)
    seconds = {workers: plan.teacher_estimate(first, workers).total for workers in {requested, *_powers(target.count)}}
    for workers in _powers(target.count):
        if workers > best and seconds[workers] < MIN_SPEEDUP * seconds[best]:
            best = workers
    if best > requested:
        sooner = seconds[best] / seconds[requested]
        yield "notice", f"the teacher would take {sooner:.0%} of its time with --set teacher.workers={best}"


def _powers(limit: int) -> list[int]:
    return [2**power for power in range(limit.bit_length())]
