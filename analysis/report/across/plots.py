"""The effects of components on multiple data sets as intervals below each other."""

from __future__ import annotations

from dataclasses import replace

from branchwise.analysis.report.figures import INK, TWO_COLUMNS, Plot, new_figure, render
from branchwise.analysis.report.plots.axes import effect_axis, interval, rows, span, zero_line
from branchwise.analysis.statistics.comparisons.data_sets import Across
from branchwise.analysis.statistics.model import Estimate

COLOR = "#0072B2"


def forest(estimates: Across) -> Plot:
    """Plot each run's effect, the mean and the prediction interval, rows by component."""
    lines: list[tuple[str, Estimate, str, str]] = []
    for name, each in estimates.effects.items():
        lines += [(f"{name}: {run}", e, COLOR, "o") for run, e in zip(estimates.runs, each, strict=True)]
        item = estimates.combined[name]
        if item.mean.has_value:
            lines.append((f"{name}: mean", item.mean, INK, "D"))
            lines.append((f"{name}: next data set", replace(item.mean, low=item.low, high=item.high), "#7F7F7F", "|"))
    figure, (axes,) = new_figure(TWO_COLUMNS, 0.7 + 0.22 * len(lines))
    low, high = span(estimate for _, estimate, _, _ in lines)
    axes.set_xlim(low, high)
    for i, (_, estimate, tint, marker) in enumerate(lines):
        interval(axes, estimate, i, tint, marker)
    rows(axes, [label for label, _, _, _ in lines])
    zero_line(axes)
    effect_axis(axes.xaxis, estimates.scale, low, high)
    alt = (
        f"Effect of each component in each run with {estimates.rules.percent} intervals; diamonds: the mean over data "
        "sets; grey: prediction interval for the next data set. Right of zero the component helps."
    )
    return render(figure, "across", "Effects across data sets", alt)
