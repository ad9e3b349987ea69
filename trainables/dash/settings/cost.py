"""Seconds a training is expected to take, from multiply-accumulates (MACs) counted without torch. For plans only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from branchwise.trainables.dash.settings.features import CLASSIFIER, DIGITS, PRETRAINED, Classifier
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Spec, Teacher, UNet


def forward_macs(net: UNet, image_shape: tuple[int, int, int]) -> int:
    """MACs of one forward pass over one sample: convolutions, linear layers and attention."""
    channels, size, _ = image_shape
    embedding = 4 * net.channels[0]

    def res_block(wide_in: int, wide: int, side: int) -> int:
        shortcut = wide_in * wide if wide_in != wide else 0
        return (9 * wide * (wide_in + wide) + shortcut) * side**2 + embedding * wide

    def attention(wide: int, side: int) -> int:
        return 4 * wide**2 * side**2 + 2 * wide * side**4

    total = net.channels[0] * embedding + embedding**2 + 2 * 9 * channels * net.channels[0] * size**2
    skips = [net.channels[0]]
    wide = net.channels[0]
    for level, out in enumerate(net.channels):
        side = size // 2**level
        for _ in range(net.res_blocks):
            total += res_block(wide, out, side) + (attention(out, side) if side in net.attention_at else 0)
            wide = out
            skips.append(wide)
        if level < len(net.channels) - 1:
            total += 9 * wide**2 * (side // 2) ** 2
            skips.append(wide)
    bottom = size // 2 ** (len(net.channels) - 1)
    total += 2 * res_block(wide, wide, bottom) + attention(wide, bottom)
    for level in reversed(range(len(net.channels))):
        side = size // 2**level
        out = net.channels[level]
        for _ in range(net.res_blocks + 1):
            total += res_block(wide + skips.pop(), out, side) + (
                attention(out, side) if side in net.attention_at else 0
            )
            wide = out
        if level > 0:
            total += 9 * wide**2 * (2 * side) ** 2
    return total


def _blocks(net: UNet) -> int:
    """Residual blocks, to which the part of a pass's time that does not depend on the batch is proportional."""
    return len(net.channels) * (2 * net.res_blocks + 1) + 2


def _forward_seconds(net: UNet, image_shape: tuple[int, int, int], samples: int, threads: int) -> float:
    """One forward pass on CPU cores; a training pass costs three.

    Calibrated on one AMD EPYC core with torch 2.15: thin nets are bound by memory traffic, so that a sample costs as
    the square root of its MACs; wide ones by arithmetic, about 5e10 MAC/s a core. GPUs are not modelled.
    """
    macs = forward_macs(net, image_shape)
    a_sample = max(7.5e-8 * math.sqrt(macs), macs / 5e10)
    return 0.7e-3 * _blocks(net) + a_sample * samples / threads


def _evaluation_seconds(net: UNet, spec: Spec, threads: int, gaps: bool = True) -> float:
    """Of sampling `net` and measuring the samples, and its guidance gaps."""
    evaluate = spec.evaluate
    scales = [evaluate.guidance, *evaluate.guidance_grid]
    branches = sum(1 if scale == 1 else 2 for scale in scales)
    passes = branches * evaluate.samples * evaluate.repeats * evaluate.sampler_steps
    passes += 2 * evaluate.gap_samples * evaluate.gap_bins if gaps else 0
    batch = 256
    sampling = passes / batch * _forward_seconds(net, spec.data.image_shape, batch, threads)
    images = len(scales) * evaluate.samples * evaluate.repeats
    return sampling + (len(scales) if spec.features == DIGITS else images * _feature_seconds(spec) / threads)


def _feature_seconds(spec: Spec) -> float:
    """Seconds on one core for the features of one image: Inception does three a second, others go by their MACs."""
    if spec.features == CLASSIFIER:
        return classifier_macs(spec.evaluate.classifier, spec.data.image_shape) / 2e10
    # Giga-MACs of one image at 224 pixels, 299 for Inception.
    macs = {"inception": 5.7, "vgg16": 15.5, "clip-vit-b-16": 17.6, "clip-vit-l-14": 81.1, "clip-vit-l-14-336px": 191.1,
            "dinov2-vit-s-14": 6.1, "dinov2-vit-b-14": 23.4, "dinov2-vit-l-14": 81.1,
            "dinov2-vit-g-14": 295.0}  # fmt: skip
    return macs.get(spec.features, 4.4) / 17 if spec.features in PRETRAINED else 0.001


def classifier_macs(net: Classifier, image_shape: tuple[int, int, int]) -> int:
    """MACs of one forward pass of the feature classifier over one image."""
    channels, side, _ = image_shape
    total, wide = 0, net.width
    while True:
        total += 9 * channels * wide * side**2
        channels = wide
        if side < 8:
            return total + channels * side**2 * net.dims
        side, wide = side // 2, 2 * net.width


def estimate_features(spec: Spec) -> float:
    """Seconds to train the classifier whose features are asked for, on one core."""
    net = spec.evaluate.classifier
    return 3 * net.steps * net.batch_size * classifier_macs(net, spec.data.image_shape) / 2e10 / net.workers


def estimate_measure(spec: Spec, teacher: bool, threads: int) -> float:
    """Seconds to measure a student, or the teacher, under `spec.evaluate`; 0 for a teacher whose size is not known."""
    if teacher:
        return _evaluation_seconds(spec.teacher, spec, threads) if isinstance(spec.teacher, Teacher) else 0.0
    net: UNet = spec.student
    if OBJECTIVES[spec.method.objective].prunes_teacher and isinstance(spec.teacher, Teacher):
        net = spec.teacher
    # A worker measures a student under several settings and its gaps, which depend on none of a sampler's, once.
    return _evaluation_seconds(net, spec, threads, gaps=False)


def estimate_cohort(specs: Sequence[Spec], threads: int) -> float:
    """Seconds to train and evaluate the arms of one cohort on `threads` CPU cores, start-up excluded."""
    shape = specs[0].data.image_shape
    seconds = 0.0
    for spec in specs:
        objective = OBJECTIVES[spec.method.objective]
        samples = spec.train.batch_size * len(objective.passes(spec.method))
        net: UNet = spec.student
        if objective.prunes_teacher and isinstance(spec.teacher, Teacher):
            net = spec.teacher
        seconds += 3 * spec.train.steps * _forward_seconds(net, shape, samples, threads)
        seconds += _evaluation_seconds(net, spec, threads)
    train, teacher = specs[0].train, specs[0].teacher
    if isinstance(teacher, Teacher) and any(OBJECTIVES[spec.method.objective].teacher_passes for spec in specs):
        seconds += train.steps * _forward_seconds(teacher, shape, 2 * train.batch_size, threads)
    return seconds


def estimate_teacher(spec: Spec, workers: int, trained: bool = False) -> float:
    """Seconds to train the teacher on `workers` CPU cores, unless it is `trained`, and to evaluate it; no start-up.

    0 for one that exists already, whose size is not known here.
    """
    teacher = spec.teacher
    if not isinstance(teacher, Teacher):
        return 0.0
    shape = spec.data.image_shape
    step = 3 * _forward_seconds(teacher, shape, -(-teacher.batch_size // workers), threads=1)
    return (0 if trained else teacher.steps) * step + _evaluation_seconds(teacher, spec, workers)
