"""DASH: dual-branch score distillation of class-conditional diffusion U-Nets (arXiv 2606.00798).

The functions of the contract. What they need from torch is imported when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.dash.costs.bill import (
    bill_cohort,
    bill_teacher,
    describe_models,
    estimate_cohort,
    estimate_teacher,
)
from branchwise.trainables.dash.settings.addresses import comparability_key, evaluation_key, teacher_key
from branchwise.trainables.dash.settings.columns import COLUMNS, LINES
from branchwise.trainables.dash.settings.files import check_inputs
from branchwise.trainables.dash.settings.objectives import BASELINES
from branchwise.trainables.dash.settings.spec import Spec, cohort_key, measured_at

__all__ = [
    "BASELINES",
    "COLUMNS",
    "LINES",
    "Spec",
    "bill_cohort",
    "bill_teacher",
    "check_inputs",
    "cohort_key",
    "comparability_key",
    "describe_models",
    "estimate_cohort",
    "estimate_teacher",
    "evaluate_teacher",
    "evaluation_key",
    "measure_rates",
    "measured_at",
    "run_cohort",
    "teacher_key",
    "train_teacher",
]


def measure_rates(spec: Spec, device: str, threads: int, seconds: float) -> list[dict[str, Any]]:
    from branchwise.trainables.dash.machine import rates

    return rates.measure(spec, device, threads, seconds)


def run_cohort(arms: Sequence[Arm], context: Context) -> None:
    from branchwise.trainables.dash.training import cohort

    cohort.run(arms, context)


def train_teacher(spec: Spec, out: Path, context: Context) -> None:
    from branchwise.trainables.dash.training import teacher

    teacher.train(spec, out, context)


def evaluate_teacher(spec: Spec, folder: Path, context: Context) -> dict[str, Any]:
    from branchwise.trainables.dash.training import teacher

    return teacher.evaluate(spec, folder, context)
