"""How a report shows what was measured again: does it hold, which setting is best, and the curves."""

from __future__ import annotations

from math import isnan

from matplotlib.axes import Axes

from branchwise.analysis.report.figures import INK, Plot, line_style, log_y, new_figure, render
from branchwise.analysis.report.tables import DASH, Table, as_reduction, number, with_interval
from branchwise.analysis.statistics.measures import Axis, Curve, Remeasured

MOST_PANELS = 4
MOST_LINES = 12  # cells in one panel


def holds_table(measured: Remeasured) -> Table:
    """Each component's effect and share under every measure, and whether the conclusions agree."""
    log = all(effects.log for effects in measured.effects)
    components = measured.run.components
    show = as_reduction if log else with_interval
    rows = [
        (
            effects.label,
            effects.metric,
            *(text for name in components for text in (show(effects.shapley[name]),
                                                       with_interval(effects.share[name], 100))),
        )
        for effects in measured.effects
    ]  # fmt: skip
    if rows and components:
        rows.append(("agree?", "", *(text for name in components for text in (measured.agreement(name), ""))))
    effect = "lowers the distance by" if log else "Shapley value (raw)"
    return Table(
        title="Does it hold under another measure?",
        columns=("measure", "metric", *(f"{name} {word}" for name in components for word in (effect, "% of the gain"))),
        rows=tuple(rows),
        text_columns=2,
        note="95% intervals by block in brackets, each for itself: exploratory. “Agree?” compares, measure by measure, "
        "whether the interval lies above zero (helps), below (hurts) or holds it, with the sweep's own.",
    )


def best_table(measured: Remeasured) -> Table:
    """By cell, the best value of each setting that was varied, and the distance there."""
    curves = [(axis, curve) for axis in measured.axes for curve in axis.curves]
    cells = dict.fromkeys(cell for _, curve in curves for cell in curve.cells)
    rows = [(cell, *(_best(curve, cell) for _, curve in curves)) for cell in cells]
    return Table(
        title="The best setting of each cell",
        columns=("cell", *(f"best {axis.name}{_given(curve)}" for axis, curve in curves)),
        rows=tuple(row for row in rows if set(row[1:]) != {DASH}) if curves else (),
        note="The measured value with the lowest mean over blocks, and that mean. “edge”: the best was the first or "
        "last that was measured. Chosen for its value, so it flatters.",
    )


def _given(curve: Curve) -> str:
    return f" ({curve.others})" if curve.others else ""


def _best(curve: Curve, cell: str) -> str:
    best = curve.best(cell)
    if best is None:
        return DASH
    x, estimate = best
    edge = ", edge" if x in (curve.x[0], curve.x[-1]) else ""
    return f"{x:g}{edge}: {number(estimate.value)}"


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
