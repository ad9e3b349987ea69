"""Durations of remeasuring a finished model, and of training the net of its features."""

from __future__ import annotations

from branchwise.trainables.contract import Device
from branchwise.trainables.dash.costs.estimate import features_seconds
from branchwise.trainables.dash.costs.seconds import pass_seconds
from branchwise.trainables.dash.costs.work import classifier_macs, sampling_passes, student_net
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.spec import Spec, Teacher, UNet

TRAINED_MACS_A_SECOND = 2e10  # of small convolutions, on a single core


def estimate_measure(spec: Spec, teacher: bool, on: Device) -> float:
    """Seconds to measure a student, or the teacher, under `spec.evaluate` on a device; 0 for a teacher that exists,
    of unknown size.

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
