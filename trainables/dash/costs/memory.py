"""GPU memory of a cohort: weights, images, samples, and activations for the backward pass.

By formula; a training pass by a rate of the device where `calibrate` has measured its net.
"""

from __future__ import annotations

from collections.abc import Sequence

from branchwise.trainables.contract import Device
from branchwise.trainables.dash.costs.counts import Counts, count
from branchwise.trainables.dash.costs.seconds import measured_working
from branchwise.trainables.dash.costs.work import Pass, arm_training, image_count, student_net, teacher_training
from branchwise.trainables.dash.settings.spec import Spec, Teacher, UNet

MIN_BATCH, MAX_BATCH = 250, 2000  # images sampled at once; fewer leave a device idle, more are not faster
IMAGE_BYTES = 30e6  # of a guided pass of the paper's teacher, counted generously, for 32x32 pixels

FLOAT = 4
LEARNED = 5 * FLOAT  # bytes a parameter in training: weight, gradient, two of AdamW, moving average
# Of fp32's, what bf16 keeps for the backward pass on a GPU: norms stay in fp32, convolutions keep bf16 copies.
SAVED_SHARE = {"fp32": 1.0, "bf16": 0.86}
CAST = {"fp32": 0, "bf16": 2}  # bytes a parameter of the copy that a pass makes of the weights
CONTEXT = 0.6e9  # assumed: CUDA's context, libraries and their workspaces


def images_at_once(memory: float, side: int) -> int:
    """Images of `side` pixels sampled at once on a GPU of `memory` bytes: as many as should fit."""
    return int(min(MAX_BATCH, max(MIN_BATCH, memory / (IMAGE_BYTES * side**2 / 32**2))))


def training_bytes(specs: Sequence[Spec], workers: int, on: Device) -> float:
    """The peak of a cohort's training on each of its GPUs: arms take their steps in turn."""
    spec = specs[0]
    rows = -(-spec.train.batch_size // workers)
    resident, peak = CONTEXT + data_bytes(spec), 0.0
    teacher = spec.teacher
    if isinstance(teacher, Teacher):
        counts = _counts(teacher, spec)
        resident += FLOAT * counts.parameters
        peak = 2 * rows * counts.live * FLOAT
    for item in specs:
        resident += LEARNED * _counts(student_net(item), item).parameters
        peak = max(peak, working_bytes(arm_training(item, workers), item, on))
    return resident + peak


def teacher_training_bytes(spec: Spec, workers: int, on: Device) -> float:
    """The peak of the teacher's training on each GPU; 0 for a teacher that exists."""
    teacher = spec.teacher
    if not isinstance(teacher, Teacher):
        return 0.0
    working = working_bytes(teacher_training(teacher, workers), spec, on)
    return CONTEXT + data_bytes(spec) + LEARNED * _counts(teacher, spec).parameters + working


def working_bytes(item: Pass, spec: Spec, on: Device) -> float:
    """Return a training pass's temporary memory, measured on the device or by formula.

    The formula counts tensors and knows of no workspace.
    """
    measured = measured_working(item, spec.data.image_shape, spec.data.classes, on)
    if measured is not None:
        return measured
    counts = _counts(item.net, spec)
    return item.rows * activation_bytes(counts, item.precision) + cast_bytes(counts, item.precision)


def sampling_bytes(net: UNet, spec: Spec, memory: float, arms: int = 1) -> float:
    """Return the peak bytes of sampling `net` on a GPU of `memory` bytes.

    They include those of the `arms` students of its cohort.
    """
    counts = _counts(net, spec)
    _, _, side = spec.data.image_shape
    rows = 2 * min(images_at_once(memory, side), spec.evaluate.samples)
    students = arms * LEARNED * _counts(spec.student, spec).parameters
    return CONTEXT + data_bytes(spec) + students + rows * counts.live * FLOAT


def activation_bytes(counts: Counts, precision: str) -> float:
    """Return the bytes that a training pass keeps of each sample for its backward pass."""
    return counts.saved * FLOAT * SAVED_SHARE[precision]


def cast_bytes(counts: Counts, precision: str) -> float:
    """Return the bytes that a pass keeps of the weights besides themselves."""
    return float(counts.parameters * CAST[precision])


def data_bytes(spec: Spec) -> float:
    """Of the training images on the device, 8 bits a channel."""
    channels, height, width = spec.data.image_shape
    return float(image_count(spec) * channels * height * width)


def _counts(net: UNet, spec: Spec) -> Counts:
    return count(_shape_of(net), spec.data.image_shape, spec.data.classes)


def _shape_of(net: UNet) -> UNet:
    """Only the architecture, so that teachers which differ in their training are counted once."""
    return UNet.model_construct(**{name: getattr(net, name) for name in UNet.model_fields})
