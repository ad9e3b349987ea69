"""The evaluations of a run on a single net: primary and named, each with its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from branchwise.run_files.columns import under
from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.data.datasets import Dataset
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import features, measurement, metrics, reference_set
from branchwise.trainables.dash.evaluation.reference import EvaluationReference
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet
from branchwise.trainables.dash.settings.evaluate import MAX_TEACHER_SAMPLES, PRIMARY, Evaluate
from branchwise.trainables.dash.settings.spec import Spec

Evaluations = Mapping[str, Evaluate]  # by name, resolved
# Statistics of the teacher's samples under each evaluation; None where no evaluation of the teacher is at hand.
TeacherSamples = Mapping[str, metrics.Statistics | None]


def load_reference(spec: Spec, device: str, features_folder: Path | None) -> EvaluationReference:
    """Load what nets of `spec` are measured against.

    `features_folder` has the feature net that was trained for it.

    Raises FileNotFoundError and ValueError as `features.extractor_of`, which comes first, and `datasets.load` do.
    """
    extractor = features.extractor_of(spec, device, features_folder)
    return EvaluationReference(
        against=reference_set.get(spec.data, extractor, device),
        dataset=datasets.load(spec.data, device),
        holdout=datasets.load_holdout(spec.data, device),
        alphas_cumprod=schedule.cosine_alphas_cumprod(device),
    )


def batches_of(evaluations: Evaluations, dataset: Dataset, context: Context) -> int:
    """Batches per rank for a network under all evaluations."""
    return sum(measurement.batches_of(settings, dataset, context) for settings in evaluations.values())


def measure(
    net: nn.Module,
    reference: EvaluationReference,
    evaluations: Evaluations,
    teacher: TeacherSamples,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[dict[str, Any], tuple[dict[str, float | None], ...], Tensor]:
    """Measure `net` under each evaluation as `measurement.measure` does, from the same noise.

    Of a named evaluation only the Fréchet distances: kernel distances and neighbors need ten times as long.

    Returns:
        The columns, those of a named evaluation under its name; the rows of `guidance_grid` and the first images of the
        primary evaluation.
    """
    values: dict[str, Any] = {}
    grid: tuple[dict[str, float | None], ...] = ()
    images: Tensor | None = None
    for name, settings in evaluations.items():
        measured, rows, first = measurement.measure(
            net, reference, settings, seed, context, progress, teacher[name], brief=name != PRIMARY
        )
        values |= {under(column, name): value for column, value in measured.items()}
        if name == PRIMARY:
            grid, images = rows, first
    assert images is not None, "a run has a primary evaluation"
    return values, grid, images


def comparability_keys(reference: EvaluationReference, evaluations: Evaluations) -> dict[str, str]:
    """The column `comparability_key` of each evaluation."""
    return {
        under("comparability_key", name): measurement.comparability_key(reference.against, reference.holdout, settings)
        for name, settings in evaluations.items()
    }


def unguided(evaluations: Evaluations) -> dict[str, Evaluate]:
    """The evaluations of a net that has its guidance inside: sampled without any."""
    plain = {"guidance": 1.0, "guidance_grid": ()}
    return {name: settings.model_copy(update=plain) for name, settings in evaluations.items()}


def of_teacher_samples(settings: Evaluate, against: ReferenceSet) -> Evaluate:
    """Return the settings of the samples that represent the teacher in `teacher_distance`."""
    count = settings.teacher_samples or min(len(against.features), MAX_TEACHER_SAMPLES)
    return settings.model_copy(update={"samples": count, "repeats": 1, "guidance_grid": ()})


def sample_teacher(
    net: nn.Module, reference: EvaluationReference, settings: Evaluate, seed: int, context: Context, progress: Progress
) -> metrics.Statistics:
    """Return statistics of the teacher's samples that students are compared with.

    Their noise is used only here.
    """
    drawn = of_teacher_samples(settings, reference.against)
    sampling_seed = derive(seed, "samples to compare students with")
    return measurement.sample_statistics(net, reference, drawn, sampling_seed, context, progress)


def write_teacher_samples(folder: Path, name: str, statistics: metrics.Statistics) -> None:
    """Store the statistics for the students of this teacher."""
    np.savez(folder / _file_name(name), mu=statistics["mu"], sigma=statistics["sigma"])


def read_teacher_samples(folder: Path | None, evaluations: Evaluations) -> TeacherSamples:
    """Load what `write_teacher_samples` stored; raise FileNotFoundError where it is missing.

    The files are in `folder`.
    """
    if folder is None:
        return dict.fromkeys(evaluations)
    results = {}
    for name in evaluations:
        file = folder / _file_name(name)
        with np.load(file, allow_pickle=False) as stored:
            results[name] = {part: stored[part] for part in ("mu", "sigma")}
    return results


def _file_name(name: str) -> str:
    return f"{name or 'primary'}.npz"
