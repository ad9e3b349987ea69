"""The passes of nets of a cohort or a teacher: how many, over how many samples, how precise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from branchwise.trainables.dash.settings.data import TEST_IMAGES, TorchvisionData
from branchwise.trainables.dash.settings.evaluate import MAX_TEACHER_SAMPLES, PRIMARY, Evaluate, Precision
from branchwise.trainables.dash.settings.features import CLASSIFIER, DIGITS, PRETRAINED, Classifier
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Mode, Optimization, Spec, Teacher, UNet

Kind = Literal["train", "teach", "sample"]  # learning from a batch, a frozen teacher's outputs on it, sampling
SAMPLED_AT_ONCE = 250  # images, on a CPU
# Images of a data set; of a folder of images the number is unknown beforehand, but that of the set which its number
# of classes tells.
IMAGE_COUNTS = {"cifar10": 50_000, "cifar100": 50_000, "mnist": 60_000, "fashion_mnist": 60_000, "digits": 1_797}
IMAGES_A_CLASS = 1_300
DIGITS_MACS = 3e6  # of the net of 8x8 digits


@dataclass(frozen=True, kw_only=True)
class Pass:
    """`times` passes of `net` over `rows` samples each.

    A training pass is forward, backward and the optimizer step.
    """

    kind: Kind
    net: UNet
    rows: int
    times: float
    precision: Precision
    mode: Mode

    @property
    def phase(self) -> str:
        return "sampling" if self.kind == "sample" else "training"


def student_net(spec: Spec) -> UNet:
    """The net that an arm trains: the student, or the teacher where it is pruned."""
    prunes = OBJECTIVES[spec.method.objective].prunes_teacher
    return spec.teacher if prunes and isinstance(spec.teacher, Teacher) else spec.student


def cohort_passes(specs: Sequence[Spec], workers: int) -> Iterator[Pass]:
    """Yield each worker's passes to train and sample the arms of a cohort on `workers` workers."""
    for spec in specs:
        yield arm_training(spec, workers)
        yield from sampling_passes(student_net(spec), spec, workers)
    train, teacher = specs[0].train, specs[0].teacher
    if isinstance(teacher, Teacher) and any(OBJECTIVES[spec.method.objective].teacher_passes for spec in specs):
        yield _training(teacher, train, -(-2 * train.batch_size // workers), "teach")


def teacher_passes(spec: Spec, workers: int, trained: bool) -> Iterator[Pass]:
    """Yield each worker's passes to train the teacher, unless `trained`, and to sample it."""
    teacher = spec.teacher
    if not isinstance(teacher, Teacher):
        return  # it exists, and its size is unknown here
    if not trained:
        yield teacher_training(teacher, workers)
    yield from sampling_passes(teacher, spec, workers, of_teacher=True)


def arm_training(spec: Spec, workers: int) -> Pass:
    """The steps of a single arm, on each of `workers`."""
    samples = spec.train.batch_size * len(OBJECTIVES[spec.method.objective].passes(spec.method))
    return _training(student_net(spec), spec.train, -(-samples // workers), "train")


def teacher_training(teacher: Teacher, workers: int) -> Pass:
    """The steps of a teacher's training, on each of `workers`."""
    return _training(teacher, teacher, -(-teacher.batch_size // workers), "train")


def _training(net: UNet, settings: Optimization, rows: int, kind: Kind) -> Pass:
    return Pass(kind=kind, net=net, rows=rows, times=settings.steps, precision=settings.precision, mode=settings.mode)


@dataclass(frozen=True, kw_only=True)
class SampledSet:
    """A set of samples: its images, and the passes of the net over each."""

    images: int
    passes: int
    precision: Precision
    brief: bool = False  # only the Fréchet distances of its features are computed, or none


def sampled_sets(spec: Spec, of_teacher: bool) -> list[SampledSet]:
    """Return the sets of samples that measure a net.

    A student's are drawn under the costliest scale that may be chosen, also during training. A teacher
    tries all scales; its sets include those that students are compared with.
    """
    sets = []
    for name, evaluation in spec.evaluate.evaluations().items():
        candidates = sorted(evaluation.candidates, key=_branches)
        scales = [candidates[-1], *evaluation.guidance_grid] * evaluation.repeats
        sets += [_sampled_set(evaluation, scale, evaluation.samples, brief=name != PRIMARY) for scale in scales]
        if of_teacher:
            compared = evaluation.teacher_samples or min(image_count(spec), MAX_TEACHER_SAMPLES)
            sets.append(_sampled_set(evaluation, candidates[-1], compared, brief=True))
            tried = candidates * evaluation.repeats if len(candidates) > 1 else []
        else:
            tried = [candidates[-1]] * len(evaluation.at_steps)
        sets += [_sampled_set(evaluation, scale, evaluation.samples, brief=True) for scale in tried]
    return sets


def _sampled_set(settings: Evaluate, scale: Any, images: int, *, brief: bool) -> SampledSet:
    passes = _branches(scale) * settings.sampler_steps
    return SampledSet(images=images, passes=passes, precision=settings.precision, brief=brief)


def _branches(scale: Any) -> int:
    """Passes of the net at each step of a sampler."""
    return 1 if scale == 1 else 2


def image_count(spec: Spec) -> int:
    """Number of images of a data set, estimated where unknown beforehand."""
    return IMAGE_COUNTS.get(spec.data.name, IMAGES_A_CLASS * spec.data.classes)


def sampling_passes(net: UNet, spec: Spec, workers: int, of_teacher: bool = False) -> Iterator[Pass]:
    """Yield the sampler's passes for all sets of samples and guidance gaps, by precision."""
    evaluate, at_once = spec.evaluate, 2 * SAMPLED_AT_ONCE
    looks = 0 if of_teacher else 1 + len(evaluate.at_steps)
    rows: dict[Precision, float] = {"fp32": looks * 2.0 * evaluate.gap_samples * evaluate.gap_bins}
    for item in sampled_sets(spec, of_teacher):
        rows[item.precision] = rows.get(item.precision, 0.0) + item.images * item.passes / workers
    for precision, count in rows.items():
        if count:
            times = count / at_once
            yield Pass(kind="sample", net=net, rows=at_once, times=times, precision=precision, mode=spec.train.mode)


def measured_images(spec: Spec, of_teacher: bool) -> int:
    """Return the number of images of a single net to compute features of.

    For a teacher this includes those of the test set for the floor.
    """
    images = sum(item.images for item in sampled_sets(spec, of_teacher))
    return images + (TEST_IMAGES if of_teacher and isinstance(spec.data, TorchvisionData) else 0)


def feature_macs(spec: Spec) -> float:
    """Return the feature net's MACs for a single image; 0 for a user's function: unknown."""
    if spec.features == CLASSIFIER:
        return classifier_macs(spec.evaluate.classifier, spec.data.image_shape)
    if spec.features in PRETRAINED:
        return PRETRAINED[spec.features].macs
    return DIGITS_MACS if spec.features == DIGITS else 0.0


def classifier_macs(net: Classifier, image_shape: tuple[int, int, int]) -> float:
    """MACs of a forward pass of the feature classifier over one image."""
    channels, side, _ = image_shape
    total, wide = 0, net.width
    while True:
        total += 9 * channels * wide * side**2
        channels = wide
        if side < 8:
            return float(total + channels * side**2 * net.dims)
        side, wide = side // 2, 2 * net.width
