"""Effects that a next run of the same design can detect; the gain of more sampling repeats."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np
import pandas as pd

from branchwise.analysis.declared.claims import Claim, further_hypotheses
from branchwise.analysis.declared.fractions import MIN_BLOCKS
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.diagnostics.variance import Variance
from branchwise.analysis.statistics.power import EffectSD, Repeats, Sensitivity, sensitivity, summarize_tests


def sensitivity_of_next(
    run: str, headline: Attribution, claims: Sequence[Claim], data_sets: int = 1
) -> Sensitivity | None:
    """Return the sensitivity of another run of this design.

    Args:
        run: The name of the run that the SD is from.
        headline: The attribution of its primary outcome.
        claims: Its claims, which share the error with the tested effects.
        data_sets: How many the design is repeated on; their hypotheses are one family.

    Returns:
        None where seeds are not shared, effects are not on the log scale, or none is tested.
    """
    inference, blocks = headline.fit.inference, headline.fit.n_blocks
    contrasts = [(row.tested, row.tested_weights) for row in headline.rows if row.tested]
    of_design = summarize_tests(contrasts)
    only_ranks = bool(headline.fraction) and blocks < MIN_BLOCKS
    if not inference.paired or headline.scale != "log" or of_design is None or blocks < 1 or only_ranks:
        return None
    further = further_hypotheses(claims, [row.component for row in headline.rows], contrasts[0][0])
    further += (data_sets - 1) * (len(contrasts) + further)
    return sensitivity(of_design, blocks, effect_sd(run, headline), further, inference.alpha)


def effect_sd(run: str, headline: Attribution) -> EffectSD | None:
    """Return the SD between blocks of tested effects (root mean variance); None if none varies."""
    varying = [row.effect for row in headline.rows if row.effect.se > 0 and row.effect.has_interval]
    if not varying:
        return None
    rms = sqrt(sum(estimate.se**2 for estimate in varying) / len(varying))
    return EffectSD(run=run, sd=rms * sqrt(headline.fit.n_blocks), df=min(item.df for item in varying))


def more_repeats(results: pd.DataFrame, variance: Variance) -> Repeats | None:
    """Return the gain of doubled sampling repeats.

    None unless the sampling noise was measured and the arms record the duration of their evaluation.
    """
    counts = [len(values) for values in results["value_repeats"].dropna() if np.ndim(values) == 1]
    seconds = float(results["eval_seconds"].mean()) if "eval_seconds" in results else nan
    is_estimated = variance.sampling > 0 and variance.residual > 0 and seconds > 0
    if not counts or not is_estimated:
        return None
    part = min(variance.sampling**2 / variance.residual**2, 1.0)
    return Repeats(now=round(float(np.mean(counts))), seconds=seconds, narrower=1 - sqrt(1 - part / 2))
