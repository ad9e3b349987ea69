"""The expected cost of a cohort and of a teacher on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from branchwise.orchestration.planning.gpus import device_of, name_in_table
from branchwise.orchestration.planning.machine import gpu_names
from branchwise.orchestration.planning.rates import processor, read_rates
from branchwise.orchestration.run_folder.teachers import SweepTeacher
from branchwise.orchestration.space import Space
from branchwise.trainables import CostEstimate, Device


def local_device(space: Space) -> Device | None:
    """The device of a worker of the space on this machine; None for a GPU that no table has."""
    if not space.resources.gpus_per_trial:
        return Device(name=processor(), threads=space.resources.cpus_per_trial, rates=read_rates(processor()))
    names = gpu_names()
    basis = name_in_table(names[0]) if names else None
    return device_of(basis) if basis else None


def cohort_estimate(space: Space, specs: Sequence[Any], on: Device | None) -> CostEstimate:
    """The cost of a single cohort.

    It has only the seconds on CPUs where the trainable counts no work, or `on` is unknown.
    """
    threads = space.resources.cpus_per_trial
    workers = max(1, space.resources.workers) if on is not None and on.memory else 1
    result = space.module.cohort_cost(specs, on or Device(threads=threads), workers)
    return result or CostEstimate(seconds={"work": float(space.module.estimate_cohort(specs, threads))})


def teacher_estimate(
    space: Space, teacher: SweepTeacher, trained: bool, workers: int, device: Device | None
) -> CostEstimate:
    """The cost of the unfinished training and evaluation of a teacher, with so many workers.

    Args:
        space: The space of the trainable.
        teacher: The teacher in its current state.
        trained: Whether it will be trained by then, by another teacher's turn.
        workers: Processes that train it, each on a GPU where `device` is one.
        device: The device of a worker; None if unknown.
    """
    if teacher.evaluation is not None:
        return CostEstimate()
    on = device if device is not None and device.memory else replace(device or Device(), threads=1)
    result = space.module.teacher_cost(teacher.spec, on, workers, trained)
    return result or CostEstimate(
        seconds={"work": float(space.module.estimate_teacher(teacher.spec, workers, trained))}
    )


def fits(space: Space, specs: Sequence[Any], on: Device | None) -> bool:
    """Whether a GPU's memory holds a cohort of these settings; on CPUs it always does."""
    if on is None or not on.memory:
        return True
    return max(cohort_estimate(space, specs, on).memory.values(), default=0.0) <= on.memory
