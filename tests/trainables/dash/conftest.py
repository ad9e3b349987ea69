"""A tiny spec on real digits, a teacher of it, and a context that records its calls."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm, Context, Result

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


@dataclass
class RecordedCalls:
    """The calls of a context, and the checkpoint that `load` returns."""

    reports: list[Mapping[str, Any]] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    folders: dict[str, Path | None] = field(default_factory=dict)
    stored: bytes | None = None

    def finish(self, arm: Arm, result: Result, folder: Path | None) -> None:
        self.results[arm.name] = result
        self.folders[arm.name] = folder

    def context(
        self,
        scratch: Path,
        teacher: Path | None = None,
        evaluation: Mapping[str, Any] | None = None,
        evaluation_files: Path | None = None,
    ) -> Context:
        return Context(
            rank=0,
            world_size=1,
            device="cpu",
            threads=1,
            scratch=scratch,
            teacher=teacher,
            evaluation=evaluation or {},
            evaluation_files=evaluation_files,
            report=self.reports.append,
            save=self.checkpoints.append,
            load=lambda: self.stored,
            finish=self.finish,
        )


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
