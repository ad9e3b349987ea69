"""Training a cohort: the students of one block, side by side on the same batches and one teacher pass a step."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Arm, Context, Result
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.data import batches, datasets
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import features, grids, measurement, reference_set
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet
from branchwise.trainables.dash.evaluation.students import measure_student, sampling_of, yardstick
from branchwise.trainables.dash.nets import checkpoint, pruning, unet
from branchwise.trainables.dash.nets.forward import Outputs, forward, with_dropped
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Method, cohort_key
from branchwise.trainables.dash.training.learner import Learner
from branchwise.trainables.dash.training.objectives import LOSSES


@dataclass(frozen=True)
class Setting:
    """What the arms of a cohort share."""

    context: Context
    dataset: datasets.Dataset
    alphas_cumprod: Tensor  # (1000,)
    teacher: nn.Module
    teacher_importance: Tensor  # lambda (1000,)
    against: ReferenceSet


Students = dict[str, tuple[Arm, Learner]]


def run(arms: Sequence[Arm], context: Context) -> None:
    """Trains and evaluates `arms`, and calls `context.finish` once for each (on rank 0).

    Continues from the checkpoint that `context.load` returns; of its arms only those given are continued. Raises
    ValueError when the arms differ in what a cohort shares.
    """
    _check_alike(arms)
    torch.set_num_threads(context.threads)
    spec = arms[0].spec
    modes.choose(spec.train.mode, context.device)
    if context.teacher is None:
        raise ValueError("a cohort needs a teacher's folder")
    teacher, importance = checkpoint.load_model(context.teacher, context.device)
    alphas_cumprod = schedule.cosine_alphas_cumprod(context.device)
    extractor = features.extractor_of(spec, context.device, context.features)  # missing weights are found now
    against = reference_set.get(spec.data, extractor, context.device)
    dataset = datasets.load(spec.data, context.device)
    setting = Setting(context, dataset, alphas_cumprod, teacher, importance, against)
    students = begin(arms, setting)
    done = _resume(students, context)
    _train(students, setting, done)
    _evaluate(students, setting)


def begin(arms: Sequence[Arm], setting: Setting) -> Students:
    """A learner for each arm; the nets are compiled where the arms' mode asks for it."""
    students = {arm.name: (arm, _learner(arm, setting)) for arm in arms}
    if not any(learner.adapter for _, learner in students.values()):  # of a compiled net, no features can be taken
        modes.prepare(setting.teacher, arms[0].spec.train.mode, setting.context)
    return students


def _check_alike(arms: Sequence[Arm]) -> None:
    for arm in arms:
        if (arm.seed, cohort_key(arm.spec)) != (arms[0].seed, cohort_key(arms[0].spec)):
            raise ValueError(
                f"arms {arms[0].name} and {arm.name} cannot train together: a cohort shares seed, data, teacher, "
                "evaluation, steps, batch size, precision, mode, and the steps at which it logs and saves"
            )


def _learner(arm: Arm, setting: Setting) -> Learner:
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
    importance = setting.teacher_importance
    return Learner(net, spec.train, spec.method, importance, setting.alphas_cumprod, setting.context, masks, adapter)


def _resume(students: Students, context: Context) -> int:
    """Puts the checkpoint's state into `students`; returns the number of steps done."""
    content = context.load()
    if content is None:
        return 0
    state = checkpoint.from_bytes(content, context.device)
    for name, (_, learner) in students.items():
        if name not in state["arms"]:
            raise ValueError(f"the checkpoint holds no arm {name}")
        learner.restore(state["arms"][name])
    return int(state["step"])


def _train(students: Students, setting: Setting, step: int) -> None:
    """Trains from `step` on; arms whose losses are no longer finite are finished as diverged and leave `students`."""
    if not students:
        return
    context = setting.context
    settings = next(iter(students.values()))[0].spec.train
    progress = Progress(context, "train", settings.steps, step, arms=len(students))
    since = time.perf_counter()
    own = dict.fromkeys(students, 0.0)
    while step < settings.steps and students:
        take_step(students, setting, step, own)
        step += 1
        if step % settings.log_every == 0 or step == settings.steps:
            diverged = [name for name, (_, learner) in students.items() if not learner.log(step - 1)]
            since = _share_time(students, own, since)
            for name in diverged:
                _finish_diverged(*students.pop(name), step, context)
        if step in context.rungs and step < settings.steps:
            for name in [name for name, student in students.items() if not _goes_on(*student, step, setting)]:
                students.pop(name)
            since = _share_time(students, own, since)
        if students and step % settings.checkpoint_every == 0 and step < settings.steps:
            since = _share_time(students, own, since)
            if context.rank == 0:
                state = {"step": step, "arms": {name: learner.state() for name, (_, learner) in students.items()}}
                context.save(checkpoint.to_bytes(state))
        progress.advance(arms=len(students))


