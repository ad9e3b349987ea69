"""Every combination of the components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, every_combination


class Factorial(Ablation):
    """Every cell in every block: what each component is worth, whatever else is on."""

    kind: Literal["factorial"] = "factorial"

    def combinations(self) -> Iterator[Mapping[str, str]]:
        return (levels for levels in every_combination(self.factors()) if not self.is_excluded(levels))
