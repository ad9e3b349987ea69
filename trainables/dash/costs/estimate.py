"""Costs of a cohort, a teacher or a measurement on a device.

They are seconds and memory by phase, and the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from branchwise.trainables.contract import CostEstimate, Device
from branchwise.trainables.dash.costs import memory
from branchwise.trainables.dash.costs.counts import count
from branchwise.trainables.dash.costs.seconds import flop, gpu_flops, measured_features, pass_seconds
from branchwise.trainables.dash.costs.work import (
    Pass,
    classifier_macs,
    cohort_passes,
    feature_macs,
    measured_images,
    sampled_sets,
    sampling_passes,
    student_net,
    teacher_passes,
)
from branchwise.trainables.dash.settings.addresses import checkpoint_size
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.features import DIGITS
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Spec, Teacher, UNet

FULL_SECONDS, BRIEF_SECONDS = 1.0, 0.2  # of one set of digits: all distances, and only the Fréchet distances
TRAINED_MACS_A_SECOND = 2e10  # of small convolutions, on a single core
FEATURE_MACS_A_SECOND = 3 * 5.7e9  # on a single core: three images a second of Inception


def cohort_cost(specs: Sequence[Spec], on: Device, workers: int = 1) -> CostEstimate:
    """Return the cost of a cohort of these settings on `workers` devices like `on`.

    Each device has its part of each batch.
    """
    estimate = _estimate(cohort_passes(specs, workers), specs, on, workers)
    if not on.memory:
        return estimate
    sampled = max(memory.sampling_bytes(student_net(spec), spec, on.memory, len(specs)) for spec in specs)
    needed = {"training": memory.training_bytes(specs, workers, on), "sampling": sampled}
    return replace(estimate, memory=needed)


def teacher_cost(spec: Spec, on: Device, workers: int, trained: bool) -> CostEstimate:
    """Return the cost of training the teacher, unless `trained`, and of evaluating it.

    An existing teacher costs 0.
    """
    teacher = spec.teacher
    if not isinstance(teacher, Teacher):
        return CostEstimate()
    estimate = _estimate(teacher_passes(spec, workers, trained), [spec], on, workers, of_teacher=True)
    if not on.memory:
        return estimate
    needed = {"sampling": memory.sampling_bytes(teacher, spec, on.memory)}
    if not trained:
        needed["training"] = memory.teacher_training_bytes(spec, workers, on)
    return replace(estimate, memory=needed)


def estimate_cohort(specs: Sequence[Spec], threads: int) -> float:
    """Return the seconds to train and evaluate one cohort on `threads` CPU cores, no start-up."""
    return cohort_cost(specs, Device(threads=threads)).total


def estimate_teacher(spec: Spec, workers: int, trained: bool = False) -> float:
    """Return the seconds to train the teacher, unless `trained`, and to evaluate it.

    On `workers` CPU cores, without start-up; 0 for an existing teacher, of unknown size.
    """
    return teacher_cost(spec, Device(), workers, trained).total


def estimate_measure(spec: Spec, teacher: bool, on: Device) -> float:
    """Return the seconds to measure a student, or the teacher, on a device.

    Under `spec.evaluate`; 0 for a teacher that exists, of unknown size.

    A worker measures a student under all settings and its gaps, which depend on none of a sampler's, once: they are
    omitted, and so are measurements during training.
    """
    net: UNet = student_net(spec)
    if teacher:
        if not isinstance(spec.teacher, Teacher):
            return 0.0
        net = spec.teacher
    evaluate: Evaluate = spec.evaluate.model_copy(update={"gap_samples": 0, "at_steps": ()})
    once = spec.model_copy(update={"evaluate": evaluate})
    shape, classes = spec.data.image_shape, spec.data.classes
    sampling = sum(pass_seconds(item, shape, classes, on)[0] for item in sampling_passes(net, once, 1, teacher))
    return sampling + features_seconds(once, on, 1, teacher)[0]


def estimate_features(spec: Spec) -> float:
    """Seconds to train the requested classifier, on a single core."""
    net = spec.evaluate.classifier
    macs = 3 * net.steps * net.batch_size * classifier_macs(net, spec.data.image_shape)
    return macs / TRAINED_MACS_A_SECOND / net.workers


def _estimate(
    passes: Iterable[Pass], specs: Sequence[Spec], on: Device, workers: int, of_teacher: bool = False
) -> CostEstimate:
    shape, classes = specs[0].data.image_shape, specs[0].data.classes
    seconds = {"training": 0.0, "sampling": 0.0, "features": 0.0}
    counted = measured = 0.0
    for item in passes:
        elapsed, is_measured = pass_seconds(item, shape, classes, on)
        seconds[item.phase] += elapsed
        measured += elapsed if is_measured else 0.0
        counted += flop(item, shape, classes) * workers
    for spec in specs:
        elapsed, is_measured = features_seconds(spec, on, workers, of_teacher)
        seconds["features"] += elapsed
        measured += elapsed if is_measured else 0.0
    total = sum(seconds.values())
    return CostEstimate(seconds=seconds, flop=counted, measured=measured / total if total else 0.0)


def features_seconds(spec: Spec, on: Device, workers: int = 1, of_teacher: bool = False) -> tuple[float, bool]:
    """Return the seconds of one net's features and distances, and whether they were measured.

    A measurement counts if it was made on this device.
    """
    images = measured_images(spec, of_teacher)
    if on.memory:
        peak, efficiency = gpu_flops("fp32", "exact", on)  # features are in IEEE fp32, regardless of the training
        estimated = 2 * feature_macs(spec) * images / workers / (peak * efficiency)
    elif spec.features == DIGITS:  # the small net's time is negligible
        estimated = sum(BRIEF_SECONDS if item.brief else FULL_SECONDS for item in sampled_sets(spec, of_teacher))
    else:
        estimated = images * feature_macs(spec) / (FEATURE_MACS_A_SECOND * on.threads * workers)
    measured = measured_features(spec, images, on)
    return (estimated, False) if measured is None else (measured / workers, True)


def describe_models(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield the parameters of teacher and student with their ratio, and each evaluation."""
    shape, classes = spec.data.image_shape, spec.data.classes
    teacher = spec.teacher
    complete = count(teacher, shape, classes).parameters if isinstance(teacher, Teacher) else checkpoint_size(teacher)
    pruned = OBJECTIVES[spec.method.objective].prunes_teacher
    small = round(complete * spec.method.pruning_keep) if pruned else count(spec.student, shape, classes).parameters
    yield "models", f"teacher {complete:,} parameters, student {small:,}: {complete / small:.2f} times fewer"
    for name, evaluation in spec.evaluate.evaluations().items():
        yield f"evaluation {name}".strip(), evaluation.describe()
