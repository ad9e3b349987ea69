"""Sources of noise: training seed, block, residual, sampling; whether it makes a table weak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import BASE
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.model import TwoWayFit

FEW_BLOCKS = 5
CLEAR = 3.0  # standard errors of the gain, from which a share is reliable


@dataclass(frozen=True, kw_only=True)
class Variance:
    """Standard deviations on a single scale (log: 0.05 is about 5% of the distance).

    Attributes:
        residual: Within blocks, what each interval rests on.
        block: Between blocks, which the design removes.
        total: A cell over seeds, pooled over the cells where seeds are not shared.
        sampling: Of one value (the mean of its repeats) when only the sampling seed changes.
        training: Total without sampling.
        intra_block: Share of the total variance that blocks carry, possibly negative.

    Each is NaN if not estimable.
    """

    residual: float
    block: float
    total: float
    sampling: float
    training: float
    intra_block: float


def components_of_variance(attribution: Attribution, results: pd.DataFrame) -> Variance:
    """Split the variance by the method of moments.

    Of unbalanced tables by the expected mean square of blocks after cells (Henderson 3).
    """
    fit = attribution.fit
    factorial = results[results["kind"] != "baseline"]
    unit = fit.unit  # variances are in units squared, so that they neither overflow nor vanish
    residual = fit.residual_var
    paired = fit.inference.paired
    block = _block_variance(factorial, attribution) if fit.df > 0 and fit.n_blocks > 1 and paired else nan
    complete = block + residual
    measured: Iterable[Any] = (
        factorial["value_repeats"] if attribution.outcome.name == "value" else []
    )  # no other outcome is sampled
    sampling = sampling_variance(measured, attribution, unit)
    positive = max(block, 0.0) + residual if paired else residual
    return Variance(
        residual=unit * _sqrt(residual) if paired else nan,
        block=unit * _sqrt(max(block, 0.0)),
        total=unit * _sqrt(positive),
        sampling=unit * _sqrt(sampling),
        training=nan if isnan(sampling) else unit * _sqrt(max(positive - sampling, 0.0)),
        intra_block=block / complete if complete > 0 else nan,
    )


def _block_variance(factorial: pd.DataFrame, attribution: Attribution) -> float:
    """Block variance: (SS of blocks after cells - (blocks - 1) * residual) / its coefficient."""
    fit = attribution.fit
    y = attribution.improvement(factorial[attribution.outcome.name].to_numpy(dtype=float)) / fit.unit
    factorial, y = factorial[np.isfinite(y)], y[np.isfinite(y)]
    y = y - y[0]
    cell = pd.Categorical(factorial["cell"]).codes
    block = pd.Categorical(factorial["block"]).codes
    table = np.zeros((cell.max() + 1, block.max() + 1))
    np.add.at(table, (cell, block), 1.0)
    cell_means = np.bincount(cell, y) / table.sum(1)
    within_cells = float(((y - cell_means[cell]) ** 2).sum())
    sum_of_squares = within_cells - fit.residual_var * fit.df
    freedom = fit.n - len(table) - fit.df
    coefficient = fit.n - float((table**2 / table.sum(1, keepdims=True)).sum())
    return (sum_of_squares - freedom * fit.residual_var) / coefficient if coefficient > 0 else nan


def sampling_variance(repeats: Iterable[Any], attribution: Attribution, unit: float = 1.0) -> float:
    """Return the sampling variance of an arm's mean over repeats, in units squared.

    It is the pooled variance over sampling repeats, divided by their number: of the mean that the
    table shows.
    """
    sums, freedom, per_arm = 0.0, 0, []
    for values in repeats:
        if values is None or np.ndim(values) != 1 or len(values) < 2:
            continue
        y = attribution.improvement(np.asarray(values, dtype=float)) / unit
        if np.isfinite(y).all():
            sums += float(((y - y[0] - (y - y[0]).mean()) ** 2).sum())
            freedom += len(y) - 1
            per_arm.append(len(y))
    return sums / freedom / float(np.mean(per_arm)) if freedom else nan


def _sqrt(variance: float) -> float:
    return nan if isnan(variance) else sqrt(variance)


def variance_notes(attribution: Attribution, variance: Variance, cells_with_failures: Sequence[str]) -> tuple[str, ...]:
    """Return notes on what makes the table weak; empty without any."""
    sentences = []
    fit: TwoWayFit = attribution.fit
    if not fit.inference.paired:
        if fit.n_blocks < FEW_BLOCKS:
            sentences.append(
                f"A cell has only {fit.n_blocks} runs: Welch's intervals are wide, and approximate where runs scatter "
                "unequally. Five runs of each cell would do much better."
            )
    elif len(fit.cells) > 1 and fit.df < 1:
        sentences.append("No interval can be given: this takes at least two blocks with the same cells.")
    elif 1 < fit.n_blocks < FEW_BLOCKS:
        sentences.append(
            f"Only {fit.n_blocks} blocks: intervals have {fit.n_blocks - 1} degree{'s' if fit.n_blocks > 2 else ''} of "
            "freedom and are wide. Five blocks would do much better."
        )
    if variance.sampling > sqrt(0.5) * variance.total:
        sentences.append(
            "Sampling noise is more than half of the variance between seeds: evaluate more samples or more repeats "
            "before training more seeds."
        )
    if variance.intra_block < -0.1:
        sentences.append(
            f"The intra-block correlation is {variance.intra_block:.2f}: arms of a block differ more than arms of "
            "different blocks, so sharing seeds within a block did not help here."
        )
    if cells_with_failures:
        sentences.append(
            f"Arms failed in {', '.join(cells_with_failures)}. If they failed because they trained badly, "
            "the means of these cells look better than they are; the report shows the effects with bad values in their "
            "place, too."
        )
    gain = attribution.gains.get(BASE)
    if gain and gain.has_interval and gain.high < 0:
        sentences.append("The full method is clearly worse than base, so there is no gain to share.")
    elif gain and gain.has_interval and not gain.low > 0:
        sentences.append("The total gain over base is not clear of zero, so no share of it is given.")
    elif gain and gain.has_interval and gain.value < CLEAR * gain.se:
        sentences.append(
            f"The total gain is only {gain.value / gain.se:.1f} standard errors. Shares are shown because it came out "
            f"clear of zero; of shares so selected fewer than {fit.inference.percent} of intervals hold, and values "
            "lean to an even split."
        )
    return tuple(sentences)
