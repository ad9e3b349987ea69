"""Training a teacher: a class-conditional U-Net and its curriculum, together."""

from __future__ import annotations

import json
import math
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from branchwise.run_files.columns import under
from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import evaluations, features, floor, grids, measurement, reference_set
from branchwise.trainables.dash.nets import checkpoint, unet
from branchwise.trainables.dash.settings.addresses import CONFIG, CURRICULUM, WEIGHTS
from branchwise.trainables.dash.settings.data import Data
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.features import is_function
from branchwise.trainables.dash.settings.guidance import ChooseGuidance
from branchwise.trainables.dash.settings.spec import Spec, Teacher
from branchwise.trainables.dash.training.steps import take_teacher_step
from branchwise.trainables.dash.training.trainee import Trainee


def train(spec: Spec, out: Path, context: Context) -> None:
    """Train the teacher of `spec` and leave its folder's files in `out`.

    An existing checkpoint is copied there.

    The files: config.json and weights (averaged) for diffusers, curriculum.safetensors, teacher.json (settings, curve,
    versions), samples.png and, of the data, real.png. Raises FloatingPointError when training diverges.
    """
    if not isinstance(spec.teacher, Teacher):
        if context.rank == 0:
            _copy_existing(Path(spec.teacher.checkpoint).expanduser(), out)
        return
    torch.set_num_threads(context.threads)
    _check_features(spec, context)
    settings = spec.teacher
    modes.choose(settings.mode, context.device)
    dataset = datasets.load(spec.data, context.device)
    net = unet.build(settings, dataset.image_shape, dataset.classes, settings.sampling_seed)
    modes.prepare(net, settings.mode, context)
    trainee = Trainee(net, settings, settings, None, schedule.cosine_alphas_cumprod(context.device), context)
    content = context.load()
    step = 0
    if content is not None:
        state = checkpoint.from_bytes(content, context.device)
        trainee.restore(state["teacher"])
        step = state["step"]
    run_steps(trainee, settings, dataset, step)
    trainee.finish()
    if not trainee.finite() or not bool(trainee.importance.isfinite().all()):
        raise FloatingPointError("the teacher's averaged weights, or its curriculum, are not finite")
    if context.rank == 0:
        _save(trainee, spec.data, settings, dataset, out)


def _check_features(spec: Spec, context: Context) -> None:
    """Check the feature space now, not after the training.

    Raises on missing weights, and when a user's function fails on real images. Their
    features are cached.
    """
    extractor = features.extractor_of(spec, context.device, context.features)
    if is_function(spec.features):
        features.check_function(extractor, datasets.load_reference_images(spec.data, context.device))
        reference_set.get(spec.data, extractor, context.device)


def run_steps(trainee: Trainee, settings: Teacher, dataset: datasets.Dataset, step: int) -> None:
    """Train from `step` on. Raises FloatingPointError when the loss is no longer finite."""
    context = trainee.context
    progress = Progress(context, "train", settings.steps, step)
    start = time.perf_counter() - trainee.seconds
    while step < settings.steps:
        take_teacher_step(trainee, settings, dataset, step)
        step += 1
        if (step % settings.log_every == 0 or step == settings.steps) and not trainee.log(step - 1):
            raise FloatingPointError(f"the teacher's loss or its gradient was not finite by step {step}")
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            trainee.seconds = time.perf_counter() - start
            if context.rank == 0 and step < settings.steps:
                context.save(checkpoint.to_bytes({"step": step, "teacher": trainee.state()}))
        progress.advance()


