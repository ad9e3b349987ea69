"""The steps of a cohort and of a teacher's training.

A cohort has one batch and one teacher pass for all students.

Knows no evaluation and no disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.data import batches, datasets
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.evaluation import calibration
from branchwise.trainables.dash.evaluation.calibration import Bins, Probes
from branchwise.trainables.dash.evaluation.reference import EvaluationReference
from branchwise.trainables.dash.nets import pruning, unet
from branchwise.trainables.dash.nets.forward import Outputs, forward, with_dropped
from branchwise.trainables.dash.settings.evaluate import PRIMARY, Evaluate
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Method, Teacher
from branchwise.trainables.dash.training.objectives import LOSSES, Losses, weighted_error
from branchwise.trainables.dash.training.trainee import Trainee

if TYPE_CHECKING:  # it imports torch-fidelity, which steps do not need
    from branchwise.trainables.dash.evaluation.evaluations import TeacherSamples


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The state that the arms of a cohort share."""

    context: Context
    seed: int
    reference: EvaluationReference
    teacher: nn.Module
    teacher_importance: Tensor  # lambda (1000,)
    evaluations: Mapping[str, Evaluate]  # by name, resolved
    teacher_samples: TeacherSamples

    @property
    def dataset(self) -> datasets.Dataset:
        return self.reference.dataset

    @property
    def evaluate(self) -> Evaluate:
        """The primary evaluation."""
        return self.evaluations[PRIMARY]

    @cached_property
    def probes(self) -> Probes:
        reference = self.reference
        return calibration.draw_probes(reference.holdout, reference.alphas_cumprod, self.evaluate, self.seed)

    @cached_property
    def teacher_outputs(self) -> Bins:
        return calibration.outputs(self.teacher, self.probes)


Students = dict[str, tuple[Arm, Trainee]]


def begin(arms: Sequence[Arm], setting: Setting) -> Students:
    """A learner for each arm; the nets are compiled where the arms' mode requests it."""
    students = {arm.name: (arm, _trainee(arm, setting)) for arm in arms}
    if not any(trainee.adapter for _, trainee in students.values()):  # of a compiled net, no features can be taken
        modes.prepare(setting.teacher, arms[0].spec.train.mode, setting.context)
    return students


def _trainee(arm: Arm, setting: Setting) -> Trainee:
    spec, dataset, teacher = arm.spec, setting.dataset, setting.teacher
    masks = adapter = None
    objective = OBJECTIVES[spec.method.objective]
    if objective.prunes_teacher:
        net, masks = pruning.prune(teacher, spec.method.pruning_keep)
    else:
        net = unet.build(spec.student, dataset.image_shape, dataset.classes, arm.seed)
    if objective.features:
        adapter = unet.adapter(net, teacher, arm.seed)
    else:
        modes.prepare(net, spec.train.mode, setting.context)
    importance, alphas_cumprod = setting.teacher_importance, setting.reference.alphas_cumprod
    return Trainee(net, spec.train, spec.method, importance, alphas_cumprod, setting.context, masks, adapter)


def take_step(students: Students, setting: Setting, step: int, arm_seconds: dict[str, float]) -> None:
    """A step of each student on the batch of `step`; `arm_seconds` collects the seconds of each."""
    arm, trainee = next(iter(students.values()))
    modes.begin_step(trainee.settings.mode, setting.context)
    reference, size = setting.reference, trainee.settings.batch_size
    batch = batches.draw(reference.dataset, reference.alphas_cumprod, size, arm.seed, step, setting.context)
    learn_from(batch, students, setting, step, arm_seconds)


def learn_from(batch: Batch, students: Students, setting: Setting, step: int, arm_seconds: dict[str, float]) -> None:
    """A pass of the teacher over `batch`, and a step of each student from it."""
    context, dataset = setting.context, setting.dataset
    trainee = next(iter(students.values()))[1]
    teacher: Outputs = {}
    objectives = [OBJECTIVES[arm.spec.method.objective] for arm, _ in students.values()]
    if any(objective.teacher_passes for objective in objectives):
        features = any(objective.features for objective in objectives)
        mid_block = setting.teacher.get_submodule("mid_block") if features else None
        with torch.inference_mode():
            teacher = forward(
                setting.teacher,
                ("cond", "uncond"),
                batch,
                dataset.classes,
                precision=trainee.settings.precision,
                mid_block=mid_block,
            )
    for name, (arm, trainee) in students.items():
        start = time.perf_counter()
        method = arm.spec.method.evaluation_method(setting.evaluate)
        losses = LOSSES[method.objective]
        if arm.spec.student.dropout > 0:
            torch.manual_seed(derive(arm.seed, f"dropout on rank {context.rank}", step))
        student, targets = _outputs(trainee, method, batch, teacher, dataset.classes)
        trainee.learn(losses(method, student, targets, batch.noise, trainee.weights(batch)), step)
        arm_seconds[name] += time.perf_counter() - start


def _outputs(
    trainee: Trainee, method: Method, batch: Batch, teacher: Outputs, null_label: int
) -> tuple[Outputs, Outputs]:
    """The student's outputs that its objective needs, and the teacher's."""
    passes = OBJECTIVES[method.objective].passes(method)
    mid_block = None if trainee.adapter is None else trainee.net.get_submodule("mid_block")
    precision = trainee.settings.precision
    student = forward(trainee.model, passes, batch, null_label, method.label_dropout, precision, mid_block)
    if trainee.adapter is None:
        return student, teacher
    adapted = {"dropped features": trainee.adapter(student["dropped features"])}
    return {**student, **adapted}, with_dropped(teacher, batch, method.label_dropout)


def take_teacher_step(trainee: Trainee, settings: Teacher, dataset: datasets.Dataset, step: int) -> None:
    """Step `step` of a teacher's training: the denoising loss, with labels dropped per sample."""
    context = trainee.context
    modes.begin_step(settings.mode, context)
    size, seed = settings.batch_size, settings.sampling_seed
    batch = batches.draw(dataset, trainee.alphas_cumprod, size, seed, step, context)
    if settings.dropout > 0:
        torch.manual_seed(derive(seed, f"dropout on rank {context.rank}", step))
    outputs = forward(trainee.model, ("dropped",), batch, dataset.classes, settings.label_dropout, settings.precision)
    trainee.learn(Losses(weighted_error(outputs["dropped"], batch.noise, trainee.weights(batch))), step)
