"""Plots of effects against numbers: doses of a factor's levels, and training steps."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from branchwise.analysis.declared.factors import Factor
from branchwise.analysis.report.figures import INK, MARKERS, TWO_COLUMNS, Plot, color, new_grid, render
from branchwise.analysis.report.plots.axes import effect_axis, interval, span, zero_line
from branchwise.analysis.report.plots.palette import component_title
from branchwise.analysis.report.text import p_is
from branchwise.analysis.report.wording import natural
from branchwise.analysis.statistics.baseline_comparison import Budget
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.levels import TREND, LevelRow

MAX_OUTCOMES = 4  # rows of panels
MAX_CURVES = 5  # in a single panel
ROW, COLUMN = 2.1, 2.6  # inches of a panel


def dose_plots(findings: Findings) -> list[Plot]:
    """The plots that the run has the numbers for."""
    drawn = [level_panels(findings), budget_panels(findings)]
    return [plot for plot in drawn if plot is not None]


def level_panels(findings: Findings) -> Plot | None:
    """A column of panels for each factor with levels, a row for each outcome."""
    factors = [factor for factor in findings.run.grid.factors if not factor.is_switch]
    visible = [natural(findings, i) for i in range(min(len(findings.outcomes), MAX_OUTCOMES))]
    if not factors or not any(row.estimate.has_value for scale in visible for row in scale.levels):
        return None
    figure, panels = new_grid(
        min(0.75 + COLUMN * len(factors), TWO_COLUMNS), 0.2 + ROW * len(visible), len(visible), len(factors)
    )
    for scale, line in zip(visible, panels, strict=True):
        estimated = [row for row in scale.levels if row.estimate.has_value]
        low, high = span(row.estimate for row in estimated)
        for factor, axes in zip(factors, line, strict=True):
            axes.set_ylim(low, high)
            _levels(axes, factor, [row for row in estimated if row.component == factor.name])
            effect_axis(axes.yaxis, scale, low, high)
            axes.set_ylabel(axes.get_ylabel() if axes is line[0] else "", fontsize=7)
            axes.set_xlabel(component_title(findings.run, factor.name) if line is panels[-1] else "")
    alt = (
        "Effect of each level against the reference (open), averaged over the other components, with "
        f"{findings.run.inference.percent} intervals {findings.run.inference.method}; up is better. Dashed: the "
        "least-squares line over the doses."
    )
    return render(figure, "levels", "Levels and doses", alt)


def _levels(axes: Axes, factor: Factor, result: list[LevelRow]) -> None:
    places = factor.doses or tuple(map(float, range(len(factor.levels))))
    at = dict(zip(factor.levels, places, strict=True))
    zero_line(axes, upright=True)
    axes.plot(at[factor.reference], 0, "o", markerfacecolor="none", color=color(0), markersize=5.5)
    effects = {factor.reference: 0.0} | {row.level: row.estimate.value for row in result if row.level != TREND}
    for row in result:
        if row.level != TREND:
            interval(axes, row.estimate, at[row.level], color(0), upright=True)
    trend = next((row for row in result if row.level == TREND), None)
    if trend is not None and len(effects) == len(factor.levels):
        lowest, highest = min(places), max(places)
        middle = float(np.mean(list(effects.values())))
        slope, centre = trend.estimate.value / (highest - lowest), float(np.mean(places))
        ends = np.array([lowest, highest])
        axes.plot(ends, middle + slope * (ends - centre), color=INK, linewidth=1, linestyle="--")
        axes.set_title(f"trend {p_is(trend.p_holm)}", fontsize=7.5, fontweight="normal")
    span_of_places = max(places) - min(places)
    axes.set_xlim(min(places) - 0.1 * span_of_places, max(places) + 0.1 * span_of_places)
    labels = [f"{dose:g}" for dose in factor.doses] or list(factor.levels)
    crowded = sum(map(len, labels)) > 22 or _close(places)
    axes.set_xticks(places, labels, rotation=35 if crowded else 0, ha="right" if crowded else "center",
                    rotation_mode="anchor")  # fmt: skip
    axes.grid(visible=False, axis="x")


def _close(places: tuple[float, ...]) -> bool:
    """Whether two ticks are closer than their labels are wide."""
    ordered = sorted(places)
    gaps = np.diff(ordered)
    return bool(len(gaps)) and float(gaps.min()) < 0.12 * (ordered[-1] - ordered[0])


def budget_panels(findings: Findings) -> Plot | None:
    """Plot each component's effect after multiple training steps: a row of panels per outcome."""
    result = [budget for budget in findings.budgets if len(budget.steps) > 1][:MAX_OUTCOMES]
    components = findings.run.components
    if not result or not components:
        return None
    groups = [components[i : i + MAX_CURVES] for i in range(0, len(components), MAX_CURVES)]
    figure, panels = new_grid(
        min(1.0 + COLUMN * len(groups), TWO_COLUMNS), 0.45 + ROW * len(result), len(result), len(groups)
    )
    for budget, line in zip(result, panels, strict=True):
        estimates = [row.effect for scale in budget.results for row in scale.rows]
        low, high = span(estimates)
        for group, axes in zip(groups, line, strict=True):
            axes.set_ylim(low, high)
            _curves(axes, budget, group, findings)
            effect_axis(axes.yaxis, budget.results[-1], low, high)
            axes.set_ylabel(axes.get_ylabel() if axes is line[0] else "", fontsize=7)
            axes.set_xlabel("training steps" if line is panels[-1] else "")
    handles = [handle for axes in panels[0] for handle in axes.get_legend_handles_labels()[0]]
    labels = [label for axes in panels[0] for label in axes.get_legend_handles_labels()[1]]
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, int(figure.get_figwidth() / 1.7)))
    alt = (
        "Shapley value of each component after several training steps of the same models, with "
        f"{findings.run.inference.percent} intervals {findings.run.inference.method}; up is better."
    )
    return render(figure, "budget_effects", "Worth of each component against training steps", alt)


def _curves(axes: Axes, budget: Budget, group: tuple[str, ...], findings: Findings) -> None:
    components = findings.run.components
    largest = max(budget.steps)
    for name in group:
        i = components.index(name)
        points = [(step, scale.rows[i].effect) for step, scale in zip(budget.steps, budget.results, strict=True)]
        shift = 0.012 * largest * (group.index(name) - (len(group) - 1) / 2)
        available = [(step + shift, estimate) for step, estimate in points if estimate.has_value]
        tint, marker = color(i), MARKERS[i % len(MARKERS)]
        axes.plot([step for step, _ in available], [item.value for _, item in available], color=tint, linewidth=1)
        for j, (step, estimate) in enumerate(available):
            label = component_title(findings.run, name) if j == 0 else ""
            interval(axes, estimate, step, tint, marker, label, upright=True)
    zero_line(axes, upright=True)
    axes.set_xticks(budget.steps, [f"{step:,}" for step in budget.steps])
