"""DASH: dual-branch score distillation of class-conditional diffusion U-Nets (arXiv 2606.00798).

The functions of the contract. What they need from torch is imported when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.dash.settings.addresses import comparability, evaluation_key, teacher_key
from branchwise.trainables.dash.settings.columns import COLUMNS, LINES
from branchwise.trainables.dash.settings.cost import estimate_cohort, estimate_teacher
from branchwise.trainables.dash.settings.files import check_inputs
from branchwise.trainables.dash.settings.objectives import BASELINES
from branchwise.trainables.dash.settings.spec import Spec, cohort_key

__all__ = [
    "BASELINES",
    "COLUMNS",
    "LINES",
    "Spec",
    "check_inputs",
    "cohort_key",
    "comparability",
    "estimate_cohort",
    "estimate_teacher",
    "evaluate_teacher",
    "evaluation_key",
    "run_cohort",
    "teacher_key",
    "train_teacher",
]


def run_cohort(arms: Sequence[Arm], context: Context) -> None:
    from branchwise.trainables.dash.training import cohort

    cohort.run(arms, context)


def train_teacher(spec: Spec, out: Path, context: Context) -> None:
    from branchwise.trainables.dash.training import teacher

    teacher.train(spec, out, context)


def evaluate_teacher(spec: Spec, folder: Path, context: Context) -> dict[str, Any]:
    from branchwise.trainables.dash.training import teacher

    return teacher.evaluate(spec, folder, context)
