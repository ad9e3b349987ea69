"""Curves of what was remeasured, along each setting that was varied."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

from matplotlib.axes import Axes

from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import INK, SINGLE_COLUMN, TWO_COLUMNS, Plot, log_y, new_grid, render
from branchwise.analysis.report.plots.palette import cell_line, cell_title, in_groups
from branchwise.analysis.statistics.remeasured.curves import Axis, Curve
from branchwise.analysis.statistics.remeasured.effects import Remeasured

MAX_CURVES = 4  # rows of panels


def measure_plots(measured: Remeasured) -> list[Plot]:
    """A plot for each setting that was varied."""
    return [_plot(axis, measured.run) for axis in measured.axes]


def _plot(axis: Axis, run: Run) -> Plot:
    """A row of panels for each combination of the other settings, a few cells in each."""
    longest = sorted(axis.curves, key=lambda curve: -len(curve.x))[:MAX_CURVES]
    curves = [curve for curve in axis.curves if curve in longest]
    measured = (
        cell for curve in curves for cell, points in curve.cells.items() if any(p.has_value for p in points.values())
    )
    groups = in_groups(run, list(dict.fromkeys(measured)))
    width = TWO_COLUMNS if len(groups) > 1 else SINGLE_COLUMN
    figure, panels = new_grid(width, 1.1 + 1.7 * len(curves), len(curves), len(groups), sharex=True, sharey="row")
    for curve, line in zip(curves, panels, strict=True):
        lowest = min(_panel(axes, curve, group, run) for axes, group in zip(line, groups, strict=True))
        if lowest > 0:
            log_y(line[0])
        line[0].set_ylabel(f"{curve.metric} ({curve.better} is better)", fontsize=7)
        line[0].set_title(curve.others, fontsize=7.5)
    for axes in panels[-1]:
        axes.set_xlabel(axis.name)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=6.5)
    message = (
        f"{curves[0].metric} against {axis.name}: means over blocks with {run.inference.percent} intervals, a line for "
        "each cell."
    )
    return render(figure, f"measured_{axis.name}", f"Distance against {axis.name}", message)


def _panel(axes: Axes, curve: Curve, group: Sequence[str], run: Run) -> float:
    """Draw the cells of a group; return the lowest value drawn."""
    lowest = [inf]
    for cell in group:
        points = {x: p for x, p in curve.cells.get(cell, {}).items() if p.has_value}
        if not points:
            continue
        values = [p.value for p in points.values()]
        line_style = cell_line(run, cell)
        axes.plot(list(points), values, label=cell_title(run, cell), markersize=3, linewidth=1.2, **line_style)
        for x, point in points.items():
            if point.has_interval:
                low = max(point.low, 0.02 * point.value) if point.value > 0 else point.low
                axes.plot([x, x], [low, point.high], color=line_style["color"], linewidth=0.8, alpha=0.5)
        lowest += values
    teacher = {x: value for x, value in curve.teacher.items() if not isnan(value)}
    if teacher:
        axes.plot(list(teacher), list(teacher.values()), label="teacher", color=INK, linewidth=1.2, linestyle=":")
        lowest += teacher.values()
    return min(lowest)
