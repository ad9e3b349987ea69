"""Plots of the evidence behind the values: the side tables, as the trainable wants them drawn, and samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from branchwise.analysis.records.folder import read_table
from branchwise.analysis.records.outline import Column, Lines
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import INK, Plot, line_style, log_y, new_figure, render

MOST_POINTS = 20  # of a line with markers
MOST_LINES = 12  # cells in one plot of lines; the first of the table's order are drawn


def evidence_plots(run: Run) -> list[Plot]:
    """The plots that the run folder has the data for: the declared lines in their order, then samples."""
    drawn = [*(draw_lines(run, lines) for lines in run.outline.lines), sample_grids(run)]
    return [plot for plot in drawn if plot is not None]


def _cells(run: Run, table: pd.DataFrame) -> list[str]:
    order = dict.fromkeys((*run.cells[::-1], *run.baselines, *table["cell"].unique()))
    present = set(table["cell"].unique())
    return [cell for cell in order if cell in present][:MOST_LINES]


def draw_lines(run: Run, lines: Lines) -> Plot | None:
    """A side table: a line for each cell, the mean over seeds; None where the run has nothing of it."""
    names = [column.name for column in lines.y]
    table = read_table(run.folder, lines.table, ["arm", "cell", *lines.x, *names])
    if any(column not in table for column in ("arm", "cell", *lines.x)):
        return None
    table = table[table["arm"].isin(set(run.results["arm"]))]
    panels = [column for column in lines.y if column.name in table and table[column.name].notna().any()]
    if table.empty or not panels:
        return None
    table = table.assign(x=table[list(lines.x)].mean(axis=1))
    figure, drawn = new_figure(max(6.4, 4.7 * len(panels)), 3.9, columns=len(panels))
    for axes, column in zip(drawn, panels, strict=True):
        _panel(axes, run, table, column)
        if (table[column.name].dropna() > 0).all() and column.name not in lines.linear:
            log_y(axes)
        axes.set_xlabel(lines.x_label)
    if lines.level is not None:
        drawn[0].axhline(lines.level, color=INK, linewidth=0.9)
    _legend_below(figure, drawn[0])
    labels = "; ".join(_label(run, column) for column in panels)
    return render(
        figure, lines.name, lines.title, f"{labels}, by {lines.x_label}: a line for each cell, mean over seeds."
    )


def _panel(axes: Axes, run: Run, table: pd.DataFrame, column: Column) -> None:
    for i, cell in enumerate(_cells(run, table)):
        mean = table[table["cell"] == cell].groupby("x")[column.name].mean()
        style = line_style(i) if len(mean) <= MOST_POINTS else line_style(i) | {"marker": ""}
        axes.plot(mean.index, mean, label=cell, markersize=3.5, linewidth=1.4, **style)
    axes.set_ylabel(_label(run, column))


def _label(run: Run, column: Column) -> str:
    """What an axis is called: the metric for the value, else what the column is about."""
    if column.name == "value":
        return f"{run.metric} ({run.better('value')} is better)"
    return column.about or column.name.replace("_", " ")


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    column = 0.7 + 0.066 * max(map(len, labels))  # inches that a column of the longest name takes
    columns = min(len(labels), max(1, int(figure.get_figwidth() / column)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def sample_grids(run: Run) -> Plot | None:
    """Samples of each cell's arm in the first block that has any, side by side: same noise, same labels."""
    pictures = {path.parent.name: path for path in (run.folder / "students").glob("*/samples.png")}
    pictured = run.results[run.results["arm"].isin(set(pictures))]
    first = pictured[pictured["block"] == pictured["block"].min()]
    arms = dict(zip(first["cell"], first["arm"], strict=True))
    found = [(cell, pictures[arms[cell]]) for cell in _cells(run, first)]
    if not found:
        return None
    teacher = run.folder / "teacher" / "samples.png"
    if teacher.is_file():
        found.insert(0, ("teacher", teacher))
    columns = min(5, len(found))
    rows = -(-len(found) // columns)
    height, width = imread(found[0][1]).shape[:2]
    figure, _ = new_figure(
        2.1 * columns, (2.1 * height / width + 0.15 * (1 + max(cell.count("+") for cell, _ in found))) * rows
    )
    figure.clear()
    for axes, (cell, path) in zip(np.ravel(figure.subplots(rows, columns)), found, strict=False):
        image = imread(path)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(cell.replace("+", "+\n"), fontsize=8)
    for axes in figure.axes:
        axes.axis("off")
    alt = "Sample grids by cell; the same place has the same noise and label."
    return render(figure, "samples", "Samples on common noise", alt)
