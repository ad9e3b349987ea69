"""Plots of the attribution: worth by component, waterfall, cells, interactions."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from branchwise.analysis.declared.cells import BASE, FULL
from branchwise.analysis.report.figures import COLOURS, INK, Plot, colour, new_figure, render
from branchwise.analysis.statistics.attribution import ScaleResult
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

MOST_ROWS = 40  # rows of a plot that a reader can still tell apart
MOST_DOTS = 200  # seeds drawn in one row


def attribution_plots(findings: Findings) -> list[Plot]:
    """The plots that the run has the numbers for."""
    drawn = [attribution_bars(findings), waterfall(findings), cell_forest(findings), interaction_map(findings)]
    return [plot for plot in drawn if plot is not None]


def _unit(scale: ScaleResult) -> str:
    return scale.outcome.title if scale.scale == "raw" else f"{scale.scale} {scale.outcome.title}"


def attribution_bars(findings: Findings) -> Plot | None:
    """Shapley value of each component with its interval; leave-one-out and add-one-in beside it."""
    scale = findings.headline
    rows = [row for row in scale.rows if row.shapley.known or row.leave_one_out.known]
    if not rows:
        return None
    figure, (axes,) = new_figure(7.2, 1.1 + 0.75 * len(rows))
    kinds = (
        ("Shapley value", "shapley", "o"),
        ("leave-one-out", "leave_one_out", "s"),
        ("add-one-in", "add_one_in", "^"),
    )
    for i, (label, name, marker) in enumerate(kinds):
        for j, row in enumerate(rows):
            estimate: Estimate = getattr(row, name)
            if not estimate.known:
                continue
            y = j + (i - 1) * 0.24
            if i == 0:
                axes.barh(y, estimate.value, height=0.22, color=colour(0), alpha=0.35)
            _interval(axes, estimate, y, colour(i), marker, label if j == 0 else "")
    _rows(axes, [row.component for row in rows])
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel(f"better {_unit(scale)} by (right: the component helps)")
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.32 * 2.4 / len(rows)), ncols=3)
    alt = "; ".join(f"{r.component}: {r.shapley.value:.3f}" for r in rows if r.shapley.known)
    return render(figure, "attribution", "Worth of each component", f"Shapley values with 95% intervals. {alt}.")


def _interval(axes: Axes, estimate: Estimate, y: float, tint: str, marker: str, label: str) -> None:
    if estimate.has_interval:
        axes.plot([estimate.low, estimate.high], [y, y], color=tint, linewidth=1.8, solid_capstyle="butt")
    axes.plot(estimate.value, y, marker=marker, color=tint, markersize=5.5, linestyle="none", label=label or None)


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")


def _metric_axis(axes: Axes, scale: ScaleResult) -> None:
    """Log axis with few, plain numbers, so that equal steps are equal ratios as in the model."""
    if scale.scale == "log":
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        linear = high / low < 4
        ticks = MaxNLocator(5).tick_values(low, high) if linear else LogLocator(subs=(1, 2, 5)).tick_values(low, high)
        axes.set_xticks([tick for tick in ticks if low <= tick <= high])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())


def _value(v: float, scale: ScaleResult) -> float:
    return scale.outcome.value(v, scale.scale)


def waterfall(findings: Findings) -> Plot | None:
    """From base to full in the metric's own units; each step is a Shapley value, so their order does not matter."""
    scale = findings.headline
    if not scale.rows or not scale.gains[BASE].known or not all(row.shapley.known for row in scale.rows):
        return None
    v = float(scale.fit.means[scale.fit.cells.index(BASE)])
    names = [BASE, *(row.component for row in scale.rows), FULL]
    figure, (axes,) = new_figure(7.2, 0.9 + 0.42 * len(names))
    axes.plot(_value(v, scale), 0, "o", color=INK, markersize=7, clip_on=False)
    for i, row in enumerate(scale.rows, start=1):
        start, stop = _value(v, scale), _value(v + row.shapley.value, scale)
        tint = colour(0) if row.shapley.value >= 0 else COLOURS[5]
        axes.plot([start, start], [i - 1, i + 0.3], color=INK, linewidth=0.7, linestyle=":")
        axes.barh(i, stop - start, left=start, height=0.55, color=tint)
        axes.annotate(f"{stop - start:+.3g}", (min(start, stop), i), xytext=(-4, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=8.5)  # fmt: skip
        v += row.shapley.value
    last = len(names) - 1
    axes.plot([_value(v, scale)] * 2, [last - 1, last], color=INK, linewidth=0.7, linestyle=":")
    axes.plot(_value(v, scale), last, "o", color=INK, markersize=7, clip_on=False)
    for y, at in (
        (0, _value(float(scale.fit.means[scale.fit.cells.index(BASE)]), scale)),
        (last, _value(v, scale)),
    ):
        axes.annotate(f"{at:.3g}", (at, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5)
    _rows(axes, names)
    axes.use_sticky_edges = False  # bars would stick to the axis and leave their labels no room
    axes.margins(x=0.18)
    _metric_axis(axes, scale)
    axes.set_xlabel(f"{scale.outcome.title} ({scale.outcome.better} is better)")
    alt = "Waterfall of Shapley values from the base cell to the full method; blue lowers it, orange raises it."
    return render(figure, "waterfall", "From base to full", alt)


def cell_forest(findings: Findings) -> Plot | None:
    """Left: every seed's value; right: change against the reference cell with its interval."""
    scale = findings.headline
    cells = [row for row in findings.cells if row.n and row.arms][:MOST_ROWS]
    if not cells:
        return None
    figure, (left, right) = new_figure(8.6, 1.0 + 0.33 * len(cells), columns=2, sharey=True)
    results = findings.run.results
    for i, row in enumerate(cells):
        values = results.loc[results["cell"] == row.cell, scale.outcome.name].to_numpy(dtype=float)
        dots = values[:MOST_DOTS]
        left.plot(dots, np.full(len(dots), i), "o", color=colour(0), alpha=0.45, markersize=4.5)
        left.plot(row.mean, i, "|", color=INK, markersize=13, markeredgewidth=2)
        change = _ratio(
            scale.relative.get(row.cell, Estimate(value=0.0) if row.cell == scale.reference else Estimate()), scale
        )
        if change.known:
            _interval(right, change, i, colour(0) if row.levels is not None else COLOURS[5], "s", "")
    _rows(left, [row.cell for row in cells])
    teacher = next((row.mean for row in findings.cells if row.cell == "teacher"), nan)
    if not isnan(teacher) and (teacher > 0 or scale.scale == "raw"):
        left.axvline(teacher, color=COLOURS[2], linestyle="--", linewidth=1.2)
        left.annotate("teacher", (teacher, -0.5), xytext=(3, 0), textcoords="offset points", fontsize=8, va="bottom")
    _metric_axis(left, scale)
    left.set_xlabel(f"{scale.outcome.title}: seeds (dots), arithmetic mean (bar)")
    right.axvline(1.0 if scale.scale == "log" else 0.0, color=INK, linewidth=0.9)
    _metric_axis(right, scale)
    right.set_xlabel(f"{'ratio to' if scale.scale == 'log' else 'difference from'} {scale.reference}, 95% interval")
    right.grid(visible=False, axis="y")
    alt = f"Value of every seed by cell, and change against {scale.reference} with 95% intervals."
    return render(figure, "cells", "Cells", alt)


def _ratio(estimate: Estimate, scale: ScaleResult) -> Estimate:
    """An improvement as a ratio of values (log) or a difference of them."""
    value, *ends = (_value(v, scale) if scale.scale == "log" else -v if scale.outcome.better == "lower" else v
                    for v in (estimate.value, estimate.low, estimate.high))  # fmt: skip
    return Estimate(value=value, low=min(ends), high=max(ends))


def interaction_map(findings: Findings) -> Plot | None:
    """Main effects on the diagonal, pairwise interactions off it; bold where the unadjusted interval excludes zero."""
    scale = findings.headline
    names = [row.component for row in scale.rows]
    if len(names) < 2 or not all(row.main_effect.known for row in scale.rows):
        return None
    table: dict[tuple[int, int], Estimate] = {(i, i): row.main_effect for i, row in enumerate(scale.rows)}
    for one in scale.interactions:
        if len(one.members) == 2:
            i, j = sorted(names.index(name) for name in one.members)
            table[j, i] = one.estimate
    grid = np.full((len(names), len(names)), nan)
    for at, estimate in table.items():
        grid[at] = estimate.value
    figure, (axes,) = new_figure(2.9 + 0.95 * len(names), 1.5 + 0.75 * len(names))
    most = float(np.nanmax(np.abs(grid))) or 1.0
    image = axes.imshow(grid, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
    for (i, j), estimate in table.items():
        clear = estimate.has_interval and not estimate.low <= 0 <= estimate.high
        shade = "white" if abs(estimate.value) > 0.65 * most else "#111111"
        axes.text(j, i, f"{estimate.value:+.3f}", ha="center", va="center", color=shade,
                  fontweight="bold" if clear else "normal")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=f"better {_unit(scale)} by", shrink=0.9)
    alt = "Diagonal: main effects. Below it: difference of differences of each pair. Bold: 95% interval excludes 0."
    return render(figure, "interactions", "Main effects and pairwise interactions", alt)
