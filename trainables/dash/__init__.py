"""DASH: dual-branch score distillation of class-conditional diffusion U-Nets (arXiv 2606.00798).

The seam's functions. What they need from torch is imported when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from branchwise.trainables import Arm, Context
from branchwise.trainables.dash.columns import COLUMNS, LINES
from branchwise.trainables.dash.cost import estimate_cohort, estimate_teacher
from branchwise.trainables.dash.data.files import check_inputs
from branchwise.trainables.dash.spec import Spec, cohort_key
from branchwise.trainables.dash.teacher_address import evaluation_key, teacher_key

__all__ = [
    "BASELINES",
    "COLUMNS",
    "LINES",
    "Spec",
    "check_inputs",
    "cohort_key",
    "estimate_cohort",
    "estimate_teacher",
    "evaluate_teacher",
    "evaluation_key",
    "run_cohort",
    "teacher_key",
    "train_teacher",
]

BASELINES = {
    "scratch": {"objective": "scratch", "curriculum": "learned"},  # as its teacher was trained
    "conditional": {"objective": "conditional"},
    "composite": {"objective": "composite"},
    "multi_composite": {"objective": "multi_composite"},
    "gap_matching": {"objective": "gap_matching"},
    "fitnets": {"objective": "fitnets"},
    "single_head": {"objective": "single_head"},
    "pruning": {"objective": "pruning"},
}


def run_cohort(arms: Sequence[Arm], context: Context) -> None:
    from branchwise.trainables.dash.training import cohort

    cohort.run(arms, context)


def train_teacher(spec: Spec, out: Path, context: Context) -> None:
    from branchwise.trainables.dash.training import teacher

    teacher.train(spec, out, context)


def evaluate_teacher(spec: Spec, folder: Path, context: Context) -> dict[str, Any]:
    from branchwise.trainables.dash.training import teacher

    return teacher.evaluate(spec, folder, context)
