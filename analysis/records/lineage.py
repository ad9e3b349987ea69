"""Lineage of a run: the run that it extends or confirms, and what was decided before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import nan
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A hypothesis that was tested before the extension.

    Attributes:
        run: The run that tested it.
        hypothesis: The claim in its canonical form, or `anchor.shapley`; for a further outcome `anchor.shapley(rho)`.
        text: The claim as it was written; else the hypothesis.
        component: The component of the effect; empty for a claim.
        outcome: The outcome of that effect.
        weights: Of that effect, by cell.
        verdict: The run's verdict.
        p_holm: Adjusted over the family of that run; NaN where it had no test.
    """

    run: str
    hypothesis: str
    text: str
    component: str = ""
    outcome: str = ""
    weights: Mapping[str, float]
    verdict: str
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Origin of a run in another run.

    Attributes:
        extends: The run that it adds to, as the plan keeps it; empty for a run that grew out of no other.
        blocks: Blocks of this run.
    """

    extends: Mapping[str, Any]
    blocks: int

    @property
    def adds_seeds(self) -> bool:
        """Whether seeds were added to those that had been tested: each verdict is then exploratory."""
        return bool(self.extends and not self.extends.get("confirmation")) and self.blocks > int(self.extends["blocks"])

    @property
    def decided(self) -> tuple[Decision, ...]:
        """Decisions before the extension."""
        names = [field.name for field in fields(Decision)]
        rows = [{name: row[name] for name in names} for row in self.extends.get("decided") or ()]
        return tuple(Decision(**row | {"p_holm": nan if row["p_holm"] is None else row["p_holm"]}) for row in rows)

    @property
    def added(self) -> tuple[str, ...]:
        """The components, baselines and cells that this run adds to another."""
        return tuple(name for key in ("components", "baselines", "cells") for name in self.extends.get(key, ()))

    @property
    def tested_components(self) -> tuple[str, ...]:
        """Components that are not in this run's family: one that it extends has tested them."""
        if not self.added or self.adds_seeds:
            return ()
        return tuple(dict.fromkeys(item.component for item in self.decided if item.component))
