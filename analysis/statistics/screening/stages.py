"""From a screening to its follow-up: which components continue, and the results of both stages."""

from __future__ import annotations

from collections.abc import Sequence

from branchwise.analysis.statistics.attribution import ComponentRow

MAX_SURVIVORS = 5


def survivors(rows: Sequence[ComponentRow], alpha: float) -> list[str]:
    """Return the components with a significant main effect after Holm, the five largest at most, in their order."""
    significant = [row for row in rows if row.p_holm <= alpha]
    largest = sorted(significant, key=lambda row: -abs(row.effect.value))[:MAX_SURVIVORS]
    return [row.component for row in rows if row in largest]
