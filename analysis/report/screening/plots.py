"""Plots of a screening: bars of main effects; a half-normal plot, which ranks without tests."""

from __future__ import annotations

from branchwise.analysis.report.figures import COLORS, INK, SINGLE_COLUMN, Plot, new_figure, render
from branchwise.analysis.report.plots.axes import effect_axis, interval, rows, span, zero_line
from branchwise.analysis.report.plots.palette import component_title
from branchwise.analysis.report.wording import effect_text, natural, titled
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.screening import half_normal

MAX_LABELS = 8  # contrasts named in the half-normal plot, the largest first
LABEL_ROOM = 0.04  # of the largest contrast, between two names
HELPS, HARMS = COLORS[0], COLORS[5]
LOOKS = {
    1: ("o", COLORS[0], "main effect"),
    2: ("s", COLORS[1], "sum of interactions"),
    3: ("x", INK, "higher order"),
}


def screening_plots(findings: Findings) -> list[Plot]:
    """The plots of a fraction; none of another design."""
    if not any(row.estimate.has_value for row in findings.headline.fraction):
        return []
    return [main_effect_bars(findings), half_normal_plot(findings)]


def main_effect_bars(findings: Findings) -> Plot:
    """A bar for each main effect, the largest on top, with its interval where the run judges."""
    scale = natural(findings)
    visible = sorted((row for row in scale.rows if row.effect.has_value), key=lambda row: -abs(row.effect.value))
    figure, (axes,) = new_figure(SINGLE_COLUMN, 0.75 + 0.24 * len(visible))
    low, high = span(row.effect for row in visible)
    axes.set_xlim(low, high)
    for i, row in enumerate(visible):
        tint = HELPS if row.effect.value >= 0 else HARMS
        axes.barh(i, row.effect.value, height=0.62, color=tint, alpha=0.35)
        interval(axes, row.effect, i, tint)
    rows(axes, [component_title(findings.run, row.component) for row in visible])
    zero_line(axes)
    effect_axis(axes.xaxis, scale, low, high)
    listed = "; ".join(f"{row.component}: {effect_text(row.effect, scale)}" for row in visible)
    is_testable = any(row.effect.has_interval for row in visible)
    inference = findings.run.inference
    with_intervals = "without intervals: too few blocks, so a ranking only"
    if is_testable:
        with_intervals = f"with {inference.percent} intervals {inference.method}"
    alt = f"Main effects by size, {with_intervals}; right of zero the component helps. {listed}."
    return render(figure, "attribution", "Main effects", alt)


def half_normal_plot(findings: Findings) -> Plot:
    """The size of each contrast against the half-normal quantile of its rank."""
    scale = findings.headline
    points = half_normal(scale.fraction)
    figure, (axes,) = new_figure(SINGLE_COLUMN, 2.9)
    for order, (marker, tint, label) in LOOKS.items():
        of_order = [(abs(row.estimate.value), x) for row, x in points if row.contrast.order == order]
        if of_order:
            sizes, quantiles = zip(*of_order, strict=True)
            axes.plot(quantiles, sizes, marker, color=tint, label=label, linestyle="none", markersize=4)
    above, room = float("inf"), LABEL_ROOM * abs(points[-1][0].estimate.value)
    for row, x in reversed(points[-MAX_LABELS:]):
        if row.contrast.order < 3 and abs(row.estimate.value) <= above - room:
            above = abs(row.estimate.value)
            first = row.contrast.pairs[0] if row.contrast.pairs else (row.contrast.component,)
            name = ":".join(titled(contrast, findings) for contrast in first) + (
                "+..." if len(row.contrast.pairs) > 1 else ""
            )
            axes.annotate(name, (x, abs(row.estimate.value)), xytext=(-5, 0), textcoords="offset points", ha="right",
                          va="center", fontsize=6.5)  # fmt: skip
    axes.set_xlim(left=-0.3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("half-normal quantile")
    unit = scale.outcome.title if scale.scale == "identity" else f"{scale.scale} of {scale.outcome.title}"
    axes.set_ylabel(f"size of the contrast ({unit})", fontsize=7)
    axes.set_title("a ranking, not a test", fontsize=7.5)
    figure.legend(loc="outside lower center", ncols=3, handletextpad=0.1, columnspacing=0.9, fontsize=7)
    alt = (
        "A ranking, not a test: contrasts that do nothing lie on a line from the origin, and those that do something "
        "lie above it. Verdicts are by block, in the table of main effects."
    )
    return render(figure, "half_normal", "Half-normal plot: a ranking", alt)
