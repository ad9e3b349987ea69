"""Every combination of the components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, every_combination


class Factorial(Ablation):
    """All 2^k cells in every block: what each component is worth, whatever else is on."""

    kind: Literal["factorial"] = "factorial"

    def combinations(self) -> Iterator[Mapping[str, bool]]:
        return every_combination(self.components)
