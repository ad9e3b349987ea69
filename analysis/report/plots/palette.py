"""The order, color and name of each cell, the same in all plots of a report."""

from __future__ import annotations

from collections.abc import Collection
from textwrap import fill
from typing import Any

from branchwise.analysis.declared.cells import BASE, FULL, TEACHER
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import COLORS, LINES, MARKERS

FULL_COLOR, TEACHER_COLOR, BASE_COLOR = COLORS[0], COLORS[2], COLORS[6]
MAX_CURVES = 4  # in a panel, next to the full method's
MAX_PANELS = 4  # side by side; cells beyond that are not drawn
CELL_COLORS = ("#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#8C6BB1", "#8C564B")
BASELINE_COLORS = ("#A0522D", "#7A7A00", "#4D4D8F", "#B0307A")


def in_order(run: Run) -> list[str]:
    """Cells, then baselines, in the order of the table."""
    return list(dict.fromkeys((*run.cells, *run.outline.baselines)))


def in_groups(run: Run, present: Collection[str]) -> list[list[str]]:
    """Group cells, a few per panel: table order, then baselines; all together if they are few."""
    order = list(dict.fromkeys(cell for cell in (*in_order(run), *present) if cell in present))
    if len(order) <= MAX_CURVES + 1:
        return [order]
    parts = [[cell for cell in order if (cell in run.outline.baselines) == baseline] for baseline in (False, True)]
    return [part[i : i + MAX_CURVES] for part in parts for i in range(0, len(part), MAX_CURVES)][:MAX_PANELS]


def cell_color(run: Run, cell: str) -> str:
    role_colors = {FULL: FULL_COLOR, BASE: BASE_COLOR, TEACHER: TEACHER_COLOR}
    if cell in role_colors:
        return role_colors[cell]
    if cell in run.outline.baselines:
        return BASELINE_COLORS[run.outline.baselines.index(cell) % len(BASELINE_COLORS)]
    return CELL_COLORS[_position(run, cell) % len(CELL_COLORS)]


def cell_line(run: Run, cell: str) -> dict[str, Any]:
    """Return color, dash and marker of a cell's line; dashed: baselines and repeated colors."""
    baseline = cell in run.outline.baselines
    at = run.outline.baselines.index(cell) if baseline else _position(run, cell)
    repeated = 1 if baseline else at // len(CELL_COLORS)
    marker = {FULL: "o", BASE: "s"}.get(cell) or MARKERS[2 + at % (len(MARKERS) - 2)]
    return {"color": cell_color(run, cell), "linestyle": LINES[repeated % len(LINES)], "marker": marker}


def cell_title(run: Run, cell: str, width: int = 30) -> str:
    """Return a cell's label in a legend: components that are on, in lines of `width` letters."""
    levels = run.outline.levels(cell)
    if levels is None or cell in (FULL, BASE):
        return cell
    parts = []
    for factor in run.grid.factors:
        level = levels[factor.name]
        if level != factor.reference:
            parts.append(factor.title if factor.is_switch else f"{factor.title}: {level}")
    return fill(" + ".join(parts), width, break_long_words=False) or cell


def component_title(run: Run, component: str, width: int = 20) -> str:
    """Return a component's label in lines of `width` letters; names break after underscores."""
    title = run.grid.factor(component).title
    if " " in title or len(title) <= width:
        return fill(title, width, break_long_words=False)
    return fill(title.replace("_", "_ "), width, break_long_words=False).replace("_ ", "_")


def _position(run: Run, cell: str) -> int:
    others = [item for item in run.cells if item not in (FULL, BASE)]
    return others.index(cell) if cell in others else 0
