"""Stop arms of a search that are behind.

The values at each rung are in the run folder, so nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from branchwise.trainables.runtime.run_folder import RunFolder

MIN_MEDIAN = 3  # values of others


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Settings of the rule that stops arms of a search.

    `asha`: of the values seen at a rung, one in `reduction` passes. `median`: those not above the others' median.
    """

    rule: Literal["asha", "median"]
    rungs: tuple[int, ...]
    reduction: int

    def keeps(self, value: float, others: Sequence[float]) -> bool:
        """Whether an arm continues, given the values of earlier arms at this rung; lower is better.

        Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934) in the form that stops, and the median
        stopping rule (Golovin et al. 2017). The first arms pass, since there is nothing to compare them with.
        """
        if self.rule == "median":
            return len(others) < MIN_MEDIAN or value <= median(others)
        ranked = sorted([*others, value])
        return len(ranked) < self.reduction or value <= ranked[len(ranked) // self.reduction - 1]


def is_kept(stopping: Stopping, run: RunFolder, cell: str, arm: str, step: int, value: float) -> bool:
    """Record the arm's value at rung `step` of its cell's search; return whether it continues."""
    # Written before the others are read, so that of two arms that arrive together at least one sees the other.
    run.write_rung_value(cell, step, arm, value)
    others = [other for name, other in run.rung_values(cell, step).items() if name != arm]
    return stopping.keeps(value, others)
