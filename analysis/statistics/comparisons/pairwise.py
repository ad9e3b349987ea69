"""Comparison of two samples: within shared seeds, or by Welch's t where that is declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import nan

import numpy as np

from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.declared.scales import placed, resolution
from branchwise.analysis.statistics.model import Estimate, contrast, fit_two_way, holm, mean_and_sd

Sample = Mapping[str, float]  # the value of each seed


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second sample minus the first.

    Attributes:
        name: What is compared, such as a cell that both runs have.
        first: Mean and SD of the first sample.
        second: The same of the second.
        runs: Runs of each.
        seeds: Seeds that both have.
        outcome: The metric, on the scale of the test.
        estimate: On that scale; raw values, log ratios or log odds.
        raw: In the metric's unit.
        p_holm: Adjusted over all differences of a comparison.
        ratio: Ratio of the widths of unpaired and paired interval on the shared seeds; NaN if unknown.
        note: On values that the scale cannot take.
    """

    name: str
    first: tuple[float, float]
    second: tuple[float, float]
    runs: tuple[int, int]
    seeds: int
    outcome: Outcome
    estimate: Estimate
    raw: Estimate
    p_holm: float = nan
    ratio: float = nan
    note: str = field(default="", compare=False)


def difference(name: str, first: Sample, second: Sample, outcome: Outcome, rules: Inference) -> Difference:
    """Compare two samples on the scale of their outcome.

    Args:
        name: What is compared.
        first: The value of each seed.
        second: The same of the other sample.
        outcome: The metric and its scale; its direction plays no part.
        rules: Whether seeds pair the samples, and the level of intervals.
    """
    shared = [seed for seed in first if seed in second]
    stored = (shared, shared) if rules.paired else (list(first), list(second))
    values = np.array([*(first[seed] for seed in stored[0]), *(second[seed] for seed in stored[1])])
    upwards, note = placed(replace(outcome, better="higher"), values, [*stored[0], *stored[1]])
    ratio = _ratio(first, second, shared, upwards, rules) if not rules.paired else nan
    return Difference(
        name=name, first=mean_and_sd(list(first.values())), second=mean_and_sd(list(second.values())),
        runs=(len(first), len(second)), seeds=len(shared), outcome=upwards,
        estimate=_estimate(first, second, stored, upwards, rules),
        raw=_estimate(first, second, stored, replace(upwards, scale="identity"), rules), ratio=ratio, note=note,
    )  # fmt: skip


def adjusted(differences: list[Difference]) -> list[Difference]:
    """The differences with p-values that allow for their number (Holm)."""
    p_values = holm([item.estimate.p for item in differences])
    return [replace(entry, p_holm=p) for entry, p in zip(differences, p_values, strict=True)]


def _estimate(
    first: Sample, second: Sample, stored: tuple[list[str], list[str]], outcome: Outcome, rules: Inference
) -> Estimate:
    seeds = [*stored[0], *stored[1]]
    values = np.array([*(first[seed] for seed in stored[0]), *(second[seed] for seed in stored[1])])
    if not len(stored[0]) or not len(stored[1]):
        return Estimate(reason="no runs to compare")
    y, slope = outcome.improvement(values, outcome.scale), outcome.slope(values, outcome.scale)
    grid = resolution(outcome, values)
    cells = ["first"] * len(stored[0]) + ["second"] * len(stored[1])
    magnitude = float(np.fmax(np.abs(y), np.abs(values) * slope).max())
    steps = slope * grid.step if grid else None
    fit = fit_two_way(cells, seeds, y, magnitude, steps, grid.text if grid else "", rules)
    return contrast(fit, {"second": 1.0, "first": -1.0})


def _ratio(first: Sample, second: Sample, shared: list[str], outcome: Outcome, rules: Inference) -> float:
    """Ratio of interval widths, unpaired to paired, on the seeds that both have."""
    widths = []
    for paired in (False, True):
        result = _estimate(first, second, (shared, shared), outcome, replace(rules, paired=paired))
        widths.append(result.high - result.low)
    return widths[0] / widths[1] if widths[1] > 0 else nan
