"""Curves of what was measured again, along each setting that was varied."""

from __future__ import annotations

from math import isnan

from matplotlib.axes import Axes

from branchwise.analysis.report.figures import INK, Plot, line_style, log_y, new_figure, render
from branchwise.analysis.statistics.measures.curves import Axis, Curve
from branchwise.analysis.statistics.measures.effects import Remeasured

MOST_PANELS = 4
MOST_LINES = 12  # cells in one panel


def measure_plots(measured: Remeasured) -> list[Plot]:
    """A plot for each setting that was varied."""
    return [_plot(axis) for axis in measured.axes]


def _plot(axis: Axis) -> Plot:
    curves = sorted(axis.curves, key=lambda curve: -len(curve.x))[:MOST_PANELS]
    curves = [curve for curve in axis.curves if curve in curves]
    figure, drawn = new_figure(max(6.4, 4.4 * len(curves)), 4.1, columns=len(curves))
    for axes, curve in zip(drawn, curves, strict=True):
        _panel(axes, curve)
        axes.set_xlabel(axis.name)
        axes.set_title(curve.others, fontsize=9)
    handles, labels = drawn[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), fontsize=8)
    told = f"{curves[0].metric} against {axis.name}: means over blocks with 95% intervals, a line for each cell."
    return render(figure, f"measured_{axis.name}", f"Distance against {axis.name}", told)


def _panel(axes: Axes, curve: Curve) -> None:
    lowest = []
    shown = [cell for cell, points in curve.cells.items() if any(p.known for p in points.values())][:MOST_LINES]
    for i, cell in enumerate(shown):
        points = {x: p for x, p in curve.cells[cell].items() if p.known}
        values = [p.value for p in points.values()]
        axes.plot(list(points), values, label=cell, markersize=3.5, linewidth=1.4, **line_style(i))
        for x, point in points.items():
            if point.has_interval:
                low = max(point.low, 0.02 * point.value) if point.value > 0 else point.low
                axes.plot([x, x], [low, point.high], color=line_style(i)["color"], linewidth=0.8, alpha=0.5)
        lowest += values
    teacher = {x: value for x, value in curve.teacher.items() if not isnan(value)}
    if teacher:
        axes.plot(list(teacher), list(teacher.values()), label="teacher", color=INK, linewidth=1.2, linestyle=":")
        lowest += teacher.values()
    axes.set_ylabel(f"{curve.metric} (lower is better)")
    if lowest and min(lowest) > 0:
        log_y(axes)
