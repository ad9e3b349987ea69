"""Remeasure a finished student, under the settings of its training or others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from branchwise.trainables.contract import Arm, Context, Result
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.evaluation import calibration, evaluations
from branchwise.trainables.dash.evaluation.reference import EvaluationReference
from branchwise.trainables.dash.nets import checkpoint, unet
from branchwise.trainables.dash.settings.columns import FLOOR
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Method, Spec
from branchwise.trainables.dash.training.measuring import NOT_CALIBRATED, Calibrated, calibrate

# What samples depend on, and neither reference nor gaps.
OF_SAMPLES = ("repeats", "sampler", "sampler_steps", "precision", "guidance", "guidance_grid", "at_steps", "also",
              "teacher_samples")  # fmt: skip


def measure_model(arm: Arm, model: Path, context: Context) -> Result:
    """Measure the student in `model`, the folder that its training left, under `arm.spec`.

    A worker caches what the next measurement probably needs: the reference, the teacher's outputs, the student's gap.
    """
    spec = arm.spec
    if context.teacher is None:
        raise ValueError("a student is measured against its teacher, whose folder is missing")
    torch.set_num_threads(context.threads)
    modes.choose(spec.train.mode, context.device)
    resolved = spec.evaluate.resolved(context.evaluation)
    teacher_samples = evaluations.read_teacher_samples(context.evaluation_files, resolved)
    inside = OBJECTIVES[spec.method.objective].guidance_inside
    settings = evaluations.unguided(resolved) if inside else resolved
    net, _ = checkpoint.load_model(model, context.device)
    stored = _without_sampling(spec), context.teacher, context.features, arm.seed, context.device
    by = _stored_reference(*stored)
    reference = by.reference
    modes.prepare(net, spec.train.mode, context)
    progress = Progress(context, "evaluate", evaluations.batches_of(settings, reference.dataset, context))
    values, grid, _ = evaluations.measure(net, reference, settings, teacher_samples, arm.seed, context, progress)
    pooled, gaps = NOT_CALIBRATED if inside else _stored_calibration(model, *stored)
    student_size = unet.size(net)
    row = {
        **values,
        **pooled,
        **{column.name: context.evaluation.get(column.name) for column in FLOOR},
        **evaluations.comparability_keys(reference, resolved),
        "student_params": student_size,
        "teacher_params": by.teacher_size,
        "compression": by.teacher_size / student_size,
        "device": context.device,
        "student_sha256": checkpoint.weights_sha256(model),
    }
    return Result(status="done", values=row, tables={"gaps": gaps, "guidance": grid})


def _without_sampling(spec: Spec) -> Spec:
    """Return the settings that reference, probes and gaps depend on.

    Those of samples and method are reset.
    """
    defaults = {name: Evaluate.model_fields[name].get_default(call_default_factory=True) for name in OF_SAMPLES}
    return spec.model_copy(update={"method": Method(), "evaluate": spec.evaluate.model_copy(update=defaults)})


@dataclass(frozen=True)
class TeacherReference:
    """The data, reference set and outputs of a teacher that its students are measured against."""

    reference: EvaluationReference
    teacher_size: int
    probes: calibration.Probes
    teacher_outputs: calibration.Bins


@lru_cache(maxsize=2)
def _stored_reference(shared: Spec, teacher: Path, folder: Path | None, seed: int, device: str) -> TeacherReference:
    net, _ = checkpoint.load_model(teacher, device)
    reference = _stored_images(shared, device, folder)
    probes = calibration.draw_probes(reference.holdout, reference.alphas_cumprod, shared.evaluate, seed)
    return TeacherReference(reference, unet.size(net), probes, calibration.outputs(net, probes))


_stored_images = lru_cache(maxsize=2)(evaluations.load_reference)


@lru_cache(maxsize=2)
def _stored_calibration(
    model: Path, shared: Spec, teacher: Path, folder: Path | None, seed: int, device: str
) -> Calibrated:
    net, _ = checkpoint.load_model(model, device)
    by = _stored_reference(shared, teacher, folder, seed, device)
    return calibrate(net, by.probes, by.teacher_outputs)
