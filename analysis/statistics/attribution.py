"""What each component is worth: contrasts of the fitted model, on the log scale and on the raw one.

Every interval is by block and holds for the next seed; `pooled` stands beside it and holds for the seeds that ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import nan
from typing import Literal

import numpy as np
import pandas as pd

from branchwise.analysis.statistics import contrasts
from branchwise.analysis.statistics.cells import BASE, FULL, OWN, factorial_cells
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast, fit_two_way, holm, ratio

ScaleName = Literal["log", "raw"]
Weights = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ComponentRow:
    """Worth of one component; every Estimate is positive where the component lowers the distance."""

    component: str
    shapley: Estimate
    share: Estimate
    leave_one_out: Estimate
    add_one_in: Estimate
    main_effect: Estimate
    pooled: Estimate  # Shapley value with the pooled residual's interval: of these seeds
    pooled_share: Estimate
    p_holm: float = nan
    pooled_p_holm: float = nan
    weights: Weights  # of the Shapley value, by cell


@dataclass(frozen=True, kw_only=True)
class Interaction:
    members: tuple[str, ...]
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class ScaleResult:
    """Attribution on one scale. gains: v(full) - v(other) by name of the other (base and each baseline)."""

    scale: ScaleName
    fit: TwoWayFit
    rows: tuple[ComponentRow, ...]
    interactions: tuple[Interaction, ...]
    gains: Mapping[str, Estimate]
    relative: Mapping[str, Estimate]  # v(cell) - v(reference) by cell, the reference being base, else full, else own
    reference: str


def improvement(values: contrasts.FloatArray, scale: ScaleName) -> contrasts.FloatArray:
    """v = -log(distance) or -distance: the orientation in which a better student has more. Log needs values > 0."""
    return -np.log(values) if scale == "log" else -values


def analyse_scale(results: pd.DataFrame, components: Sequence[str], scale: ScaleName) -> ScaleResult:
    """Fit the factorial cells of `results` (columns cell, block, kind, value) and estimate every contrast.

    Baselines never enter the fit of the components: each joins a fit of its own for its comparison with `full`, so
    that a baseline with another spread cannot widen or narrow what is said of the components.
    """
    y = pd.Series(improvement(results["value"].to_numpy(dtype=float), scale), index=results.index)
    factorial = results["kind"] != "baseline"
    fit = _fit(results[factorial], y[factorial])
    rows = _with_holm([_component_row(fit, components, i) for i in range(len(components))])
    gains = {BASE: contrast(fit, _named(contrasts.total_gain(len(components)), components))} if components else {}
    reference = next((cell for cell in (BASE, FULL, OWN, *fit.cells) if cell in fit.cells), BASE)
    relative = {cell: contrast(fit, {cell: 1.0, reference: -1.0}) for cell in fit.cells if cell != reference}
    for name in dict.fromkeys(results.loc[~factorial, "cell"]):
        joined = factorial | (results["cell"] == name)
        with_baseline = _fit(results[joined], y[joined])
        gains[name] = contrast(with_baseline, {FULL: 1.0, name: -1.0})
        relative[name] = contrast(with_baseline, {name: 1.0, reference: -1.0})
    return ScaleResult(
        scale=scale, fit=fit, rows=rows, interactions=_interactions(fit, components),
        gains=gains, relative=relative, reference=reference,
    )  # fmt: skip


def with_worst_in_place(results: pd.DataFrame, lost: pd.DataFrame, scale: ScaleResult) -> pd.DataFrame:
    """The results, and a value for each lost arm: as bad, for its cell and block, as the worst arm was for its own.

    lost: rows with cell and block of factorial cells; one whose cell or block has no result at all gets no value.
    """
    fit, factorial = scale.fit, results[results["kind"] != "baseline"]
    means = dict(zip(fit.cells, fit.means, strict=True))
    shifts = dict(zip(dict.fromkeys(factorial["block"]), fit.block_effects - fit.block_effects.mean(), strict=True))
    fitted = factorial["cell"].map(means) + factorial["block"].map(shifts)
    worst = float((improvement(factorial["value"].to_numpy(dtype=float), scale.scale) - fitted).min())
    placed = lost[lost["cell"].isin(means) & lost["block"].isin(shifts)]
    if placed.empty:
        return results
    guess = placed["cell"].map(means) + placed["block"].map(shifts) + worst
    values = np.exp(-guess) if scale.scale == "log" else -guess
    return pd.concat([results, placed.assign(value=values.astype(float))])


def _fit(rows: pd.DataFrame, y: pd.Series) -> TwoWayFit:
    return fit_two_way(rows["cell"].tolist(), rows["block"].tolist(), y.to_numpy())


def _named(vector: contrasts.FloatArray, components: Sequence[str]) -> dict[str, float]:
    return contrasts.by_cell(vector, factorial_cells(components))


def _component_row(fit: TwoWayFit, components: Sequence[str], i: int) -> ComponentRow:
    k = len(components)
    weights, gain = _named(contrasts.shapley(i, k), components), _named(contrasts.total_gain(k), components)
    return ComponentRow(
        component=components[i],
        shapley=contrast(fit, weights),
        share=ratio(fit, weights, gain),
        leave_one_out=contrast(fit, _named(contrasts.leave_one_out(i, k), components)),
        add_one_in=contrast(fit, _named(contrasts.add_one_in(i, k), components)),
        main_effect=contrast(fit, _named(contrasts.factorial_effect([i], k), components)),
        pooled=contrast(fit, weights, "pooled"),
        pooled_share=ratio(fit, weights, gain, "pooled"),
        weights=weights,
    )


def _with_holm(rows: list[ComponentRow]) -> tuple[ComponentRow, ...]:
    adjusted, pooled = holm([row.shapley.p for row in rows]), holm([row.pooled.p for row in rows])
    return tuple(replace(row, p_holm=p, pooled_p_holm=q) for row, p, q in zip(rows, adjusted, pooled, strict=True))


def _interactions(fit: TwoWayFit, components: Sequence[str]) -> tuple[Interaction, ...]:
    k = len(components)
    return tuple(
        Interaction(
            members=tuple(components[i] for i in members),
            estimate=contrast(fit, _named(contrasts.factorial_effect(members, k), components)),
        )
        for order in range(2, k + 1)
        for members in combinations(range(k), order)
    )
