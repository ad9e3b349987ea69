"""Plots of effects of components: each, base to full, by outcome, interactions, standings."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from branchwise.analysis.declared.cells import BASE, FULL
from branchwise.analysis.report.figures import (
    COLORS,
    INK,
    SINGLE_COLUMN,
    TWO_COLUMNS,
    Plot,
    color,
    new_figure,
    render,
)
from branchwise.analysis.report.plots.axes import effect_axis, interval, rows, span, value_axis, zero_line
from branchwise.analysis.report.plots.palette import FULL_COLOR, cell_color, component_title
from branchwise.analysis.report.text import TIMES, with_minus
from branchwise.analysis.report.wording import conclusion, effect_text, natural
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

HELPS, HARMS = COLORS[0], COLORS[5]
LABEL_INCHES = 0.5  # the width of a number next to a bar
MAX_PANELS = 6  # outcomes in a single plot, the primary first


def attribution_plots(findings: Findings) -> list[Plot]:
    """The plots that the run has the numbers for."""
    bars = None if findings.run.grid.is_fraction else attribution_bars(findings)
    drawn = [bars, waterfall(findings), outcome_panels(findings), standings(findings),
             interactions(findings)]  # fmt: skip
    return [plot for plot in drawn if plot is not None]


def attribution_bars(findings: Findings) -> Plot | None:
    """Plot each component's Shapley value with its interval, leave-one-out and add-one-in."""
    scale = natural(findings)
    estimated = [row for row in scale.rows if row.effect.has_value]
    if not estimated:
        return None
    figure, (axes,) = new_figure(SINGLE_COLUMN, 0.95 + 0.5 * len(estimated))
    kinds = (
        ("Shapley value", "shapley", "o"),
        ("leave-one-out", "leave_one_out", "s"),
        ("add-one-in", "add_one_in", "^"),
    )
    low, high = span(getattr(row, name) for row in estimated for _, name, _ in kinds)
    axes.set_xlim(low, high)
    for i, (label, name, marker) in enumerate(kinds):
        for j, row in enumerate(estimated):
            estimate: Estimate = getattr(row, name)
            if i == 0 and estimate.has_value:
                axes.barh(j - 0.24, estimate.value, height=0.22, color=color(0), alpha=0.3)
            interval(axes, estimate, j + (i - 1) * 0.24, color(i), marker, label if j == 0 else "")
    rows(axes, [component_title(findings.run, row.component) for row in estimated])
    zero_line(axes)
    effect_axis(axes.xaxis, scale, low, high)
    _legend_below(figure, axes)
    message = "; ".join(f"{r.component}: {effect_text(r.effect, scale)}" for r in estimated if r.effect.has_value)
    alt = (
        f"Shapley values, leave-one-out and add-one-in with {findings.run.inference.percent} intervals; right of zero "
        f"the component helps. {message}."
    )
    return render(figure, "attribution", conclusion(findings), alt)


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handletextpad=0.2,
                      columnspacing=1.0)  # fmt: skip


def waterfall(findings: Findings) -> Plot | None:
    """Plot base to full in the outcome's unit, in Shapley values: their order does not matter."""
    scale = findings.headline
    if not scale.rows or not scale.gains[BASE].has_value or not all(row.shapley.has_value for row in scale.rows):
        return None
    v = float(scale.fit.means[scale.fit.cells.index(BASE)])
    names = [BASE, *(component_title(findings.run, row.component) for row in scale.rows), FULL]
    figure, (axes,) = new_figure(SINGLE_COLUMN, 0.55 + 0.3 * len(names))
    steps = [_value(v, scale)]
    for i, row in enumerate(scale.rows, start=1):
        v += row.shapley.value
        start, stop = steps[-1], _value(v, scale)
        steps.append(stop)
        axes.plot([start, start], [i - 1, i + 0.28], color=INK, linewidth=0.6, linestyle=":")
        axes.barh(i, stop - start, left=start, height=0.56, color=HELPS if row.shapley.value >= 0 else HARMS)
    last = len(names) - 1
    axes.plot([steps[-1]] * 2, [last - 1, last], color=INK, linewidth=0.6, linestyle=":")
    for y, at, cell in ((0, steps[0], BASE), (last, steps[-1], FULL)):
        axes.plot(at, y, "o", color=cell_color(findings.run, cell), markersize=5.5, clip_on=False)
    rows(axes, names)
    axes.use_sticky_edges = False  # bars would stick to the axis and leave their labels no room
    axes.margins(x=0.28)
    value_axis(axes, scale)
    for i, row in enumerate(scale.rows, start=1):
        size_text = with_minus(effect_text(Estimate(value=row.shapley.value), scale))
        _step_label(axes, size_text, steps[i - 1], steps[i], i)
    for y, at in ((0, steps[0]), (last, steps[-1])):
        axes.annotate(f"{at:.3g}", (at, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5)
    mean = "geometric mean" if scale.scale == "log" else "mean"
    axes.set_xlabel(f"{mean} of {scale.outcome.title}")
    alt = (
        f"Shapley values as steps from the base cell to the full method, on the {mean} over seeds, "
        f"{scale.outcome.better} being better; blue makes it better, orange worse."
    )
    return render(figure, "waterfall", f"From base to full: {steps[0]:.3g} to {steps[-1]:.3g}", alt)


def _value(v: float, scale: Attribution) -> float:
    return scale.outcome.value(v, scale.scale)


def _step_label(axes: Axes, text: str, start: float, stop: float, y: float) -> None:
    """Next to the bar: on the side with more room, clear of the names."""
    low, high = axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (1, 1)]))[:, 0]
    to_pixels = axes.transData.transform
    padding, right = min(start, stop), max(start, stop)
    room_left = to_pixels((padding, 0))[0] - to_pixels((low, 0))[0]
    room_right = to_pixels((high, 0))[0] - to_pixels((right, 0))[0]
    fits_left = room_left > LABEL_INCHES * axes.figure.dpi
    at, shift, side = (padding, -4, "right") if fits_left and room_left > room_right else (right, 4, "left")
    axes.annotate(text, (at, y), xytext=(shift, 0), textcoords="offset points", ha=side, va="center",
                  fontsize=7.5)  # fmt: skip


