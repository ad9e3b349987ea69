"""Width of unpaired intervals over that of paired ones, where cells share seeds after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.model import contrast, fit_two_way

MIN_SHARED = 3  # seeds, below which an interval's width is unreliable


def pairing_notes(results: pd.DataFrame, headline: Attribution) -> list[str]:
    """Return notes for a run declared unpaired: what pairing by shared seeds would have given."""
    if headline.fit.inference.paired:
        return []
    notes = ["Runs are compared unpaired, as declared: Welch's t between cell means, not differences within a seed."]
    rows = results[results["kind"] != "baseline"]
    for row in headline.rows:
        notes += _note(row.component, row.tested_weights, rows, headline)
    return notes


def _note(name: str, weights: Mapping[str, float], rows: pd.DataFrame, attribution: Attribution) -> list[str]:
    used = rows[rows["cell"].isin([cell for cell, weight in weights.items() if weight])]
    counts = used.groupby("block")["cell"].nunique()
    shared = counts.index[counts == used["cell"].nunique()]
    if not weights or used["cell"].nunique() < 2 or not len(shared):
        return []
    if len(shared) < MIN_SHARED:
        number = "one seed" if len(shared) == 1 else f"{len(shared)} seeds"
        return [f"{name}: its cells share {number}, too few to say what pairing would give."]
    same = used[used["block"].isin(shared)].sort_values("block", kind="stable")
    y = attribution.improvement(same[attribution.outcome.name].to_numpy(dtype=float))
    widths = []
    for paired in (False, True):
        rules = replace(attribution.fit.inference, paired=paired)
        result = contrast(fit_two_way(same["cell"].tolist(), same["block"].tolist(), y, inference=rules), weights)
        if not result.has_interval:
            return []
        widths.append(result.high - result.low)
    ratio = widths[0] / widths[1]
    advice = "" if ratio > 1 else ": sharing seeds did not help here"
    return [
        f"{name}: on the {len(shared)} seeds that its cells share, its unpaired interval is {ratio:.2g} times as wide "
        f"as the paired one{advice}."
    ]
