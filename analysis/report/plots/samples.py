"""What the models drew: a row of a few images for each cell, the same noise and label in a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import TWO_COLUMNS, Plot, new_figure, new_grid, render
from branchwise.analysis.report.plots.palette import cell_title, in_order

Pixels = NDArray[np.uint8]

MOST_ROWS = 16
MOST_TILES = 10  # in a row
GAP = 0.12  # of a tile, between tiles
MIDDLE, SMALL = 4.4, 10  # inches of a figure with so many tiles in a row, or fewer
NAMES = 1.55  # inches of the names
ACROSS = 5  # whole pictures in a line
LEAST_PIXELS = 24  # an image is enlarged to at least so many, so that viewers need not


@dataclass(frozen=True)
class Grid:
    """A picture of equal tiles. `tiles`: (n, height, width, 3), row by row; `about`: what its writer says of it."""

    tiles: Pixels
    about: str = ""


def sample_rows(run: Run) -> Plot | None:
    """Samples of each cell's arm in the first block that has any, under real images and the teacher's samples."""
    grids = {name: grid for name, path in _pictures(run).items() if (grid := read_grid(path)) is not None}
    if not grids:
        return None
    shape = next(reversed(grids.values())).tiles.shape[1:]  # the students'
    shown = {name: grid for name, grid in grids.items() if grid.tiles.shape[1:] == shape}
    shown = dict(list(shown.items())[:MOST_ROWS])
    across = min([MOST_TILES, *(len(grid.tiles) for grid in shown.values())])
    figure = _beside(run, shown) if across == 1 else _rows(run, shown, across)
    told = "; ".join(f"{name}: {grid.about}" for name, grid in shown.items() if grid.about)
    alt = "Students of one seed: the same place has the same noise and label for all of them."
    return render(figure, "samples", "Samples on common noise", f"{alt}{f' {told}.' if told else ''}")


def _rows(run: Run, shown: Mapping[str, Grid], across: int) -> Figure:
    """A row of tiles for each name."""
    tile = next(iter(shown.values())).tiles.shape[1:]
    ratio = tile[0] / tile[1]
    width, height = 1 + GAP, ratio + GAP
    inches = MIDDLE if across <= SMALL else TWO_COLUMNS
    side = (inches - NAMES) / (across * width)  # inches of a tile
    figure, (axes,) = new_figure(inches, 0.15 + side * height * len(shown))
    for i, grid in enumerate(shown.values()):
        for j, pixels in enumerate(grid.tiles[:across]):
            box = (j * width, j * width + 1, i * height + ratio, i * height)
            axes.imshow(_enlarged(pixels), extent=box, interpolation="nearest", aspect="equal")
    axes.set_xlim(0, across * width - GAP)
    axes.set_ylim(height * len(shown) - GAP, 0)
    axes.set_yticks([i * height + ratio / 2 for i in range(len(shown))],
                    [cell_title(run, name, 20) for name in shown], fontsize=6.5)  # fmt: skip
    _bare(axes)
    return figure


def _beside(run: Run, shown: Mapping[str, Grid]) -> Figure:
    """Pictures that do not say what tiles they are made of, whole, side by side."""
    columns = min(ACROSS, len(shown))
    lines = -(-len(shown) // columns)
    tile = next(iter(shown.values())).tiles.shape[1:]
    figure, panels = new_grid(TWO_COLUMNS, lines * (TWO_COLUMNS / columns * tile[0] / tile[1] + 0.4), lines, columns)
    every = [axes for line in panels for axes in line]
    for axes, (name, grid) in zip(every, shown.items(), strict=False):
        axes.imshow(grid.tiles[0], interpolation="nearest")
        axes.set_title(cell_title(run, name, 20), fontsize=7, fontweight="normal")
    for axes in every:
        _bare(axes)
        axes.set_yticks([])
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def _pictures(run: Run) -> dict[str, Path]:
    """Pictures by name, in the order of the rows."""
    students = {path.parent.name: path for path in (run.folder / "students").glob("*/samples.png")}
    pictured = run.results[run.results["arm"].isin(set(students))]
    first = pictured[pictured["block"] == pictured["block"].min()]
    arms = dict(zip(first["cell"], first["arm"], strict=True))
    found = {cell: students[arms[cell]] for cell in in_order(run) if cell in arms}
    teacher = teacher_pictures(run)
    above = {name: teacher / f"{file}.png" for name, file in (("real images", "real"), (TEACHER, "samples")) if teacher}
    return {name: path for name, path in above.items() if path.is_file()} | found if found else {}


def teacher_pictures(run: Run) -> Path | None:
    """The folder with the pictures of the first teacher: in the run's own, or beside the run among all teachers."""
    described = run.manifest.get("teachers") or [run.manifest.get("teacher")]
    key = (described[0] or {}).get("key") if isinstance(described[0] or {}, dict) else None
    beside = [run.folder.parent / "teachers" / str(key)] if key else []
    return next((folder for folder in (run.folder / TEACHER, *beside) if folder.is_dir()), None)


def read_grid(path: Path) -> Grid | None:
    """The tiles of a picture that says how large they are (PNG text `Tile`, WIDTHxHEIGHT); one tile where it does not.

    None where it is no picture.
    """
    try:
        with Image.open(path) as image:
            described = getattr(image, "text", {})
            pixels = np.asarray(image.convert("RGB"))
    except OSError:
        return None
    width, _, height = str(described.get("Tile", "")).partition("x")
    tile = (int(height), int(width)) if width.isdigit() and height.isdigit() else pixels.shape[:2]
    rows, columns = pixels.shape[0] // tile[0], pixels.shape[1] // tile[1]
    cut = pixels[: rows * tile[0], : columns * tile[1]].reshape(rows, tile[0], columns, tile[1], 3)
    return Grid(cut.swapaxes(1, 2).reshape(-1, *tile, 3), str(described.get("Description", "")))


def _enlarged(tile: Pixels) -> Pixels:
    times = -(-LEAST_PIXELS // min(tile.shape[:2]))
    enlarged: Pixels = tile.repeat(times, axis=0).repeat(times, axis=1)
    return enlarged
