"""Contrasts of a fraction: main effects that are tested by block, the others that only rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

from scipy.special import ndtri

from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.fractions import MIN_BLOCKS, Contrast, contrasts_of, weights_of
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast


@dataclass(frozen=True, kw_only=True)
class FractionRow:
    """A contrast of a fraction: the mean of its plus runs minus the mean of its minus runs."""

    contrast: Contrast
    estimate: Estimate

    @property
    def interaction(self) -> Estimate:
        """Double the estimate of a contrast of pairs.

        That is the sum of their differences of differences, as `interaction(a, b)` of a factorial
        has them.
        """
        half = self.estimate
        return replace(half, value=2 * half.value, se=2 * half.se, low=2 * half.low, high=2 * half.high)


def fraction_rows(fit: TwoWayFit, grid: Grid) -> tuple[FractionRow, ...]:
    """Return each contrast of a fraction, main effects first; none of other designs."""
    if not grid.is_fraction:
        return ()
    return tuple(
        FractionRow(contrast=column, estimate=ranked_only(contrast(fit, weights_of(grid, column)), fit))
        for column in contrasts_of(grid)
    )


def ranks_only(fit: TwoWayFit, grid: Grid) -> bool:
    """Whether a fraction has too few blocks to judge anything."""
    return grid.is_fraction and fit.n_blocks < MIN_BLOCKS


def ranked_only(estimate: Estimate, fit: TwoWayFit) -> Estimate:
    """Return a fraction's estimate, without interval and p-value if it has too few blocks.

    With fewer than five blocks the test by block confirms no effect of a realistic size (power 29% for two residual SDs
    at three blocks), and the tests that would, of pooled residuals or of Lenth, err in 21 to 25% of runs without any
    effect where effects vary from seed to seed.
    """
    if not estimate.has_value or fit.n_blocks >= MIN_BLOCKS:
        return estimate
    return Estimate(value=estimate.value, reason=f"{fit.n_blocks} blocks rank; verdicts take {MIN_BLOCKS}")


def half_normal(rows: Sequence[FractionRow]) -> list[tuple[FractionRow, float]]:
    """Return the estimated contrasts, the smallest first, each with its half-normal quantile."""
    ordered = sorted((row for row in rows if row.estimate.has_value), key=lambda row: abs(row.estimate.value))
    n = len(ordered)
    return [(row, float(ndtri(0.5 + 0.5 * (i + 0.5) / n))) for i, row in enumerate(ordered)]


def ranks(estimates: Sequence[Estimate]) -> list[float]:
    """Return ranks of the estimates by size: 1 the largest, NaN if unknown, ties share a rank."""
    sizes = [abs(estimate.value) for estimate in estimates]
    return [1.0 + sum(other > size for other in sizes) if size == size else nan for size in sizes]
