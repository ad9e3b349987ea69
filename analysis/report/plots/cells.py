"""Plot of cells: their components, each seed's value, and the change against the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from branchwise.analysis.declared.cells import BASE, FULL, TEACHER
from branchwise.analysis.declared.factors import OFF, ON
from branchwise.analysis.report.figures import GRID, INK, TWO_COLUMNS, Plot, new_figure, render
from branchwise.analysis.report.plots.axes import effect_axis, interval, rows, span, value_axis, zero_line
from branchwise.analysis.report.plots.palette import cell_color, component_title
from branchwise.analysis.report.text import number
from branchwise.analysis.report.wording import natural
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.table import CellRow

MAX_ROWS = 40  # rows of a plot that a reader can still distinguish
MAX_DOTS = 200  # seeds drawn in a row
LETTER = 0.065  # inches of a level's name
FLOOR_COLOR = "#7F7F7F"


def cell_forest(findings: Findings) -> Plot | None:
    """Plot components (left), values of seeds, teacher, real images (middle), changes (right)."""
    attribution = natural(findings)
    cells = [row for row in findings.cells if row.n and row.arms][:MAX_ROWS]
    references = [
        row for row in findings.cells if row.n and not row.arms and (row.mean > 0 or attribution.scale == "identity")
    ]
    if not cells:
        return None
    visible = [*cells, *references]
    components = len(findings.run.components)
    labels = [level for row in cells for level in row.levels or () if level not in (ON, OFF)]
    ratios = [0.15 + max(0.22, LETTER * max(map(len, labels), default=0)) * components, 2.4, 1.9]
    figure, (left, middle, right) = new_figure(
        TWO_COLUMNS, (1.35 if components else 0.6) + 0.24 * len(visible), columns=3, width_ratios=ratios
    )
    _matrix(left, visible, findings)
    _values(middle, cells, references, findings)
    _changes(right, visible, findings)
    for axes in (middle, right):
        axes.set_ylim(len(visible) - 0.45, -0.55)
        axes.set_yticks(range(len(visible)), [])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    reference_text = f", {' and '.join(row.cell for row in references)} (diamonds)" if references else ""
    alt = (
        f"Left: components that are on. Middle: {attribution.outcome.title} of every seed (dots), arithmetic mean (bar)"
        f"{reference_text}. Right: change against {attribution.reference} with {findings.run.inference.percent} "
        f"intervals {findings.run.inference.method}, right being better."
    )
    best = (min if findings.run.primary.better == "lower" else max)(cells, key=lambda row: row.mean)
    return render(figure, "cells", f"The best mean is that of {best.cell}: {number(best.mean)}", alt)


def _matrix(axes: Axes, visible: Sequence[CellRow], findings: Findings) -> None:
    """Dots in a column per component, filled where it is on; names of levels other than on, off."""
    run = findings.run
    for i, row in enumerate(visible):
        for j, level in enumerate(row.levels or ()):
            if level in (ON, OFF):
                axes.plot(j, i, "o", markersize=5, color=INK if level == ON else GRID)
            else:
                axes.text(j, i, level, ha="center", va="center", fontsize=6, color=INK)
    named = [row.cell if row.levels is None or row.cell in (FULL, BASE) else "" for row in visible]
    rows(axes, named)
    axes.set_xticks(range(len(run.components)), [component_title(run, name) for name in run.components],
                    rotation=55, ha="left", rotation_mode="anchor", fontsize=7)  # fmt: skip
    axes.tick_params(axis="x", length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlim(-0.6, max(len(run.components) - 0.4, 0.4))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _values(axes: Axes, cells: Sequence[CellRow], references: Sequence[CellRow], findings: Findings) -> None:
    run, attribution = findings.run, findings.headline
    for i, row in enumerate(cells):
        values = run.results.loc[run.results["cell"] == row.cell, attribution.outcome.name].to_numpy(dtype=float)
        dots = values[:MAX_DOTS]
        axes.plot(dots, np.full(len(dots), i), "o", color=cell_color(run, row.cell), alpha=0.55, markeredgewidth=0)
        axes.plot(row.mean, i, "|", color=INK, markersize=10, markeredgewidth=1.6)
    for i, row in enumerate(references, start=len(cells)):
        tint = cell_color(run, TEACHER) if row.cell == TEACHER else FLOOR_COLOR
        axes.axvline(row.mean, color=tint, linestyle="--" if row.cell == TEACHER else ":", linewidth=1)
        axes.plot(row.mean, i, "D", color=tint)
    value_axis(axes, attribution)
    axes.set_xlabel(f"{attribution.outcome.title} ({attribution.outcome.better} is better)")


def _changes(axes: Axes, visible: Sequence[CellRow], findings: Findings) -> None:
    attribution, run = natural(findings), findings.run
    changes = [(i, row, attribution.relative.get(row.cell, Estimate())) for i, row in enumerate(visible)]
    changes = [(i, row, change) for i, row, change in changes if change.has_value]
    low, high = span(change for *_, change in changes)
    axes.set_xlim(low, high)
    for i, row, change in changes:
        interval(axes, change, i, cell_color(run, row.cell), "s")
    zero_line(axes)
    effect_axis(axes.xaxis, attribution, low, high)
    axes.set_xlabel(f"{axes.get_xlabel()}\nagainst {attribution.reference}")
