"""The bill of a plan: what its cohorts and its teacher take on the device that it is made for, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from branchwise.orchestration.planning.gpus import Target, device_of, name_in_table
from branchwise.orchestration.planning.machine import gpu_names
from branchwise.orchestration.planning.rates import processor, read_rates
from branchwise.orchestration.space import Space
from branchwise.trainables import CostEstimate, Device

if TYPE_CHECKING:
    from branchwise.orchestration.planning.plan import Plan
    from branchwise.orchestration.run_folder.teachers import Teacher

MIN_SPEEDUP = 0.8  # more workers are named where the teacher then takes at most this part of the time


def device_here(space: Space) -> Device | None:
    """What a worker of the space computes on where it runs on this machine; None for a GPU that no table knows."""
    if not space.resources.gpus_per_trial:
        return Device(name=processor(), threads=space.resources.cpus_per_trial, rates=read_rates(processor()))
    names = gpu_names()
    known = name_in_table(names[0]) if names else None
    return device_of(known) if known else None


def cohort_estimate(space: Space, specs: Sequence[Any], on: Device | None) -> CostEstimate:
    """The bill of one cohort; of its seconds on CPUs alone where the trainable counts no work, or `on` is not known."""
    threads = space.resources.cpus_per_trial
    workers = max(1, space.resources.workers) if on is not None and on.memory else 1
    result = space.module.cohort_cost(specs, on or Device(threads=threads), workers)
    return result or CostEstimate(seconds={"work": float(space.module.estimate_cohort(specs, threads))})


def teacher_estimate(plan: Plan, teacher: Teacher, workers: int | None = None) -> CostEstimate:
    """The bill of what is not done yet of the training and evaluation of one of its teachers, with so many workers."""
    if teacher.evaluation is not None:
        return CostEstimate()
    earlier = plan.teachers[: plan.teachers.index(teacher)]
    module, spec = plan.space.module, teacher.spec
    trained = teacher.trained or teacher.key in [item.key for item in earlier]
    on_gpu = plan.device is not None and bool(plan.device.memory)
    workers = workers or (teacher_workers(plan, teacher) if on_gpu else max(1, plan.slots))
    on = plan.device if on_gpu else replace(plan.device or Device(), threads=1)
    result = module.teacher_cost(spec, on or Device(), workers, trained)
    return result or CostEstimate(seconds={"work": float(module.estimate_teacher(spec, workers, trained))})


def teacher_workers(plan: Plan, teacher: Teacher) -> int:
    """GPUs that train the teacher: as many as its settings ask for, of those there are."""
    expected = int(getattr(getattr(teacher.spec, "teacher", None), "workers", 1))
    return max(1, min(expected, plan.target.count if plan.target else len(gpu_names())))


def fits(space: Space, specs: Sequence[Any], on: Device | None) -> bool:
    """Whether a GPU's memory holds a cohort of these settings; on CPUs it always does."""
    if on is None or not on.memory:
        return True
    return max(cohort_estimate(space, specs, on).memory.values(), default=0.0) <= on.memory


def too_large(plan: Plan) -> str:
    """What to say when the memory of the GPU does not hold even one arm; empty when it does."""
    for arm in plan.arms:
        if not fits(plan.space, [arm.spec], plan.device) and plan.device is not None:
            needed = max(cohort_estimate(plan.space, [arm.spec], plan.device).memory.values())
            return (
                f"{arm.name} alone needs {needed / 1e9:.1f} GB of GPU memory, {plan.device.name} has "
                f"{plan.device.memory / 1e9:g} GB; more workers share the batch"
            )
    return ""


def describe_estimate(plan: Plan, target: Target) -> Iterator[tuple[str, str]]:
    """What a plan for GPUs says of them, of memory, of arithmetic and of money: pairs of a word and a text."""
    bills, trained = _bills(plan)
    yield "for", f"{target.text}, CPUs for {max(1, plan.slots)} x {plan.space.resources.cpus_per_trial}"
    yield "rates", _basis(target.device, [*bills, *trained])
    for word, whose, match in (("memory", "", _peaks(bills)), ("", "teacher's ", _peaks(trained))):
        if match:
            most = ", ".join(f"{whose}{phase} {held / 1e9:.1f} GB" for phase, held in match.items())
            yield word, f"{most}, of {target.device.memory / 1e9:g} GB on each GPU"
    if plan.cohorts:
        counted = sum(bill.flop for bill in [*bills, *trained])
        busy = {phase: sum(bill.seconds.get(phase, 0.0) for bill in bills) for phase in bills[0].seconds}
        shares = ", ".join(f"{phase} {seconds / sum(busy.values()):.0%}" for phase, seconds in busy.items())
        yield "work", f"{counted / 1e18:.3g} EFLOP; of the arms' time {shares}"
    yield from _more_workers(plan, target)
    hours = (plan.teacher_seconds + plan.arm_seconds) / 3600
    if target.price is not None:
        yield "money", f"{hours * target.count * target.price:,.0f} = {hours:.1f} h x {target.count} x {target.price:g}"


def measured_share(plan: Plan) -> float:
    """The share of a plan's seconds that rests on rates of its very nets, measured on its device."""
    return _measured([bill for bills in _bills(plan) for bill in bills])


def _bills(plan: Plan) -> tuple[list[CostEstimate], list[CostEstimate]]:
    """Of what is left to do: cohorts, of a search one of the space's own settings, and teachers."""
    groups = [[arm.spec for arm in cohort.arms] for cohort in plan.cohorts] or [[plan.space.spec] * plan.search_size]
    bills = [cohort_estimate(plan.space, specs, plan.device) for specs in groups]
    return bills, [teacher_estimate(plan, teacher) for teacher in plan.teachers]


def _measured(bills: Sequence[CostEstimate]) -> float:
    total = sum(bill.total for bill in bills)
    return sum(bill.measured * bill.total for bill in bills) / total if total else 0.0


def _peaks(bills: Sequence[CostEstimate]) -> dict[str, float]:
    """By phase, the most that any of them needs."""
    phases = dict.fromkeys(phase for bill in bills for phase in bill.memory)
    return {phase: max(bill.memory.get(phase, 0.0) for bill in bills) for phase in phases}


def _basis(device: Device, bills: Sequence[CostEstimate]) -> str:
    measured = _measured(bills)
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
    requested = best = teacher_workers(plan, first)
    seconds = {workers: teacher_estimate(plan, first, workers).total for workers in {requested, *_powers(target.count)}}
    for workers in _powers(target.count):
        if workers > best and seconds[workers] < MIN_SPEEDUP * seconds[best]:
            best = workers
    if best > requested:
        sooner = seconds[best] / seconds[requested]
        yield "notice", f"the teacher would take {sooner:.0%} of its time with --set teacher.workers={best}"


def _powers(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length())]
