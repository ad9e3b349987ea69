"""What each component is worth for an outcome: contrasts of the fitted model.

Every interval is by block and holds for the next seed; `pooled` stands beside it and holds for the seeds that ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import nan

import pandas as pd

from branchwise.analysis.declared.cells import BASE, FULL, OWN, factorial_cells
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.outcomes import FloatArray, Outcome, ScaleName
from branchwise.analysis.statistics import contrasts
from branchwise.analysis.statistics.levels import LevelRow, averaged, level_rows
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast, fit_two_way, holm, ratio

Weights = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ComponentRow:
    """Worth of one component; every Estimate is positive where the component makes the outcome better."""

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
    """Attribution of one outcome on one scale. gains: v(full) - v(other) by name of the other (base and each baseline).

    levels: of the factors that are more than on or off. v: the outcome on the scale, more being better.
    """

    outcome: Outcome
    scale: ScaleName
    fit: TwoWayFit
    rows: tuple[ComponentRow, ...]
    interactions: tuple[Interaction, ...]
    gains: Mapping[str, Estimate]
    relative: Mapping[str, Estimate]  # v(cell) - v(reference) by cell, the reference being base, else full, else own
    reference: str
    levels: tuple[LevelRow, ...] = ()

    def improvement(self, values: FloatArray) -> FloatArray:
        """v of these values."""
        return self.outcome.improvement(values, self.scale)


def analyse_scale(results: pd.DataFrame, grid: Grid, outcome: Outcome, scale: ScaleName | None = None) -> ScaleResult:
    """Fit the factorial cells of `results` (columns cell, block, kind and the outcome's) and estimate every contrast.

    scale: the outcome's own unless given; arms without the outcome are left out. Baselines never enter the fit of the
    components: each joins a fit of its own for its comparison with `full`, so that a baseline with another spread
    cannot widen or narrow what is said of the components.
    """
    scale = scale or outcome.scale
    results = results[results[outcome.name].notna()]
    y = pd.Series(outcome.improvement(results[outcome.name].to_numpy(dtype=float), scale), index=results.index)
    factorial = results["kind"] != "baseline"
    fit = _fit(results[factorial], y[factorial])
    components = grid.components
    rows = _with_holm([_component_row(fit, grid, i) for i in range(len(components))])
    gains = {BASE: contrast(fit, _named(contrasts.total_gain(len(components)), components))} if components else {}
    reference = next((cell for cell in (BASE, FULL, OWN, *fit.cells) if cell in fit.cells), BASE)
    relative = {cell: contrast(fit, {cell: 1.0, reference: -1.0}) for cell in fit.cells if cell != reference}
    for name in dict.fromkeys(results.loc[~factorial, "cell"]):
        joined = factorial | (results["cell"] == name)
        with_baseline = _fit(results[joined], y[joined])
        gains[name] = contrast(with_baseline, {FULL: 1.0, name: -1.0})
        relative[name] = contrast(with_baseline, {name: 1.0, reference: -1.0})
    return ScaleResult(
        outcome=outcome, scale=scale, fit=fit, rows=rows, interactions=_interactions(fit, components),
        gains=gains, relative=relative, reference=reference, levels=level_rows(fit, grid),
    )  # fmt: skip


def with_worst_in_place(results: pd.DataFrame, lost: pd.DataFrame, scale: ScaleResult) -> pd.DataFrame:
    """The results, and a value for each lost arm: as bad, for its cell and block, as the worst arm was for its own.

    lost: rows with cell and block of factorial cells; one whose cell or block has no result at all gets no value.
    """
    column = scale.outcome.name
    fit, factorial = scale.fit, results[(results["kind"] != "baseline") & results[column].notna()]
    means = dict(zip(fit.cells, fit.means, strict=True))
    shifts = dict(zip(dict.fromkeys(factorial["block"]), fit.block_effects - fit.block_effects.mean(), strict=True))
    fitted = factorial["cell"].map(means) + factorial["block"].map(shifts)
    worst = float((scale.improvement(factorial[column].to_numpy(dtype=float)) - fitted).min())
    placed = lost[lost["cell"].isin(means) & lost["block"].isin(shifts)]
    if placed.empty:
        return results
    guess = placed["cell"].map(means) + placed["block"].map(shifts) + worst
    values = [scale.outcome.value(v, scale.scale) for v in guess]
    return pd.concat([results, placed.assign(**{column: values})])


def _fit(rows: pd.DataFrame, y: pd.Series) -> TwoWayFit:
    return fit_two_way(rows["cell"].tolist(), rows["block"].tolist(), y.to_numpy())


def _named(vector: FloatArray, components: Sequence[str]) -> dict[str, float]:
    return contrasts.by_cell(vector, factorial_cells(components))


def _component_row(fit: TwoWayFit, grid: Grid, i: int) -> ComponentRow:
    components, k = grid.components, len(grid.components)
    weights, gain = _named(contrasts.shapley(i, k), components), _named(contrasts.total_gain(k), components)
    return ComponentRow(
        component=components[i],
        shapley=contrast(fit, weights),
        share=ratio(fit, weights, gain),
        leave_one_out=contrast(fit, _named(contrasts.leave_one_out(i, k), components)),
        add_one_in=contrast(fit, _named(contrasts.add_one_in(i, k), components)),
        main_effect=averaged(fit, grid.effect(components[i], grid.factors[i].full)),
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
