"""The effect of each component on an outcome: contrasts of the fitted model.

Each interval is by block, for the mean over seeds; `pooled` is a diagnostic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared import contrasts
from branchwise.analysis.declared.cells import BASE, DEFAULTS, FULL
from branchwise.analysis.declared.contrasts import Quantity, has_factorial, headline_effect, over_cells
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.inference import DEFAULT, Inference
from branchwise.analysis.declared.outcomes import FloatArray, Outcome
from branchwise.analysis.declared.scales import Resolution
from branchwise.analysis.statistics.levels import LevelRow, averaged, level_rows
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast, fit_two_way, holm, ratio
from branchwise.analysis.statistics.screening import FractionRow, fraction_rows, ranked_only
from branchwise.run_files.columns import Scale

Weights = Mapping[str, float]
GAIN = {FULL: 1.0, BASE: -1.0}
MAX_SURVIVORS = 5  # of a screening


@dataclass(frozen=True, kw_only=True)
class ComponentRow:
    """Effects of a component; each Estimate is positive where it makes the outcome better."""

    component: str
    shapley: Estimate
    share: Estimate
    leave_one_out: Estimate
    add_one_in: Estimate
    main_effect: Estimate
    pooled: Estimate  # the tested effect with the pooled residual's interval
    pooled_share: Estimate
    tested: Quantity | None  # the effect that is tested against zero; None where the design can estimate none
    p_holm: float = nan  # of that effect
    weights: Weights  # of the Shapley value, by cell
    tested_weights: Weights

    @property
    def effect(self) -> Estimate:
        """The tested effect. If none is tested, the Shapley value, which is then unknown."""
        result: Estimate = getattr(self, self.tested or "shapley")
        return result

    def hypothesis(self, outcome: str = "") -> str:
        """The tested effect by name: `anchor.shapley`; of a further outcome `anchor.shapley(rho)`."""
        return f"{self.component}.{self.tested or 'shapley'}{f'({outcome})' if outcome else ''}"

    def with_p(self, p: float) -> ComponentRow:
        """The row with another p-value of the effect that is tested."""
        changes: dict[str, Any] = {self.tested or "shapley": replace(self.effect, p=p)}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Interaction:
    members: tuple[str, ...]
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Attribution of an outcome on a scale.

    gains: v(full) - v(other) by name of the other (base and each baseline). levels: of the factors
    that are more than on or off. v: the outcome on the scale, more being better.
    """

    outcome: Outcome
    scale: Scale
    fit: TwoWayFit
    rows: tuple[ComponentRow, ...]
    interactions: tuple[Interaction, ...]
    gains: Mapping[str, Estimate]
    relative: Mapping[str, Estimate]  # v(cell) - v(reference) by cell, reference: base, else full, else own
    reference: str
    levels: tuple[LevelRow, ...] = ()
    fraction: tuple[FractionRow, ...] = ()  # each contrast of a fraction; empty for other designs

    def improvement(self, values: FloatArray) -> FloatArray:
        """v of these values."""
        return self.outcome.improvement(values, self.scale)


@dataclass(frozen=True, kw_only=True)
class _Observed:
    """An outcome on a scale, by row of the results: y, and the resolution of its measurement."""

    y: pd.Series
    magnitude: pd.Series  # what the rounding of y is relative to
    steps: pd.Series
    resolution: str


def _observed(
    results: pd.DataFrame, outcome: Outcome, scale: Scale, grid: Resolution | None
) -> tuple[pd.DataFrame, _Observed]:
    """The rows that have a value on the scale, and those values."""
    values = results[outcome.name].to_numpy(dtype=float)
    y = outcome.improvement(values, scale)
    finite = np.isfinite(y)
    results, values, y = results[finite], values[finite], y[finite]
    slope = outcome.slope(values, scale)
    with np.errstate(all="ignore"):
        magnitude = np.fmax(np.abs(y), np.abs(values) * slope)
    columns = (y, magnitude, slope * grid.step if grid else np.zeros(len(y)))
    series = [pd.Series(column, index=results.index) for column in columns]
    text = grid.text if grid else ""
    return results, _Observed(y=series[0], magnitude=series[1], steps=series[2], resolution=text)


def analyze_scale(
    results: pd.DataFrame,
    grid: Grid,
    outcome: Outcome,
    scale: Scale | None = None,
    grid_step: Resolution | None = None,
    inference: Inference = DEFAULT,
) -> Attribution:
    """Fit the factorial cells of `results` and estimate each contrast.

    Baselines never enter the fit of the components: each joins a separate fit for its comparison
    with `full`, so that a baseline with another variance cannot widen or narrow what is reported
    for the components.

    Args:
        results: A row per arm, with columns cell, block, kind and the outcome's. Arms without the
            outcome are omitted.
        grid: The cells that were planned.
        outcome: The column that effects are estimated on.
        scale: The outcome's unless given.
        grid_step: The resolution of the outcome's measurement.
        inference: How effects are tested.
    """
    scale = scale or outcome.scale
    results, observed = _observed(results, outcome, scale, grid_step)
    factorial = results["kind"] != "baseline"
    fit = _fit(results[factorial], observed, inference)
    components = grid.components
    rows = _with_holm([_component_row(fit, grid, i) for i in range(len(components))])
    gains = {BASE: contrast(fit, GAIN)} if components else {}
    reference = next((cell for cell in (BASE, FULL, DEFAULTS, *fit.cells) if cell in fit.cells), BASE)
    relative = {cell: contrast(fit, {cell: 1.0, reference: -1.0}) for cell in fit.cells if cell != reference}
    for name in dict.fromkeys(results.loc[~factorial, "cell"]):
        joined = factorial | (results["cell"] == name)
        with_baseline = _fit(results[joined], observed, inference)
        gains[name] = contrast(with_baseline, {FULL: 1.0, name: -1.0})
        relative[name] = contrast(with_baseline, {name: 1.0, reference: -1.0})
    return Attribution(
        outcome=outcome, scale=scale, fit=fit, rows=rows, interactions=_interactions(fit, grid),
        gains=gains, relative=relative, reference=reference, fraction=fraction_rows(fit, grid),
        levels=() if grid.is_fraction else level_rows(fit, grid),
    )  # fmt: skip