def _save(trainee: Trainee, source: Data, settings: Teacher, dataset: datasets.Dataset, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save_model(out, trainee.net, trainee.importance)
    # Unguided samples: the folder must not depend on the settings of an evaluation.
    visible = range(min(grids.ROWS * dataset.classes, 160))
    plain, seed = Evaluate(labels="balanced"), settings.sampling_seed
    images = measurement.sample(trainee.net, dataset, trainee.alphas_cumprod, plain, 1.0, seed, visible)
    if not bool(images.isfinite().all()):
        raise FloatingPointError("the teacher's samples are not finite")
    pixels = datasets.to_pixels(images)
    grids.save_grid(out / "samples.png", pixels, dataset.classes, f"guidance 1, seed {seed}")
    grids.save_grid(out / "real.png", datasets.of_each_class(dataset, len(visible)), dataset.classes)
    description = {
        "data": source.model_dump(mode="json"),
        "teacher": settings.model_dump(mode="json"),
        "parameters": unet.size(trainee.net),
        "train_seconds": trainee.seconds,
        "weights_sha256": checkpoint.weights_sha256(out),
        "images_sha256": dataset.labelled_sha256,
        "versions": {name: version(name) for name in ("torch", "diffusers")},
        "curve": [{k: v for k, v in row.items() if not math.isnan(v)} for row in trainee.curve],
    }
    (out / "teacher.json").write_text(json.dumps(description, indent=1) + "\n")


def _copy_existing(checkpoint_folder: Path, out: Path) -> None:
    """Copy an existing teacher; teacher.json, which marks completeness, is written last.

    Raises ValueError when its weights are not finite.
    """
    checkpoint.load_model(checkpoint_folder, "cpu")
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, WEIGHTS, CURRICULUM):
        shutil.copyfile(checkpoint_folder / name, out / name)
    described = checkpoint_folder / "teacher.json"
    summary = json.loads(described.read_text()) if described.is_file() else {"copied_from": str(checkpoint_folder)}
    (out / "teacher.json").write_text(json.dumps(summary, indent=1) + "\n")


def refuse_other_images(spec: Spec, folder: Path, dataset: datasets.Dataset) -> None:
    """Refuse images or labels of `dataset` other than those the teacher was trained on.

    Raises ValueError. Only for a teacher in `folder` that was trained here.
    """
    if isinstance(spec.teacher, Teacher):
        trained_on = json.loads((folder / "teacher.json").read_text()).get("images_sha256")
        if trained_on not in (None, dataset.labelled_sha256):
            raise ValueError(
                f"data: {spec.data.name}: the images or labels are not those that the teacher was trained on; put them "
                "back, or use another --storage to have it trained again"
            )


def evaluate(spec: Spec, folder: Path, context: Context) -> dict[str, Any]:
    """Measure the teacher in `folder` under each evaluation of `spec.evaluate`.

    Where a rule chooses the guidance, the choice comes first, on separate noise, with the result of each candidate:
    `chosen_guidance`, `guidance_candidates`. Rank 0 leaves the statistics of the teacher's samples, which
    students are compared with, in `context.evaluation_files`, and measures the floor; its values are stored.

    Returns:
        The columns; those of a named evaluation under its name.
    """
    torch.set_num_threads(context.threads)
    modes.choose(spec.train.mode, context.device)
    start = time.perf_counter()
    reference = evaluations.load_reference(spec, context.device, context.features)
    dataset, holdout, against = reference.dataset, reference.holdout, reference.against
    refuse_other_images(spec, folder, dataset)
    net, _ = checkpoint.load_model(folder, context.device)
    modes.prepare(net, spec.train.mode, context)
    unresolved = spec.evaluate.evaluations()
    drawn = [evaluations.of_teacher_samples(entry.with_any(), against) for entry in unresolved.values()]
    batches = evaluations.batches_of(unresolved, dataset, context)
    batches += sum(measurement.batches_of(element, dataset, context) for element in drawn)
    progress = Progress(context, "evaluate", batches)
    seed = spec.teacher.sampling_seed if isinstance(spec.teacher, Teacher) else 0
    values: dict[str, Any] = {}
    for name, item in unresolved.items():
        if isinstance(item.guidance, ChooseGuidance):
            choice = measurement.choose_guidance(net, reference, item, seed, context, progress)
            values |= {under(column, name): value for column, value in choice.items()}
    resolved = spec.evaluate.resolved(values)
    teacher_samples = {
        name: evaluations.sample_teacher(net, reference, evaluation, seed, context, progress)
        for name, evaluation in resolved.items()
    }
    measured, grid, _ = evaluations.measure(net, reference, resolved, teacher_samples, seed, context, progress)
    if context.rank == 0 and context.evaluation_files is not None:
        for name, statistics in teacher_samples.items():
            evaluations.write_teacher_samples(context.evaluation_files, name, statistics)
    size = unet.size(net)
    return {
        **values,
        **measured,
        **(floor.measure(spec.data, holdout, against, spec.evaluate.labels) if context.rank == 0 else {}),
        **evaluations.comparability_keys(reference, resolved),
        "guidance": list(grid),
        "params": size,
        "student_params": size,
        "eval_seconds": time.perf_counter() - start,
    }
