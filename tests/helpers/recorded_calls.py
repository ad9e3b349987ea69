"""A context of a trainable that records its calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from branchwise.trainables import Arm, Context, Result


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

    def student(self, arm: str) -> Path:
        """The folder of a finished arm's model."""
        folder = self.folders[arm]
        assert folder is not None, f"{arm} has no model"
        return folder

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
