"""What is measured of a student: its samples against the reference set, its guidance gap against the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Arm, Context, Result
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.data.datasets import Dataset
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import calibration, features, measurement, reference_set
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet
from branchwise.trainables.dash.nets import checkpoint, unet
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Evaluate, Method, Spec

_OF_SAMPLES = ("repeats", "sampler", "sampler_steps", "precision", "guidance", "guidance_grid")  # and of nothing else

Rows = Sequence[Mapping[str, Any]]
Calibrated = tuple[dict[str, float], list[dict[str, float]]]  # pooled over timesteps, and by bin


@dataclass(frozen=True)
class Yardstick:
    """What the students of a block are measured against."""

    dataset: Dataset
    against: ReferenceSet
    alphas_cumprod: Tensor  # (1000,)
    probes: calibration.Probes
    teacher_outputs: calibration.Bins


@dataclass(frozen=True)
class Measured:
    """`images`: the first samples (n, C, H, W) uint8."""

    values: Mapping[str, Any]
    tables: Mapping[str, Rows]
    images: Tensor


def yardstick(
    teacher: nn.Module, dataset: Dataset, against: ReferenceSet, alphas_cumprod: Tensor, settings: Evaluate, seed: int
) -> Yardstick:
    probes = calibration.draw_probes(dataset, alphas_cumprod, settings, seed)
    return Yardstick(dataset, against, alphas_cumprod, probes, calibration.outputs(teacher, probes))


def measure_student(net: nn.Module, arm: Arm, by: Yardstick, context: Context, progress: Progress) -> Measured:
    """Measures the net of an arm, in eval mode. All ranks take part and return the same values."""
    values, grid, images = measurement.measure(
        net, by.dataset, by.against, by.alphas_cumprod, sampling_of(arm), arm.seed, context, progress
    )
    return _measured(values, grid, images, arm, calibration.diagnose(*_outputs(net, by), by.probes))


def _outputs(net: nn.Module, by: Yardstick) -> tuple[calibration.Bins, calibration.Bins]:
    return calibration.outputs(net, by.probes), by.teacher_outputs


def _measured(values: Mapping[str, Any], grid: Rows, images: Tensor, arm: Arm, calibrated: Calibrated) -> Measured:
    pooled, gaps = calibrated
    gapless = OBJECTIVES[arm.spec.method.objective].guidance_inside  # its gap was never trained and is never used
    compared = {name: None if gapless else pooled[name] for name in ("rho", "cos_delta", "gap_mse", "relative_gap")}
    return Measured({**values, **compared}, {"gaps": () if gapless else gaps, "guidance": grid}, images)


def sampling_of(arm: Arm) -> Evaluate:
    """How the arm is sampled: without guidance where the net has it inside."""
    settings: Evaluate = arm.spec.evaluate
    if not OBJECTIVES[arm.spec.method.objective].guidance_inside:
        return settings
    return settings.model_copy(update={"guidance": 1.0, "guidance_grid": ()})


def measure_model(arm: Arm, model: Path, context: Context) -> Result:
    """Measures a finished student again, in the folder that its training left, under `arm.spec`.

    A worker keeps what the next measure most likely needs too: the reference, the teacher's outputs, the student's gap.
    """
    spec = arm.spec
    if context.teacher is None:
        raise ValueError("a student is measured against its teacher, whose folder is missing")
    torch.set_num_threads(context.threads)
    modes.choose(spec.train.mode, context.device)
    net, _ = checkpoint.load_model(model, context.device)
    shared = _without_sampling(spec)
    by, teacher_size = _kept_yardstick(shared, context.teacher, context.features, arm.seed, context.device)
    modes.prepare(net, spec.train.mode, context)
    progress = Progress(context, "evaluate", measurement.batches_of(sampling_of(arm), by.dataset, context))
    values, grid, images = measurement.measure(
        net, by.dataset, by.against, by.alphas_cumprod, sampling_of(arm), arm.seed, context, progress
    )
    calibrated = _kept_calibration(model, shared, context.teacher, context.features, arm.seed, context.device)
    found = _measured(values, grid, images, arm, calibrated)
    student_size = unet.size(net)
    sizes = {
        "student_params": student_size,
        "teacher_params": teacher_size,
        "compression": teacher_size / student_size,
        "device": context.device,
        "student_sha256": checkpoint.weights_sha256(model),
    }
    return Result(status="done", values={**found.values, **sizes}, tables=found.tables)


def _without_sampling(spec: Spec) -> Spec:
    """The settings that reference, probes and gaps depend on: those of the sampler and the method are made alike."""
    alike = {name: Evaluate.model_fields[name].default for name in _OF_SAMPLES}
    evaluate = spec.evaluate.model_copy(update=alike)
    return spec.model_copy(update={"method": Method(), "evaluate": evaluate})


@lru_cache(maxsize=2)
def _kept_reference(shared: Spec, folder: Path | None, device: str) -> tuple[Dataset, ReferenceSet]:
    extractor = features.extractor_of(shared, device, folder)
    return datasets.load(shared.data, device), reference_set.get(shared.data, extractor, device)


@lru_cache(maxsize=2)
def _kept_yardstick(shared: Spec, teacher: Path, folder: Path | None, seed: int, device: str) -> tuple[Yardstick, int]:
    """What students are measured against, and the size of their teacher."""
    net, _ = checkpoint.load_model(teacher, device)
    dataset, against = _kept_reference(shared, folder, device)
    alphas_cumprod = schedule.cosine_alphas_cumprod(device)
    return yardstick(net, dataset, against, alphas_cumprod, shared.evaluate, seed), unet.size(net)


@lru_cache(maxsize=2)
def _kept_calibration(
    model: Path, shared: Spec, teacher: Path, folder: Path | None, seed: int, device: str
) -> Calibrated:
    net, _ = checkpoint.load_model(model, device)
    by, _ = _kept_yardstick(shared, teacher, folder, seed, device)
    return calibration.diagnose(*_outputs(net, by), by.probes)