def take_step(students: Students, setting: Setting, step: int, own: dict[str, float]) -> None:
    """One step of every student; `own` gathers the seconds each took by itself."""
    context, dataset = setting.context, setting.dataset
    arm, learner = next(iter(students.values()))
    modes.begin_step(learner.settings.mode, context)
    batch = batches.draw(dataset, setting.alphas_cumprod, learner.settings.batch_size, arm.seed, step, context)
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
                precision=learner.settings.precision,
                mid_block=mid_block,
            )
    for name, (arm, learner) in students.items():
        start = time.perf_counter()
        method = arm.spec.method
        losses = LOSSES[method.objective]
        if arm.spec.student.dropout > 0:
            torch.manual_seed(derive(arm.seed, f"dropout on rank {context.rank}", step))
        student, targets = _outputs(learner, method, batch, teacher, dataset.classes)
        learner.learn(losses(method, student, targets, batch.noise, learner.weights(batch)), step)
        own[name] += time.perf_counter() - start


def _outputs(
    learner: Learner, method: Method, batch: Batch, teacher: Outputs, null_label: int
) -> tuple[Outputs, Outputs]:
    """The student's outputs that its objective needs, and the teacher's."""
    passes = OBJECTIVES[method.objective].passes(method)
    mid_block = None if learner.adapter is None else learner.net.get_submodule("mid_block")
    precision = learner.settings.precision
    student = forward(learner.model, passes, batch, null_label, method.label_dropout, precision, mid_block)
    if learner.adapter is None:
        return student, teacher
    adapted = {"dropped features": learner.adapter(student["dropped features"])}
    return {**student, **adapted}, with_dropped(teacher, batch, method.label_dropout)


def _goes_on(arm: Arm, learner: Learner, step: int, setting: Setting) -> bool:
    """Whether the arm goes on from the rung at `step`. It is measured there with a quarter of the sampler's steps."""
    context, full = setting.context, sampling_of(arm)
    quick = {"sampler_steps": max(1, full.sampler_steps // 4), "repeats": 1, "guidance_grid": ()}
    settings = full.model_copy(update=quick)
    progress = Progress(context, "evaluate", measurement.batches_of(settings, setting.dataset, context), arms=1)
    with learner.averaged() as net:
        if not learner.finite():
            _finish_diverged(arm, learner, step, context)
            return False
        values, _, _ = measurement.measure(
            net, setting.dataset, setting.against, setting.alphas_cumprod, settings, arm.seed, context, progress
        )
    if context.keep(arm, step, values["value"]):
        return True
    told = {"rung_value": values["value"], "steps": step, "train_seconds": learner.seconds, "device": context.device}
    if context.rank == 0:
        context.finish(arm, Result(status="stopped", values=told, tables={"curves": learner.curve}), None)
    return False


def _share_time(students: Students, own: dict[str, float], since: float) -> float:
    """Adds the seconds since `since` to the learners: each its own, what they share in equal parts."""
    now = time.perf_counter()
    if not students:
        return now
    shared = (now - since - sum(own.values())) / len(students)
    for name, (_, learner) in students.items():
        learner.seconds += own[name] + shared
        own[name] = 0.0
    return now


def _finish_diverged(arm: Arm, learner: Learner, step: int, context: Context) -> None:
    values = {"steps": step, "train_seconds": learner.seconds, "device": context.device}
    error = f"the loss or its gradient was not finite by step {step}"
    if context.rank == 0:
        context.finish(
            arm, Result(status="diverged", values=values, error=error, tables={"curves": learner.curve}), None
        )


def _evaluate(students: Students, setting: Setting) -> None:
    """Measures every student of the cohort and hands each over as soon as it is measured."""
    if not students:
        return
    context, dataset = setting.context, setting.dataset
    first = next(iter(students.values()))[0]
    by = yardstick(setting.teacher, dataset, setting.against, setting.alphas_cumprod, first.spec.evaluate, first.seed)
    steps = sum(measurement.batches_of(sampling_of(arm), dataset, context) for arm, _ in students.values())
    progress = Progress(context, "evaluate", steps, arms=len(students))
    for arm, learner in students.values():
        start = time.perf_counter()
        net = learner.finish()
        if not learner.finite():
            _finish_diverged(arm, learner, arm.spec.train.steps, context)
            continue
        found = measure_student(net, arm, by, context, progress)
        if context.rank != 0:
            continue
        folder = context.scratch / arm.name
        _save(folder, arm, learner, found.images, dataset.classes)
        teacher_size, student_size = unet.size(setting.teacher), learner.size()
        row = {
            **found.values,
            "student_params": student_size,
            "teacher_params": teacher_size,
            "compression": teacher_size / student_size,
            "steps": arm.spec.train.steps,
            "train_seconds": learner.seconds,
            "eval_seconds": time.perf_counter() - start,
            "device": context.device,
            "student_sha256": checkpoint.weights_sha256(folder),
        }
        context.finish(arm, Result(status="done", values=row, tables={"curves": learner.curve, **found.tables}), folder)


def _save(folder: Path, arm: Arm, learner: Learner, images: Tensor, classes: int) -> None:
    checkpoint.save_model(folder, learner.net, learner.importance)
    grids.save_grid(folder / "samples.png", images, classes)
    objective = arm.spec.method.objective
    about = {"arm": arm.name, "objective": objective, "guidance_inside": OBJECTIVES[objective].guidance_inside}
    (folder / "student.json").write_text(json.dumps(about, indent=1) + "\n")
