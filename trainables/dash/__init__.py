"""DASH: dual-branch score distillation of class-conditional U-Nets (arXiv 2606.00798).

The functions of the contract. What they need from torch is imported when they run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from branchwise.trainables.contract import Arm, Context, Result
from branchwise.trainables.dash.costs.estimate import (
    cohort_cost,
    describe_models,
    estimate_cohort,
    estimate_features,
    estimate_measure,
    estimate_teacher,
    teacher_cost,
)
from branchwise.trainables.dash.costs.notes import describe
from branchwise.trainables.dash.settings import content, files
from branchwise.trainables.dash.settings.addresses import (
    comparability_key,
    evaluation_key,
    features_key,
    teacher_key,
)
from branchwise.trainables.dash.settings.columns import COLUMNS, LINES, columns
from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.features import check_classifier, is_function
from branchwise.trainables.dash.settings.fetching import missing_files
from branchwise.trainables.dash.settings.objectives import BASELINES
from branchwise.trainables.dash.settings.spec import Spec, Teacher, block_patch, cohort_key, measured_at

MEASURED = ("evaluate",)
MEASURED_ALONE: Mapping[str, Any] = {"evaluate.also": {}}  # other settings than the sweep's measure a single evaluation

__all__ = [
    "BASELINES",
    "COLUMNS",
    "LINES",
    "MEASURED",
    "MEASURED_ALONE",
    "Spec",
    "block_patch",
    "check_code",
    "check_features",
    "check_inputs",
    "cohort_cost",
    "cohort_key",
    "comparability_key",
    "data_sha256",
    "describe",
    "describe_models",
    "estimate_cohort",
    "estimate_features",
    "estimate_measure",
    "estimate_teacher",
    "evaluate_teacher",
    "evaluation_key",
    "features_key",
    "from_settings",
    "measure_model",
    "measure_rates",
    "measured_at",
    "missing_files",
    "run_cohort",
    "teacher_cost",
    "teacher_key",
    "teacher_workers",
    "train_features",
    "train_teacher",
]


def from_settings(settings: Mapping[str, Any], folder: Path | None) -> Any:
    """Return this module, with a column for each evaluation that the settings name.

    Spec validates the settings.
    """
    try:
        named = Evaluate.model_validate(settings.get("evaluate") or {}).evaluations()
    except ValueError:
        named = {}
    descriptions = {name: evaluation.describe() for name, evaluation in named.items()}
    if len(descriptions) < 2:
        return sys.modules[__name__]
    return SimpleNamespace(**{name: globals()[name] for name in __all__} | {"COLUMNS": columns(descriptions)})


def check_inputs(spec: Spec) -> None:
    """Check that data and weights are on this machine.

    Raises FileNotFoundError or ValueError that says what to do.
    """
    files.check_inputs(spec)
    if isinstance(spec.data, ImageFolder):
        from branchwise.trainables.dash.data import decoded

        decoded.check(spec.data)


def check_code(spec: Spec) -> None:
    """Import and call the user's feature function; raise ValueError if it cannot be used."""
    if is_function(spec.features):
        from branchwise.trainables.dash.evaluation import features

        features.function(spec, "cpu")


def data_sha256(spec: Spec) -> str | None:
    """Return the SHA-256 of images and labels; None for a data set not downloaded yet.

    Raises FileNotFoundError.
    """
    return content.data_sha256(spec.data)


def measure_rates(spec: Spec, device: str, threads: int, seconds: float) -> list[dict[str, Any]]:
    from branchwise.trainables.dash.machine import rates

    return rates.measure(spec, device, threads, seconds)


def run_cohort(arms: Sequence[Arm], context: Context) -> None:
    from branchwise.trainables.dash.training import cohort

    cohort.run(arms, context)


def train_teacher(spec: Spec, out: Path, context: Context) -> None:
    from branchwise.trainables.dash.training import teacher

    teacher.train(spec, out, context)


def teacher_workers(spec: Spec) -> int:
    return spec.teacher.workers if isinstance(spec.teacher, Teacher) else 1


def evaluate_teacher(spec: Spec, folder: Path, context: Context) -> dict[str, Any]:
    from branchwise.trainables.dash.training import teacher

    return teacher.evaluate(spec, folder, context)


def measure_model(arm: Arm, model: Path, context: Context) -> Result:
    from branchwise.trainables.dash.training import again

    return again.measure_model(arm, model, context)


def train_features(spec: Spec, out: Path, context: Context) -> None:
    from branchwise.trainables.dash.evaluation.feature_nets import classifier

    classifier.train(spec, out, context)


def check_features(spec: Spec, folder: Path) -> Mapping[str, Any]:
    """Return the classifier's accuracy on held-out images and the other notes of its training."""
    return check_classifier(spec.evaluate.classifier, spec.data.name, folder)
