"""Random-effects mean of an effect over multiple data sets (REML), and its intervals.

The effect in each data set is drawn from a distribution with mean mu and variance tau^2, and is seen with an error of
its own. tau^2 maximizes the restricted likelihood and is never below zero; the interval of mu is Hartung and Knapp's
(2001), with t quantiles of k - 1 degrees of freedom; the prediction interval for the effect in a further data set adds
their variance of mu to tau^2, with k - 2 degrees of freedom (Partlett and Riley 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan, nan, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, stdtrit

from branchwise.analysis.declared.inference import ALPHA
from branchwise.analysis.statistics.model import Estimate, t_estimate
from branchwise.analysis.statistics.spread import FloatArray

MIN_STUDIES = 3  # for a mean and its prediction for a further data set
GRID = 100  # values of tau^2 among which the highest likelihood is searched for first
TOO_FEW = "two data sets say nothing about a third"


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """An effect over k data sets.

    Attributes:
        mean: Of the distribution of effects, with Hartung and Knapp's interval.
        se: Its plain standard error.
        low: Of the prediction interval for the effect in a further data set.
        high: Of the same.
        tau2: Variance between data sets.
        i2: Share of the total variance that is between data sets, in 0 to 1.
        q: Cochran's Q.
        q_p: Its p-value by chi-square with k - 1 degrees of freedom.
        k: Data sets with an effect and its standard error.
        reason: Why the mean is missing.
    """

    mean: Estimate = field(default_factory=Estimate)
    se: float = nan
    low: float = nan
    high: float = nan
    tau2: float = nan
    i2: float = nan
    q: float = nan
    q_p: float = nan
    k: int
    reason: str = ""


def random_effects(effects: Sequence[float], errors: Sequence[float], alpha: float = ALPHA) -> RandomEffects:
    """Combine an effect over data sets.

    Args:
        effects: In each data set; NaN where it is unknown.
        errors: Their standard errors; NaN if unknown.
        alpha: Intervals are at 1 - alpha.

    Returns:
        The mean and what belongs to it; without them, and with the reason, for fewer than three data sets.

    Example:
        >>> found = random_effects([0.30, 0.10, 0.35, 0.65], [0.05, 0.06, 0.05, 0.04])
        >>> round(found.mean.value, 3), round(found.tau2, 3)
        (0.353, 0.049)
    """
    pairs = [(y, se) for y, se in zip(effects, errors, strict=True) if not isnan(y) and se > 0]
    k = len(pairs)
    if k < MIN_STUDIES:
        reason = TOO_FEW if k == 2 else "an effect with a standard error is known in one data set" if k else "not known"
        return RandomEffects(k=k, reason=reason)
    y, variances = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]) ** 2
    unit = float(np.abs(y - y.mean()).max()) or float(np.sqrt(variances.max()))
    shift = float(y.mean())
    scaled, parts = (y - shift) / unit, variances / unit**2  # so that no square over- or underflows
    tau2 = _reml(scaled, parts)
    weights = 1 / (parts + tau2)
    mean = float(weights @ scaled / weights.sum())
    se = sqrt(1 / float(weights.sum()))
    spread = float(weights @ (scaled - mean) ** 2) / (k - 1)
    half = float(stdtrit(k - 2, 1 - alpha / 2)) * sqrt(tau2 + spread * se**2)
    fixed = 1 / parts
    q = float(fixed @ (scaled - fixed @ scaled / fixed.sum()) ** 2)
    typical = (k - 1) * float(fixed.sum()) / (float(fixed.sum()) ** 2 - float((fixed**2).sum()))
    return RandomEffects(
        mean=t_estimate(shift + unit * mean, unit * se * sqrt(spread), k - 1, 1 - alpha),
        se=unit * se, low=shift + unit * (mean - half), high=shift + unit * (mean + half), tau2=tau2 * unit**2,
        i2=tau2 / (tau2 + typical), q=q, q_p=float(chdtrc(k - 1, q)), k=k,
    )  # fmt: skip


def _reml(y: FloatArray, variances: FloatArray) -> float:
    """The tau^2 >= 0 at which the restricted likelihood is highest."""
    top = 10 * float(((y - y.mean()) ** 2).sum())
    grid = np.concatenate([[0.0], np.geomspace(top * 1e-8, top, GRID)]) if top > 0 else np.zeros(1)
    best = int(np.argmax(_likelihoods(grid, y, variances)))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if not _score(low, y, variances) > 0 > _score(high, y, variances):
        return float(grid[best])
    return float(brentq(_score, low, high, args=(y, variances), xtol=1e-15, rtol=1e-14))


def _likelihoods(grid: FloatArray, y: FloatArray, variances: FloatArray) -> FloatArray:
    """The restricted log-likelihood at each tau^2 of a grid, without its constant."""
    weights = 1 / (variances + grid[:, None])
    total = weights.sum(1)
    means = weights @ y / total
    squares = (weights * (y - means[:, None]) ** 2).sum(1)
    return np.asarray((np.log(weights).sum(1) - np.log(total) - squares) / 2)


def _score(tau2: float, y: FloatArray, variances: FloatArray) -> float:
    """Its derivative."""
    weights = 1 / (variances + tau2)
    mean = float(weights @ y / weights.sum())
    return float(-weights.sum() + (weights**2).sum() / weights.sum() + weights**2 @ (y - mean) ** 2) / 2
