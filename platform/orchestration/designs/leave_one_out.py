"""The full method and each component's absence: k + 1 cells where the factorial has 2^k."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, every_combination


class LeaveOneOut(Ablation):
    """What is lost with each component alone; shares of the gain cannot be told from it."""

    kind: Literal["leave_one_out"]

    def combinations(self) -> Iterator[Mapping[str, bool]]:
        return (on for on in every_combination(self.components) if list(on.values()).count(False) <= 1)
