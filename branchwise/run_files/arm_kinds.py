"""The kinds of arms of a run, and which of them are analyzed together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["cell", "baseline", "search", "confirm"]
CELL_KINDS: tuple[Kind, ...] = ("cell", "confirm")
RESULT_KINDS: tuple[Kind, ...] = (*CELL_KINDS, "baseline")  # `search` arms chose settings: they are never results


@dataclass(frozen=True, kw_only=True)
class AnalysisGroup:
    """Kinds of arms analyzed together; `question` is what this part of a run answers."""

    kinds: tuple[Kind, ...]
    name: str = ""
    question: str = ""