def with_worst_values(results: pd.DataFrame, failed_arms: pd.DataFrame, attribution: Attribution) -> pd.DataFrame:
    """Return the results with a value for each failed arm, as bad as the worst arm.

    The value is as bad for its cell and block. failed_arms: a row per arm, with its cell and block; an arm
    without a result gets no value.
    """
    column = attribution.outcome.name
    finite = np.isfinite(attribution.improvement(results[column].to_numpy(dtype=float)))
    fit, factorial = attribution.fit, results[(results["kind"] != "baseline") & finite]
    if factorial.empty:
        return results
    means = dict(zip(fit.cells, fit.means, strict=True))
    if fit.inference.paired:
        shifts = dict(zip(dict.fromkeys(factorial["block"]), fit.block_effects - fit.block_effects.mean(), strict=True))
    else:
        shifts = dict.fromkeys((*results["block"], *failed_arms["block"]), 0.0)
    fitted = factorial["cell"].map(means) + factorial["block"].map(shifts)
    worst = float((attribution.improvement(factorial[column].to_numpy(dtype=float)) - fitted).min())
    for name, rows in results[(results["kind"] == "baseline") & finite].groupby("cell"):
        values = attribution.improvement(rows[column].to_numpy(dtype=float))
        means[str(name)] = float(np.mean(values - rows["block"].map(shifts).fillna(0.0).to_numpy()))
    placed = failed_arms[failed_arms["cell"].isin(means) & failed_arms["block"].isin(shifts)]
    if placed.empty:
        return results
    guess = placed["cell"].map(means) + placed["block"].map(shifts) + worst
    filled = [attribution.outcome.value(v, attribution.scale) for v in guess]
    return pd.concat([results, placed.assign(**{column: filled})])


def _fit(rows: pd.DataFrame, observed: _Observed, inference: Inference) -> TwoWayFit:
    y, magnitude, steps = (column[rows.index].to_numpy() for column in (observed.y, observed.magnitude, observed.steps))
    return fit_two_way(
        rows["cell"].tolist(), rows["block"].tolist(), y, float(magnitude.max(initial=0.0)), steps,
        observed.resolution, inference,
    )  # fmt: skip


def _component_row(fit: TwoWayFit, grid: Grid, i: int) -> ComponentRow:
    name, k = grid.components[i], len(grid.components)
    weights = over_cells(contrasts.shapley(i, k), grid) if has_factorial(grid) else {}
    tested, tested_weights = headline_effect(grid, i)
    main = averaged(fit, grid.effect(name, grid.factors[i].full))
    pooled = contrast(fit, tested_weights or weights, "pooled") if tested_weights or weights else Estimate()
    return ComponentRow(
        component=name,
        shapley=averaged(fit, weights),
        share=ratio(fit, weights, GAIN) if weights else averaged(fit, {}),
        leave_one_out=contrast(fit, {FULL: 1.0, grid.without(name): -1.0}),
        add_one_in=contrast(fit, {grid.only(name): 1.0, BASE: -1.0}),
        main_effect=ranked_only(main, fit) if grid.is_fraction else main,
        pooled=ranked_only(pooled, fit) if grid.is_fraction else pooled,
        pooled_share=ratio(fit, weights, GAIN, "pooled") if weights else averaged(fit, {}),
        tested=tested,
        weights=weights,
        tested_weights=tested_weights,
    )


def _with_holm(rows: list[ComponentRow]) -> tuple[ComponentRow, ...]:
    adjusted = iter(holm([row.effect.p for row in rows if row.tested]))
    return tuple(replace(row, p_holm=next(adjusted)) if row.tested else row for row in rows)


def _interactions(fit: TwoWayFit, grid: Grid) -> tuple[Interaction, ...]:
    k = len(grid.components) if has_factorial(grid) else 0
    return tuple(
        Interaction(
            members=tuple(grid.components[i] for i in members),
            estimate=contrast(fit, over_cells(contrasts.factorial_effect(members, k), grid)),
        )
        for order in range(2, k + 1)
        for members in combinations(range(k), order)
    )


def survivors(rows: Sequence[ComponentRow], alpha: float) -> list[str]:
    """Return the components that a follow-up continues with, in their order.

    Those with a significant effect after Holm, the five largest at most.
    """
    significant = [row for row in rows if row.p_holm <= alpha]
    largest = sorted(significant, key=lambda row: -abs(row.effect.value))[:MAX_SURVIVORS]
    return [row.component for row in rows if row in largest]
