"""The model behind each number: y = cell + block + error, by ordinary least squares.

Blocks are eliminated first (the intra-block analysis of incomplete block designs; Yates 1936, Rao 1947), so what is
solved is a single matrix of cells x cells: exact OLS for both balanced and unbalanced tables, and 100,000 arms cost
milliseconds. Which contrasts a table with holes still determines falls out of the same matrix.

An effect is tested by its variance over the blocks: its interval is for the mean over seeds, and holds where effects
differ from block to block and cells scatter unequally. The pooled residual assumes neither and is a diagnostic.

Values are scaled by a power of two and shifted by a value first, both exactly, so that neither 1e-300 nor 1e300
nor 1e9 +- 1e-3 loses digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import frexp, inf, isnan, ldexp, nan, sqrt
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from branchwise.analysis.declared.inference import ALPHA, DEFAULT, Inference
from branchwise.analysis.statistics.spread import (
    BlockVariance,
    FloatArray,
    block_variance,
    covariance,
    freedom,
    is_identified,
)
from branchwise.analysis.statistics.welch import CellVariance, cell_variance

LEVEL = 1 - ALPHA  # of an interval, where a run declares none
ROUNDING = 64 * float(np.finfo(float).eps)  # of a value, relative; differences below it are no differences
NO_VARIANCE = "no spread between blocks to test against"
SINGLE_RUN = "a cell has one run: an unpaired comparison takes two"
Error = Literal["blocks", "pooled"]  # what an effect is measured against: its variance over blocks, or the residual


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its error and interval; NaN, with `reason`, where the table cannot give it."""

    value: float = nan
    se: float = nan
    df: float = nan
    low: float = nan
    high: float = nan
    p: float = nan  # two-sided, against zero
    reason: str = ""

    @property
    def has_value(self) -> bool:
        return not isnan(self.value)

    @property
    def has_interval(self) -> bool:
        return not (isnan(self.low) or isnan(self.high))

    def for_next_seed(self, blocks: int) -> Estimate:
        """The same with the prediction interval for the effect in the next block."""
        wider = sqrt(blocks + 1)
        low, high = self.value - wider * (self.value - self.low), self.value + wider * (self.high - self.value)
        return replace(self, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class TwoWayFit:
    """Least-squares fit of cell + block.

    effects: (C,) cell effects, sum to zero in each connected part; inverse: (C, C) Moore-Penrose inverse of the reduced
    normal matrix, so the pooled Var(w @ effects) = residual_var * w @ inverse @ w; means: (C,) cell means adjusted to
    the average block; df: residual degrees of freedom; residual_var: in units squared, NaN without residual degrees of
    freedom; spread: over blocks, in units, or over the runs of each cell where they are not paired (block_effects is
    then a scalar, and n_blocks the runs of the smallest cell); unit: a power of two; size: largest absolute
    observation in units, which separates rounding from an effect; coarseness: (C,) variance, in units squared, that the
    resolution of the measurement contributes to the mean of each cell; resolution: its name.
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
    spread: BlockVariance | CellVariance
    unit: float
    size: float
    coarseness: FloatArray
    resolution: str
    inference: Inference = DEFAULT

    @property
    def residual_sd(self) -> float:
        return sqrt(self.residual_var) * self.unit


def fit_two_way(
    cells: Sequence[str],
    blocks: Sequence[object],
    y: Sequence[float] | FloatArray,
    magnitude: float | None = None,
    steps: FloatArray | None = None,
    resolution: str = "",
    inference: Inference = DEFAULT,
) -> TwoWayFit:
    """Fit y = cell + block + error to n observations; without blocks where they are not paired.

    Args:
        cells: The cell of each observation.
        blocks: Its block.
        y: Its value.
        magnitude: What the rounding of y is relative to; its largest absolute value unless given.
        steps: (n,) the resolution of the measurement at each value, on the scale of y.
        resolution: Its name.
        inference: Whether blocks pair the cells, and the level of intervals.

    Raises:
        ValueError: If y is not finite.
    """
    given = np.asarray(y, dtype=float)
    if not np.isfinite(given).all():
        raise ValueError("the model takes finite values only")
    unit = power_of_two(given)
    shift = float(given.min()) / unit if len(given) else 0.0  # regardless of the order of the observations
    values = given / unit - shift
    if not inference.paired:
        blocks = [0] * len(given)
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
    size = float(np.abs(given / unit).max(initial=0.0))
    spread: BlockVariance | CellVariance
    if inference.paired:
        spread, n_blocks = block_variance(row, col, residuals, inverse), len(block_names)
    else:
        spread, n_blocks = cell_variance(row, values, len(names)), int(per_cell.min(initial=len(values)))
    squares = np.zeros(len(values)) if steps is None else (steps / unit) ** 2
    return TwoWayFit(
        cells=names, effects=effects * unit, inverse=inverse, normal=normal,
        means=(effects + (block_effects.mean() + shift if len(block_names) else nan)) * unit,
        block_effects=(block_effects + shift) * unit,
        residual_var=float(residuals @ residuals) / df if df > 0 else nan,
        df=df, n=len(values), n_blocks=n_blocks, spread=spread,
        unit=unit, size=size if magnitude is None else max(size, magnitude / unit),
        coarseness=np.bincount(row, squares, len(names)) / 12 / per_cell**2, resolution=resolution,
        inference=inference,
    )  # fmt: skip


def power_of_two(values: FloatArray) -> float:
    """Return a power of two that divides the values exactly, so that none is above 2 in size."""
    top = float(np.abs(values).max(initial=0.0))
    return ldexp(1.0, max(frexp(top)[1] - 1, -1021)) if top else 1.0


def t_estimate(value: float, se: float, df: float, level: float = LEVEL, reason: str = "") -> Estimate:
    """Return an estimate with the t interval of `df` degrees of freedom.

    No interval, for `reason`, when df < 1 or se is NaN or 0.
    """
    if df < 1 - 1e-9 or isnan(se):
        return Estimate(value=value, df=df, reason=reason or "one block gives no interval")
    if se == 0:
        return Estimate(value=value, se=0.0, df=df, reason=reason or NO_VARIANCE)
    half = float(stdtrit(df, 0.5 + level / 2)) * se
    return Estimate(value=value, se=se, df=df, low=value - half, high=value + half, p=two_sided_p(value, se, df))


def two_sided_p(value: float, se: float, df: float) -> float:
    """p of the t test of value = 0, for a standard error above 0."""
    return float(2 * stdtr(df, -abs(value) / se))


def directional_p(value: float, se: float, df: float) -> float:
    """p of the t test of value <= 0 against value > 0, for a standard error above 0."""
    return float(stdtr(df, -value / se))


def weight_vector(fit: TwoWayFit, weights: Mapping[str, float]) -> tuple[FloatArray | None, str]:
    """Return the (C,) vector of weights, or None and why the fit does not determine a contrast."""
    empty = [cell for cell, weight in weights.items() if weight and cell not in fit.cells]
    if empty:
        return None, f"no finished arm in {', '.join(empty)}"
    vector = np.array([weights.get(cell, 0.0) for cell in fit.cells])
    if not np.allclose(fit.normal @ (fit.inverse @ vector), vector, atol=1e-8):
        return None, "its cells never share a block, directly or through others"
    return vector, ""


def contrast(
    fit: TwoWayFit, weights: Mapping[str, float], error: Error = "blocks", level: float | None = None
) -> Estimate:
    """Estimate of sum(weight * cell effect) for weights that sum to zero, with a t interval.

    error: "blocks", the spread over blocks (on whole tables the one-sample t over the contrast's values by block; where
    runs are not paired, Welch's t); or "pooled", the residual of the model. level: that of the fit unless given.
    """
    level = fit.inference.level if level is None else level
    vector, reason = weight_vector(fit, weights)
    if vector is None:
        return Estimate(reason=reason)
    (variance,), df, reason = _errors(fit, error, (vector, vector))
    rounding = ROUNDING * fit.size * float(np.abs(vector).sum())
    sizes = (float(vector @ (fit.effects / fit.unit)), sqrt(max(variance, 0.0)))
    value, se = (0.0 if abs(x) < rounding else x * fit.unit for x in sizes)
    if not reason and variance < float(vector**2 @ fit.coarseness):
        return Estimate(value=value, se=se, df=df, reason=too_coarse(fit.resolution))
    return t_estimate(value, nan if reason else se, df, level, reason)


def too_coarse(resolution: str) -> str:
    return f"too coarse to test (resolution {resolution})"


def ratio(
    fit: TwoWayFit,
    top: Mapping[str, float],
    bottom: Mapping[str, float],
    error: Error = "blocks",
    level: float | None = None,
) -> Estimate:
    """Return the ratio of two contrasts with Fieller's (1954) interval, at the smaller df.

    The interval is withheld, with the reason, unless the bottom is clear of zero and positive at `level`: otherwise the
    set of ratios that the data allow is unbounded, or refers to shares of a loss.
    """
    level = fit.inference.level if level is None else level
    a, b = contrast(fit, top, error, level), contrast(fit, bottom, error, level)
    if not (a.has_value and b.has_value):
        return Estimate(reason=a.reason or b.reason)
    if not (a.has_interval and b.has_interval):
        return Estimate(reason=b.reason or a.reason)
    u, v = weight_vector(fit, top)[0], weight_vector(fit, bottom)[0]
    assert u is not None
    assert v is not None
    df = min(a.df, b.df)
    edge = float(stdtrit(df, 0.5 + level / 2))
    if b.value + edge * b.se < 0:
        return Estimate(reason="the total gain is below zero, so it has no shares")
    if not b.value - edge * b.se > 0:
        return Estimate(reason="the total gain is not clear of zero")
    scale = b.value / fit.unit  # everything in parts of the bottom, so that no square over- or underflows
    v11, v12, v22 = (edge**2 * (x / scale) / scale for x in _errors(fit, error, (u, u), (u, v), (v, v))[0])
    # Roots of (a - r)^2 = t^2 (v11 - 2 r v12 + r^2 v22); a bottom clear of zero makes `lead` positive.
    share = a.value / b.value
    lead, mid, last = 1 - v22, share - v12, share**2 - v11
    root = sqrt(max(mid**2 - lead * last, 0.0))
    return Estimate(value=share, df=df, low=(mid - root) / lead, high=(mid + root) / lead, p=a.p)


def _errors(
    fit: TwoWayFit, error: Error, *pairs: tuple[FloatArray, FloatArray]
) -> tuple[tuple[float, ...], float, str]:
    """Covariances of pairs of contrasts, df of the first's variance, why an interval is missing."""
    if error == "pooled":
        reason = "" if fit.df > 0 else "no residual degrees of freedom: one block gives no interval"
        return tuple(fit.residual_var * float(u @ fit.inverse @ v) for u, v in pairs), float(fit.df), reason
    if isinstance(fit.spread, CellVariance):
        cells = fit.spread
        identified = all(cells.is_identified(vector) for pair in pairs for vector in pair)
        return (
            tuple(cells.covariance(u, v) for u, v in pairs),
            cells.freedom(pairs[0][0]),
            "" if identified else SINGLE_RUN,
        )
    reason = "one block gives no interval"
    if fit.n_blocks > 1:
        unseen = any(not is_identified(fit.spread, vector) for pair in pairs for vector in pair)
        reason = "too few blocks hold its cells to see how it varies between blocks" if unseen else ""
    return tuple(covariance(fit.spread, u, v) for u, v in pairs), freedom(fit.spread, pairs[0][0]), reason


def mean_estimate(sample: Sequence[float] | FloatArray, level: float = LEVEL, magnitude: float = 0.0) -> Estimate:
    """Return the mean of independent values with the t interval. magnitude: of their rounding."""
    values = np.asarray(sample, dtype=float)
    if len(values) == 0:
        return Estimate(reason="no block has every arm that it needs")
    if len(values) == 1:
        return t_estimate(float(values[0]), nan, 0)
    mean, sd = mean_and_sd(values)
    if sd < ROUNDING * max(float(np.abs(values).max()), magnitude):
        sd = 0.0
    return t_estimate(mean, sd / sqrt(len(values)), len(values) - 1, level)


def mean_and_sd(sample: Sequence[float] | FloatArray) -> tuple[float, float]:
    """Return mean and SD (n - 1) without loss to overflow, underflow or an offset; NaN if none."""
    values = np.asarray(sample, dtype=float)
    if not len(values):
        return nan, nan
    unit = power_of_two(values)
    shift = float(values.min()) / unit
    parts = values / unit - shift
    sd = float(parts.std(ddof=1)) * unit if len(values) > 1 else nan
    return (float(parts.mean()) + shift) * unit, sd


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values; NaN stays NaN but counts in the family's size."""
    order = sorted(range(len(p_values)), key=lambda i: inf if isnan(p_values[i]) else p_values[i])
    adjusted, running = [nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        if not isnan(p_values[i]):
            running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
            adjusted[i] = running
    return adjusted
