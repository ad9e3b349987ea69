"""Declared looks: the blocks after which a run is tested, and the error each look may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Spending = Literal["obrien_fleming", "quadratic"]
FUTILITY = 0.10  # conditional power below which a hypothesis counts as hopeless


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Tests of a run after each of `blocks` finished blocks: rising, the last is the maximum."""

    blocks: tuple[int, ...]
    spending: Spending
    futility: float = FUTILITY

    @property
    def max(self) -> int:
        return self.blocks[-1]

    def described(self) -> dict[str, Any]:
        """As a run's plan keeps them."""
        return {"blocks": list(self.blocks), "spending": self.spending, "futility": self.futility}

    @property
    def canonical(self) -> str:
        """The text sealed next to the claims."""
        return f"looks {','.join(map(str, self.blocks))} {self.spending} futility {self.futility:g}"


def looks_of(described: Mapping[str, Any] | None) -> Looks | None:
    """Read what `described` wrote; None of a run without looks."""
    if not described:
        return None
    return Looks(
        blocks=tuple(described["blocks"]), spending=described["spending"], futility=float(described["futility"])
    )