def outcome_panels(findings: Findings) -> Plot | None:
    """The attribution of each outcome: a panel each, with its direction and scale."""
    visible = [natural(findings, i) for i in range(min(len(findings.outcomes), MAX_PANELS))]
    if len(visible) < 2 or not any(row.effect.has_value for scale in visible for row in scale.rows):
        return None
    columns = 2 if len(visible) in (2, 4) else 3
    lines = -(-len(visible) // columns)
    names = [component_title(findings.run, name, 14) for name in findings.run.components]
    figure = Figure(figsize=(TWO_COLUMNS, lines * (0.6 + 0.32 * len(names))))
    panels = [figure.add_subplot(lines, columns, i + 1) for i in range(len(visible))]
    for i, (axes, scale) in enumerate(zip(panels, visible, strict=True)):
        low, high = span(row.effect for row in scale.rows)
        axes.set_xlim(low, high)
        for j, row in enumerate(scale.rows):
            interval(axes, row.effect, j, color(0) if i == 0 else INK)
        rows(axes, names if i % columns == 0 else [""] * len(names))
        zero_line(axes)
        effect_axis(axes.xaxis, scale, low, high)
        axes.set_xlabel(axes.get_xlabel(), fontsize=7)
        axes.set_title("primary outcome" if i == 0 else "", fontsize=7.5)
    alt = (
        f"Shapley values with {findings.run.inference.percent} intervals, a panel for each outcome; right of zero the "
        "component makes it better."
    )
    return render(figure, "outcomes", "Worth of each component, by outcome", alt)


def standings(findings: Findings) -> Plot | None:
    """The full method against no component, the baselines and its teacher."""
    scale = findings.headline
    gain = scale.gains.get(BASE, Estimate())
    others = [(item.against, item.role, item.estimate) for item in findings.standings if item.estimate.has_value]
    if not others:
        return None
    result = [(BASE, "every component off", gain), *others] if gain.has_value else others
    figure, (axes,) = new_figure(SINGLE_COLUMN, 0.6 + 0.34 * len(result))
    low, high = span(estimate for *_, estimate in result)
    axes.set_xlim(low, high)
    for i, (against, _, estimate) in enumerate(result):
        interval(axes, estimate, i, cell_color(findings.run, against), "D")
    rows(axes, [f"{against}\n({role})" if role != "a baseline" else against for against, role, _ in result])
    zero_line(axes)
    effect_axis(axes.xaxis, scale, low, high, "full ")
    inference = findings.run.inference
    alt = (
        f"Right of zero the full method is better than the other; {inference.percent} intervals {inference.method}, "
        "unadjusted."
    )
    return render(figure, "standings", "Where the full method stands", alt)


def interactions(findings: Findings) -> Plot | None:
    """Main effects, and by how much combinations exceed the sum of their parts, with intervals."""
    scale, run = natural(findings), findings.run
    if len(scale.rows) < 2 or not scale.interactions or not all(row.main_effect.has_value for row in scale.rows):
        return None
    effects: list[tuple[tuple[str, ...], Estimate]] = [((row.component,), row.main_effect) for row in scale.rows]
    effects += [(item.members, item.estimate) for item in scale.interactions if len(item.members) <= 3]
    figure, (axes,) = new_figure(SINGLE_COLUMN, 0.65 + 0.32 * len(effects))
    low, high = span(estimate for _, estimate in effects)
    axes.set_xlim(low, high)
    for i, (members, estimate) in enumerate(effects):
        interval(axes, estimate, i, FULL_COLOR if len(members) == 1 else INK, "o" if len(members) == 1 else "s")
    rows(axes, [_names(members, findings) for members, _ in effects])
    axes.axhline(len(run.components) - 0.5, color=INK, linewidth=0.5, linestyle=":")
    zero_line(axes)
    effect_axis(axes.xaxis, scale, low, high)
    alt = (
        "Above the line main effects; below it interactions, which are zero where components simply add up"
        f"{' on the log scale' if scale.scale == 'log' else ''}. {findings.run.inference.percent} intervals, "
        "unadjusted."
    )
    return render(figure, "interactions", "Main effects and interactions", alt)


def _names(members: Sequence[str], findings: Findings) -> str:
    return f"{TIMES.rstrip()}\n".join(component_title(findings.run, name, 24) for name in members)
