"""Shared parts of plots of effects: axes in percent or points, intervals, rows with names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, log
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.report.figures import INK, label_log
from branchwise.analysis.report.text import with_minus
from branchwise.analysis.report.wording import is_rate, percent, verb
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.model import Estimate

# Candidate tick labels (percent better), in order of priority.
PERCENTS = (0, 50, -100, 75, -50, -300, 90, -900, 99, 99.9, 30, -30, 20, -20, 40, 10, -10, 5, -5, 2, -2, 1, -1, 0.5,
            -0.5, 0.2, -0.2, 0.1, -0.1, 60, 80, 15, -15)  # fmt: skip
MAX_LABELS = 6.5  # on an axis of a column's width
WIDEST = 4.0  # times the largest effect: an interval that is longer is cut off, with an arrow
MIN_SPAN = 0.02


def effect_axis(axis: Axis, scale: Attribution, low: float, high: float, subject: str = "") -> None:
    """Label an axis of effects, positive is better, from `low` to `high` on the model's scale."""
    outcome = scale.outcome
    what = f"{subject}{verb(outcome)} {outcome.title} by"
    if scale.scale == "log":
        ticks = percent_ticks(outcome, low, high)
        axis.set_major_locator(FixedLocator([effect for effect, _ in ticks]))
        axis.set_major_formatter(FixedFormatter([label for _, label in ticks]))
        axis.set_label_text(f"{what} (log scale)")
    else:
        factor, unit = (outcome.points or 1.0, " (points)") if is_rate(scale) else (1.0, "")
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: with_minus(f"{factor * value:g}")))
        axis.set_label_text(what + unit)
    axis.set_minor_locator(NullLocator())


def percent_ticks(outcome: Outcome, low: float, high: float) -> list[tuple[float, str]]:
    """Return round percentages as effects on the log scale, with labels that do not overlap."""
    room, sign = (high - low) / MAX_LABELS, 1 if outcome.better == "lower" else -1
    chosen: list[tuple[float, str]] = []
    for percentage in PERCENTS:
        effect = -sign * log(1 - percentage / 100) + 0.0  # no minus sign before zero
        if low <= effect <= high and all(abs(effect - other) >= room for other, _ in chosen):
            chosen.append((effect, with_minus(f"{percent(effect, outcome):.3g}%")))
    return sorted(chosen)


def span(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Return axis limits that show zero, these estimates, and their intervals up to a length."""
    available = [estimate for estimate in estimates if estimate.has_value]
    largest = max((abs(item.value) for item in available), default=0.0)
    reach = max(WIDEST * largest, MIN_SPAN)
    ends = [end for entry in available for end in (entry.value, entry.low, entry.high) if isfinite(end)]
    low, high = max(min([0.0, *ends]), -reach), min(max([0.0, *ends]), reach)
    margin = 0.06 * (high - low or MIN_SPAN)
    return low - margin, high + margin


def interval(
    axes: Axes, estimate: Estimate, at: float, tint: str, marker: str = "o", label: str = "", upright: bool = False
) -> None:
    """Draw an estimate and its interval along x, or `upright` along y; arrows beyond the axis."""
    if not estimate.has_value:
        return
    low, high = axes.get_ylim() if upright else axes.get_xlim()
    if estimate.has_interval:
        ends = [max(estimate.low, low), min(estimate.high, high)]
        _draw(axes, ends, [at, at], upright, color=tint, linewidth=1.5, solid_capstyle="butt")
        for beyond, end, arrows in (
            (estimate.low < low, low, ("<", "v")), (estimate.high > high, high, (">", "^")),
        ):  # fmt: skip
            if beyond:
                _draw(axes, [end], [at], upright, color=tint, marker=arrows[upright], markersize=4, clip_on=False)
    _draw(axes, [estimate.value], [at], upright, color=tint, marker=marker, linestyle="none", label=label or None)


def _draw(axes: Axes, along: Sequence[float], across: Sequence[float], upright: bool, **style: Any) -> None:
    axes.plot(*((across, along) if upright else (along, across)), **style)


def rows(axes: Axes, names: Sequence[str]) -> None:
    """Named rows, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def zero_line(axes: Axes, upright: bool = False) -> None:
    (axes.axhline if upright else axes.axvline)(0, color=INK, linewidth=0.8)


def value_axis(axes: Axes, scale: Attribution) -> None:
    """Set the outcome's axis: logarithmic where the model is, so equal steps are equal ratios."""
    if scale.scale == "log":
        axes.set_xscale("log")
        label_log(axes.xaxis)
