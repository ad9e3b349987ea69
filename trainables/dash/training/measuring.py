"""Measuring a cohort's students: at the end, at declared budgets, at a search's rungs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from branchwise.trainables.contract import Arm, ArmStatus, Context, Result
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.evaluation import calibration, evaluations, grids, measurement
from branchwise.trainables.dash.nets import checkpoint, unet
from branchwise.trainables.dash.settings.columns import CALIBRATION, FLOOR
from branchwise.trainables.dash.settings.evaluate import PRIMARY, Evaluate
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.training.steps import Setting
from branchwise.trainables.dash.training.trainee import Trainee

MIN_STEPS = 2  # of a sampler

Calibrated = tuple[dict[str, float | None], tuple[dict[str, float], ...]]  # pooled over timesteps, and by bin
# Of a net with built-in guidance: its branches are not the teacher's.
NOT_CALIBRATED: Calibrated = ({column.name: None for column in CALIBRATION}, ())


def should_continue(arm: Arm, trainee: Trainee, step: int, setting: Setting) -> bool:
    """Return whether the arm continues from the rung at `step`.

    It is measured with a quarter of the sampler's steps.
    """
    context, full = setting.context, sampling_of(arm, setting)
    quick = {"sampler_steps": max(MIN_STEPS, full.sampler_steps // 4), "repeats": 1, "guidance_grid": ()}
    settings = full.model_copy(update=quick)
    progress = Progress(context, "evaluate", measurement.batches_of(settings, setting.dataset, context), arms=1)
    with trainee.averaged() as net:
        if not trainee.finite():
            finish_diverged(arm, trainee, step, context)
            return False
        try:
            values, _, _ = _sample_briefly(net, settings, setting, progress)
        except FloatingPointError as error:  # on each rank
            finish_diverged(arm, trainee, step, context, str(error))
            return False
    if context.should_continue(arm, step, values["value"]):
        return True
    _finish_early("stopped", arm, trainee, step, context, rung_value=values["value"])
    return False


def evaluate_checkpoint(students: Sequence[tuple[Arm, Trainee]], step: int, setting: Setting) -> None:
    """Measure the students as after the training, but with a single set of samples.

    Each gets a row of `budgets`.

    Weights that are no longer finite are omitted: the next logged step finds them.
    """
    once = {"repeats": 1, "guidance_grid": ()}
    settings = {arm.name: sampling_of(arm, setting).model_copy(update=once) for arm, _ in students}
    batches = (measurement.batches_of(item, setting.dataset, setting.context) for item in settings.values())
    progress = Progress(setting.context, "evaluate", sum(batches), arms=len(students))
    for arm, trainee in students:
        with trainee.averaged() as net:
            if trainee.finite():
                values, _, _ = _sample_briefly(net, settings[arm.name], setting, progress)
                pooled, _ = _calibrate(arm, net, setting)
                distances = {name: values.get(name) for name in ("value", "teacher_distance")}
                trainee.budgets.append({"step": step, **distances, **pooled})


def finish_diverged(arm: Arm, trainee: Trainee, step: int, context: Context, error: str = "") -> None:
    error = error or f"the loss or its gradient was not finite by step {step}"
    _finish_early("diverged", arm, trainee, step, context, error)


def _finish_early(
    status: ArmStatus, arm: Arm, trainee: Trainee, step: int, context: Context, error: str = "", **values: Any
) -> None:
    """Hand over an arm that ends after `step`, without a value."""
    if context.rank == 0:
        values |= {"steps": step, "train_seconds": trainee.seconds, "device": context.device}
        context.finish(arm, Result(status=status, values=values, error=error, tables=_at_steps(trainee)), None)


def _at_steps(trainee: Trainee) -> dict[str, Any]:
    return {"curves": trainee.curve, "budgets": trainee.budgets}


def finish(arm: Arm, trainee: Trainee, setting: Setting, progress: Progress) -> None:
    """Measure the trained student and hand it over."""
    context, start = setting.context, time.perf_counter()
    net = trainee.finish()
    if not trainee.finite():
        finish_diverged(arm, trainee, arm.spec.train.steps, context)
        return
    try:
        settings = evaluations_of(arm, setting)
        values, grid, images = evaluations.measure(
            net, setting.reference, settings, setting.teacher_samples, setting.seed, context, progress
        )
    except FloatingPointError as error:  # on each rank
        finish_diverged(arm, trainee, arm.spec.train.steps, context, str(error))
        return
    pooled, gaps = _calibrate(arm, net, setting)
    if context.rank != 0:
        return
    folder = context.scratch / arm.name
    _save(folder, arm, trainee, images, setting.dataset.classes)
    teacher_size, student_size = unet.size(setting.teacher), trainee.size()
    row = {
        **values,
        **pooled,
        **{column.name: context.evaluation.get(column.name) for column in FLOOR},
        **evaluations.comparability_keys(setting.reference, setting.evaluations),
        "student_params": student_size,
        "teacher_params": teacher_size,
        "compression": teacher_size / student_size,
        "steps": arm.spec.train.steps,
        "train_seconds": trainee.seconds,
        "eval_seconds": time.perf_counter() - start,
        "device": context.device,
        "student_sha256": checkpoint.weights_sha256(folder),
    }
    tables = {**_at_steps(trainee), "gaps": gaps, "guidance": grid}
    context.finish(arm, Result(status="done", values=row, tables=tables), folder)


def evaluations_of(arm: Arm, setting: Setting) -> evaluations.Evaluations:
    """Return the settings that sample the arm under each evaluation.

    They are without guidance where the net has it inside.
    """
    inside = OBJECTIVES[arm.spec.method.objective].guidance_inside
    return evaluations.unguided(setting.evaluations) if inside else setting.evaluations


def sampling_of(arm: Arm, setting: Setting) -> Evaluate:
    """Return the settings that sample the arm under the primary evaluation."""
    return evaluations_of(arm, setting)[PRIMARY]


def batches_of(arm: Arm, setting: Setting) -> int:
    """Batches that each rank samples to measure the trained student."""
    return evaluations.batches_of(evaluations_of(arm, setting), setting.dataset, setting.context)


def _sample_briefly(net: nn.Module, settings: Evaluate, setting: Setting, progress: Progress) -> Any:
    teacher, context = setting.teacher_samples[PRIMARY], setting.context
    return measurement.measure(net, setting.reference, settings, setting.seed, context, progress, teacher, brief=True)


def _calibrate(arm: Arm, net: nn.Module, setting: Setting) -> Calibrated:
    if OBJECTIVES[arm.spec.method.objective].guidance_inside:
        return NOT_CALIBRATED
    return calibrate(net, setting.probes, setting.teacher_outputs)


def calibrate(net: nn.Module, probes: calibration.Probes, teacher_outputs: calibration.Bins) -> Calibrated:
    """The columns of calibration, and their rows by timestep."""
    pooled, rows = calibration.diagnose(calibration.outputs(net, probes), teacher_outputs, probes)
    return {column.name: pooled[column.name] for column in CALIBRATION}, tuple(rows)


def _save(folder: Path, arm: Arm, trainee: Trainee, images: Tensor, classes: int) -> None:
    checkpoint.save_model(folder, trainee.net, trainee.importance)
    grids.save_grid(folder / "samples.png", images, classes)
    objective = arm.spec.method.objective
    description = {"arm": arm.name, "objective": objective, "guidance_inside": OBJECTIVES[objective].guidance_inside}
    (folder / "student.json").write_text(json.dumps(description, indent=1) + "\n")
