"""Effects of a factor's levels against its reference, and the trend over a dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan

from branchwise.analysis.declared.factors import Factor, Grid
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast, holm

TREND = "trend"
Weights = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """Effect of a level against the reference, averaged over the other factors.

    With `level` trend, the rise of a straight line through the doses from the lowest to the
    highest. Positive where it makes the outcome better. dose: NaN if it has none. p_holm: adjusted
    over all levels and trends of an outcome.
    """

    component: str
    level: str
    dose: float
    estimate: Estimate
    p_holm: float = nan
    weights: Weights


def level_rows(fit: TwoWayFit, grid: Grid) -> tuple[LevelRow, ...]:
    """Return the levels of each factor that is no switch, and the trend of each that has doses."""
    rows = []
    for factor in grid.factors:
        if factor.is_switch:
            continue
        for level in factor.levels:
            if level != factor.reference:
                rows.append(_row(fit, factor, level, grid.effect(factor.name, level)))
        if factor.doses:
            rows.append(_row(fit, factor, TREND, grid.trend(factor.name)))
    tested = [row for row in rows if row.weights]  # a level that the design cannot estimate is no test
    adjusted = iter(holm([row.estimate.p for row in tested]))
    return tuple(replace(row, p_holm=next(adjusted)) if row.weights else row for row in rows)


def averaged(fit: TwoWayFit, weights: Weights) -> Estimate:
    """The contrast with these weights; unknown if none exist."""
    return contrast(fit, weights) if weights else Estimate(reason="this design runs too few of the cells that it takes")


def _row(fit: TwoWayFit, factor: Factor, level: str, weights: Weights) -> LevelRow:
    dose = factor.doses[factor.levels.index(level)] if factor.doses and level != TREND else nan
    return LevelRow(
        component=factor.name, level=level, dose=dose, estimate=averaged(fit, weights), weights=weights
    )  # fmt: skip
