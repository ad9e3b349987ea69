"""Plots of the evidence behind the values: calibration by timestep, training curves, guidance, samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from branchwise.analysis.records import Run, read_table
from branchwise.analysis.report.figures import INK, Plot, line_style, log_y, new_figure, render

MOST_LINES = 12  # cells in one plot of lines; the first of the table's order are drawn


def evidence_plots(run: Run) -> list[Plot]:
    """The plots that the run folder has the data for."""
    drawn = [calibration(run), training_curves(run), guidance_curves(run), sample_grids(run)]
    return [plot for plot in drawn if plot is not None]


def _table(run: Run, name: str, needed: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of result cells of a side table; empty unless it has every needed column."""
    table = read_table(run.folder, name, ["arm", "cell", *needed, *optional])
    if any(column not in table for column in ("arm", "cell", *needed)):
        return pd.DataFrame()
    return table[table["arm"].isin(set(run.results["arm"]))]


def _cells(run: Run, table: pd.DataFrame) -> list[str]:
    order = dict.fromkeys((*run.cells[::-1], *run.baselines, *table["cell"].unique()))
    present = set(table["cell"].unique())
    return [cell for cell in order if cell in present][:MOST_LINES]


def calibration(run: Run) -> Plot | None:
    """Guidance-gap ratio rho and relative gap error by timestep, mean over seeds."""
    both = _table(run, "gaps", ["t_low", "t_high", "rho", "relative_gap"])
    if both.empty:
        return None
    both = both.assign(t=(both["t_low"] + both["t_high"]) / 2)
    figure, (left, right) = new_figure(9.4, 3.9, columns=2)
    for i, cell in enumerate(_cells(run, both)):
        mean = both[both["cell"] == cell].groupby("t")[["rho", "relative_gap"]].mean()
        for axes, column in ((left, "rho"), (right, "relative_gap")):
            axes.plot(mean.index, mean[column], label=cell, markersize=3.5, linewidth=1.4, **line_style(i))
    left.axhline(1.0, color=INK, linewidth=0.9)
    left.set_ylabel("rho: student's gap / teacher's gap")
    right.set_ylabel("relative gap error")
    if (both["relative_gap"] > 0).all():
        log_y(right)
    for axes in (left, right):
        axes.set_xlabel("timestep t")
    _legend_below(figure, left)
    alt = "Left: ratio of guidance gaps, 1 is the teacher's. Right: squared error of the gap relative to the teacher's."
    return render(figure, "calibration", "Guidance calibration by timestep", alt)


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    column = 0.7 + 0.066 * max(map(len, labels))  # inches that a column of the longest name takes
    columns = min(len(labels), max(1, int(figure.get_figwidth() / column)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def training_curves(run: Run) -> Plot | None:
    """Training loss by step, mean over seeds. Losses of cells with different terms are not on one footing."""
    table = _table(run, "curves", ["step"], optional=["loss", "loss_imitation"])
    parts = [part for part in ("loss", "loss_imitation") if part in table and table[part].notna().any()]
    if not parts:
        return None
    figure, panels = new_figure(4.7 * len(parts), 3.9, columns=len(parts))
    for axes, part in zip(panels, parts, strict=True):
        for i, cell in enumerate(_cells(run, table)):
            mean = table[table["cell"] == cell].groupby("step")[part].mean()
            axes.plot(mean.index, mean, label=cell, linewidth=1.3, **(line_style(i) | {"marker": ""}))
        if (table[part].dropna() > 0).all():
            log_y(axes)
        axes.set_xlabel("training step")
        axes.set_ylabel(part.replace("_", " "))
    _legend_below(figure, panels[0])
    return render(figure, "training", "Training curves", "Loss by training step for each cell, mean over seeds.")


def guidance_curves(run: Run) -> Plot | None:
    """Metric against guidance scale, mean over seeds."""
    table = _table(run, "guidance", ["guidance", "value"])
    if table.empty:
        return None
    figure, (axes,) = new_figure(6.4, 4.1)
    for i, cell in enumerate(_cells(run, table)):
        mean = table[table["cell"] == cell].groupby("guidance")["value"].mean()
        axes.plot(mean.index, mean, label=cell, markersize=4, linewidth=1.4, **line_style(i))
    if (table["value"] > 0).all():
        log_y(axes)
    axes.set_xlabel("guidance scale")
    axes.set_ylabel(f"{run.metric} (lower is better)")
    _legend_below(figure, axes)
    alt = "Distance by guidance scale for each cell, mean over seeds."
    return render(figure, "guidance", "Metric against guidance scale", alt)


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
