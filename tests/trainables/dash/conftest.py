"""A tiny spec on real digits, a teacher of it, and a context that records its calls."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash

TINY = {
    "teacher": {
        "channels": [8, 8], "norm_groups": 4, "attention_at": [4], "steps": 6, "batch_size": 16, "ema": 0.5,
        "lr": 3e-3, "log_every": 2, "checkpoint_every": 3,
    },
    "student": {"channels": [8, 8], "norm_groups": 4},
    "train": {"steps": 6, "batch_size": 16, "lr": 3e-3, "ema": 0.5, "log_every": 2, "checkpoint_every": 3},
    "evaluate": {"samples": 640, "sampler_steps": 2, "gap_samples": 4},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    torch.set_num_threads(1)  # these nets are too small for more, and threads that wait for a busy core wait long


@pytest.fixture
def tiny() -> dict[str, Any]:
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def spec() -> dash.Spec:
    return dash.Spec.model_validate(TINY)


@pytest.fixture(scope="session")
def teacher_folder(spec: dash.Spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    dash.train_teacher(spec, folder, RecordedCalls().context(folder))
    return folder


@pytest.fixture(scope="session")
def teacher_evaluation(
    spec: dash.Spec, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mapping[str, Any], Path]:
    """What the teacher's evaluation returns, and the folder of the files that it leaves for students."""
    folder = tmp_path_factory.mktemp("evaluation")
    context = RecordedCalls().context(folder, evaluation_files=folder)
    return dash.evaluate_teacher(spec, teacher_folder, context), folder


@pytest.fixture(scope="session")
def teacher_samples(teacher_evaluation: tuple[Mapping[str, Any], Path]) -> Path:
    """The files that the teacher's evaluation leaves for its students."""
    return teacher_evaluation[1]


@pytest.fixture
def calls() -> RecordedCalls:
    return RecordedCalls()
