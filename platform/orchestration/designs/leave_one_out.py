"""The full method and each other level of each component: k + 1 cells where a factorial of switches has 2^k."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, every_combination


class LeaveOneOut(Ablation):
    """What is lost with each component alone; shares of the gain cannot be told from it."""

    kind: Literal["leave_one_out"]

    def combinations(self) -> Iterator[Mapping[str, str]]:
        full = {factor.name: factor.full for factor in self.factors()}
        for levels in every_combination(self.factors()):
            if sum(levels[name] != full[name] for name in full) <= 1 and not self.is_excluded(levels):
                yield levels
