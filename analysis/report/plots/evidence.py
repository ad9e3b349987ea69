"""Plots of side tables, as a trainable declares them: small multiples, few cells in each."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from branchwise.analysis.declared.cells import FULL
from branchwise.analysis.records.folder import read_table
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import GRID, INK, SINGLE_COLUMN, TWO_COLUMNS, Plot, label_log, new_grid, render
from branchwise.analysis.report.plots.palette import cell_line, cell_title, in_groups
from branchwise.run_files.columns import Column, PlotSpec

MAX_POINTS = 20  # of a line with markers
HIDDEN = "#A8A8A8"  # the full method where it exists for comparison


def line_plots(run: Run) -> list[Plot]:
    """The declared lines that the run folder has the data for, in their order."""
    drawn = [draw_lines(run, lines) for lines in run.outline.plots]
    return [plot for plot in drawn if plot is not None]


def draw_lines(run: Run, lines: PlotSpec) -> Plot | None:
    """Plot a side table: a line per cell, the mean over seeds; None where the run has none.

    A row of panels for each column of `y`; a column of panels for a few cells, with the full method in grey.
    """
    table = _table(run, lines)
    visible = [column for column in lines.y if column.name in table and table[column.name].notna().any()]
    if table.empty or not visible:
        return None
    drawn = table[table[[column.name for column in visible]].notna().any(axis=1)]
    groups = in_groups(run, list(drawn["cell"].unique()))
    figure, panels = new_grid(
        min(TWO_COLUMNS, 0.9 + 2.0 * len(groups)) if len(groups) > 1 else SINGLE_COLUMN, 1.0 + 1.65 * len(visible),
        len(visible), len(groups), sharex=True, sharey="row",
    )  # fmt: skip
    for column, row in zip(visible, panels, strict=True):
        for group, axes in zip(groups, row, strict=True):
            _panel(axes, run, table, column, group)
        if (table[column.name].dropna() > 0).all() and column.name not in lines.linear:
            row[0].set_yscale("log")
            label_log(row[0].yaxis)
        row[0].set_ylabel(fill(_label(run, column), 26), fontsize=7)
    if lines.level is not None:
        for axes in panels[0]:
            axes.axhline(lines.level, color=INK, linewidth=0.8)
    for axes in panels[-1]:
        axes.set_xlabel(lines.x_label)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=6.5, handlelength=2.2)
    named = "; ".join(_label(run, column) for column in visible)
    grey = " The full method is repeated in grey." if len(groups) > 1 else ""
    return render(
        figure, lines.name, lines.title,
        f"{named}, by {lines.x_label}: a line for each cell, arithmetic mean over seeds.{grey}",
    )  # fmt: skip


def _table(run: Run, lines: PlotSpec) -> pd.DataFrame:
    """Rows of the arms that count, `x` the mean of the x columns; none if columns are missing."""
    names = [column.name for column in lines.y]
    table = read_table(run.folder, lines.table, ["arm", "cell", *lines.x, *names])
    if any(column not in table for column in ("arm", "cell", *lines.x)):
        return pd.DataFrame()
    table = table[table["arm"].isin(set(run.results["arm"]))]
    return table.assign(x=table[list(lines.x)].mean(axis=1))


def _panel(axes: Axes, run: Run, table: pd.DataFrame, column: Column, group: Sequence[str]) -> None:
    if FULL not in group and FULL in set(table["cell"]):
        mean = _mean(table, FULL, column)
        axes.plot(mean.index, mean, color=HIDDEN, linewidth=2.2, alpha=0.7)
    for cell in group:
        mean = _mean(table, cell, column)
        line_style = cell_line(run, cell)
        if len(mean) > MAX_POINTS:
            line_style["markevery"] = max(1, len(mean) // 6)
        axes.plot(mean.index, mean, label=cell_title(run, cell), markersize=3, linewidth=1.2, **line_style)
    axes.grid(color=GRID)


def _mean(table: pd.DataFrame, cell: str, column: Column) -> pd.Series:
    mean: pd.Series = table[table["cell"] == cell].groupby("x")[column.name].mean()
    return mean


def _label(run: Run, column: Column) -> str:
    """Label of an axis: the metric for the value, else the column's description."""
    if column.name == "value":
        return f"{run.metric} ({run.outline.better('value')} is better)"
    return column.about or column.name.replace("_", " ")
