"""The one model behind every number: y = cell + block + error, by ordinary least squares.

Blocks are eliminated first (the intra-block analysis of incomplete block designs; Yates 1936, Rao 1947), so what is
solved is one matrix of cells x cells: exact OLS for balanced and unbalanced tables alike, and 100,000 arms cost
milliseconds. Which contrasts a table with holes still determines falls out of the same matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FloatArray = NDArray[np.float64]
LEVEL = 0.95
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its standard error and interval; NaN where the table cannot give it, and then `reason` says why."""

    value: float = nan
    se: float = nan
    df: float = nan
    low: float = nan
    high: float = nan
    p: float = nan  # two-sided, against zero
    reason: str = ""

    @property
    def known(self) -> bool:
        return not isnan(self.value)

    @property
    def has_interval(self) -> bool:
        return not (isnan(self.low) or isnan(self.high))


@dataclass(frozen=True, kw_only=True)
class TwoWayFit:
    """Least-squares fit of cell + block.

    effects: (C,) cell effects, sum to zero in each connected part; inverse: (C, C) Moore-Penrose inverse of the reduced
    normal matrix, so Var(w @ effects) = residual_var * w @ inverse @ w; means: (C,) cell means adjusted to the average
    block; df: residual degrees of freedom; residual_var: NaN without residual degrees of freedom.
    """

    cells: tuple[str, ...]
    effects: FloatArray
    inverse: FloatArray
    normal: FloatArray
    means: FloatArray
    block_effects: FloatArray
    residual_var: float
    df: int
    n: int
    n_blocks: int

    @property
    def residual_sd(self) -> float:
        return sqrt(self.residual_var)


def fit_two_way(cells: Sequence[str], blocks: Sequence[object], y: Sequence[float] | FloatArray) -> TwoWayFit:
    """Fit y = cell + block + error to n observations, three sequences of length n. ValueError if y is not finite."""
    values = np.asarray(y, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("the model takes finite values only")
    names = tuple(dict.fromkeys(cells))
    block_names = tuple(dict.fromkeys(blocks))
    row = np.fromiter(map({name: i for i, name in enumerate(names)}.__getitem__, cells), dtype=np.intp)
    col = np.fromiter(map({name: i for i, name in enumerate(block_names)}.__getitem__, blocks), dtype=np.intp)
    counts = np.zeros((len(names), len(block_names)))
    np.add.at(counts, (row, col), 1.0)
    per_cell, per_block = counts.sum(1), counts.sum(0)
    totals = np.bincount(row, values, len(names))
    block_means = np.bincount(col, values, len(block_names)) / per_block
    normal = np.diag(per_cell) - (counts / per_block) @ counts.T
    inverse = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)
    effects = inverse @ (totals - counts @ block_means)
    block_effects = block_means - (counts.T @ effects) / per_block
    residuals = values - effects[row] - block_effects[col]
    rank = round(float(np.trace(inverse @ normal))) if names else 0
    df = len(values) - rank - len(block_names)
    return TwoWayFit(
        cells=names, effects=effects, inverse=inverse, normal=normal,
        means=effects + (block_effects.mean() if len(block_names) else nan), block_effects=block_effects,
        residual_var=float(residuals @ residuals) / df if df > 0 else nan,
        df=df, n=len(values), n_blocks=len(block_names),
    )  # fmt: skip


def t_estimate(value: float, se: float, df: float, level: float = LEVEL) -> Estimate:
    """Estimate with the t interval of `df` degrees of freedom; no interval when df < 1."""
    if df < 1 or isnan(se):
        return Estimate(value=value, df=df, reason="no residual degrees of freedom: one block gives no interval")
    half = float(stdtrit(df, 0.5 + level / 2)) * se
    return Estimate(value=value, se=se, df=df, low=value - half, high=value + half, p=two_sided_p(value, se, df))


def two_sided_p(value: float, se: float, df: float) -> float:
    """p of the t test of value = 0; a standard error of exactly 0 leaves nothing to chance."""
    if se == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(df, -abs(value) / se))


def one_sided_p(value: float, se: float, df: float) -> float:
    """p of the t test of value <= 0 against value > 0."""
    if se == 0:
        return 0.0 if value > 0 else 1.0
    return float(stdtr(df, -value / se))


def weight_vector(fit: TwoWayFit, weights: Mapping[str, float]) -> tuple[FloatArray | None, str]:
    """(C,) vector of named weights, or None and the reason why the fit does not determine that contrast."""
    empty = [cell for cell, weight in weights.items() if weight and cell not in fit.cells]
    if empty:
        return None, f"no finished arm in {', '.join(empty)}"
    vector = np.array([weights.get(cell, 0.0) for cell in fit.cells])
    if not np.allclose(fit.normal @ (fit.inverse @ vector), vector, atol=1e-8):
        return None, "its cells never share a block, directly or through others"
    return vector, ""


def contrast(fit: TwoWayFit, weights: Mapping[str, float], level: float = LEVEL) -> Estimate:
    """Estimate of sum(weight * cell effect) for weights that sum to zero, with the pooled residual's t interval."""
    vector, reason = weight_vector(fit, weights)
    if vector is None:
        return Estimate(reason=reason)
    variance = fit.residual_var * float(vector @ fit.inverse @ vector)
    return t_estimate(float(vector @ fit.effects), sqrt(max(variance, 0.0)) if fit.df > 0 else nan, fit.df, level)


def ratio(fit: TwoWayFit, top: Mapping[str, float], bottom: Mapping[str, float], level: float = LEVEL) -> Estimate:
    """Ratio of two contrasts with Fieller's interval (Fieller 1954).

    The interval is withheld, with the reason, unless the bottom is clear of zero and positive at `level`: otherwise the
    set of ratios that the data allow is unbounded, or speaks of shares of a loss.
    """
    a, b = contrast(fit, top, level), contrast(fit, bottom, level)
    if not (a.known and b.known):
        return Estimate(reason=a.reason or b.reason)
    if not b.has_interval:
        return Estimate(reason=b.reason)
    if not b.low > 0:
        return Estimate(reason="the total gain is not clear of zero")
    u, v = weight_vector(fit, top)[0], weight_vector(fit, bottom)[0]
    assert u is not None
    assert v is not None
    scale = (float(stdtrit(fit.df, 0.5 + level / 2)) ** 2) * fit.residual_var
    v11, v12, v22 = (scale * float(x @ fit.inverse @ y) for x, y in ((u, u), (u, v), (v, v)))
    # Roots of (a - r b)^2 = t^2 s^2 (v11 - 2 r v12 + r^2 v22); b.low > 0 makes the leading coefficient positive.
    lead, mid, last = b.value**2 - v22, a.value * b.value - v12, a.value**2 - v11
    root = sqrt(max(mid**2 - lead * last, 0.0))
    return Estimate(value=a.value / b.value, df=fit.df, low=(mid - root) / lead, high=(mid + root) / lead, p=a.p)


def mean_estimate(sample: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean of independent values with the one-sample t interval: the per-block check, free of the model."""
    values = np.asarray(sample, dtype=float)
    if len(values) == 0:
        return Estimate(reason="no block has every arm that it needs")
    if len(values) == 1:
        return t_estimate(float(values[0]), nan, 0)
    return t_estimate(float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values)), len(values) - 1, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values. NaN (not estimable) stays NaN but keeps its place in the family's size."""
    order = sorted(range(len(p_values)), key=lambda i: inf if isnan(p_values[i]) else p_values[i])
    adjusted, running = [nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        if not isnan(p_values[i]):
            running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
            adjusted[i] = running
    return adjusted
