"""Images that the models drew: a row per cell, the same noise and label in a column."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from branchwise.analysis.console import printable, shortened
from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.records.damage import path_in
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.figures import TWO_COLUMNS, Plot, new_figure, new_grid, render
from branchwise.analysis.report.plots.palette import cell_title, in_order
from branchwise.run_files.layout import PICTURE, STUDENTS, TEACHERS

Pixels = NDArray[np.uint8]

MAX_ROWS = 16
MAX_PIXELS = 40_000_000
MAX_RATIO = 16  # of the sides of a tile
MAX_DESCRIPTION = 300  # characters
MAX_TILES = 10  # in a row
GAP = 0.12  # of a tile, between tiles
MIDDLE, SMALL = 4.4, 10  # inches of a figure with so many tiles in a row, or fewer
NAMES = 1.55  # inches of the names
ACROSS = 5  # complete pictures in a line
MIN_PIXELS = 24  # an image is enlarged to at least so many, so that viewers need not


@dataclass(frozen=True)
class SampleGrid:
    """A picture of equal `tiles` (n, height, width, 3), by row; `description`: from its writer."""

    tiles: Pixels
    description: str = ""


def sample_rows(run: Run) -> Plot | None:
    """Plot samples of each cell in the first block with any, under real and teacher images."""
    grids = {name: grid for name, path in pictures(run).items() if isinstance(grid := read_grid(path), SampleGrid)}
    if not grids:
        return None
    shape = next(reversed(grids.values())).tiles.shape[1:]  # the students'
    visible = {name: grid for name, grid in grids.items() if grid.tiles.shape[1:] == shape}
    visible = dict(list(visible.items())[:MAX_ROWS])
    across = min([MAX_TILES, *(len(grid.tiles) for grid in visible.values())])
    figure = _side_by_side(run, visible) if across == 1 else _rows(run, visible, across)
    message = "; ".join(f"{name}: {grid.description}" for name, grid in visible.items() if grid.description)
    alt = "Students of one seed: the same place has the same noise and label for all of them."
    return render(figure, "samples", "Samples on common noise", f"{alt}{f' {message}.' if message else ''}")


def _rows(run: Run, visible: Mapping[str, SampleGrid], across: int) -> Figure:
    """A row of tiles for each name."""
    tile = next(iter(visible.values())).tiles.shape[1:]
    ratio = tile[0] / tile[1]
    width, height = 1 + GAP, ratio + GAP
    inches = MIDDLE if across <= SMALL else TWO_COLUMNS
    side = (inches - NAMES) / (across * width)  # inches of a tile
    figure, (axes,) = new_figure(inches, 0.15 + side * height * len(visible))
    for i, grid in enumerate(visible.values()):
        for j, pixels in enumerate(grid.tiles[:across]):
            box = (j * width, j * width + 1, i * height + ratio, i * height)
            axes.imshow(_enlarged(pixels), extent=box, interpolation="nearest", aspect="equal")
    axes.set_xlim(0, across * width - GAP)
    axes.set_ylim(height * len(visible) - GAP, 0)
    axes.set_yticks([i * height + ratio / 2 for i in range(len(visible))],
                    [cell_title(run, name, 20) for name in visible], fontsize=6.5)  # fmt: skip
    _bare(axes)
    return figure


def _side_by_side(run: Run, visible: Mapping[str, SampleGrid]) -> Figure:
    """Pictures without tile sizes, complete, side by side."""
    columns = min(ACROSS, len(visible))
    lines = -(-len(visible) // columns)
    tile = next(iter(visible.values())).tiles.shape[1:]
    figure, panels = new_grid(TWO_COLUMNS, lines * (TWO_COLUMNS / columns * tile[0] / tile[1] + 0.4), lines, columns)
    all_axes = [axes for line in panels for axes in line]
    for axes, (name, grid) in zip(all_axes, visible.items(), strict=False):
        axes.imshow(grid.tiles[0], interpolation="nearest")
        axes.set_title(cell_title(run, name, 20), fontsize=7, fontweight="normal")
    for axes in all_axes:
        _bare(axes)
        axes.set_yticks([])
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def pictures(run: Run) -> dict[str, Path]:
    """Return pictures by name, in the order of the rows.

    Raises:
        RunFolderError: A path is outside the folder.
    """
    students = {path.parent.name for path in path_in(run.folder, STUDENTS).glob(f"*/{PICTURE}")}
    pictured = run.results[run.results["arm"].isin(students)]
    first = pictured[pictured["block"] == pictured["block"].min()]
    arms = dict(zip(first["cell"], first["arm"], strict=True))
    paths = {cell: path_in(run.folder, f"{STUDENTS}/{arms[cell]}/{PICTURE}") for cell in in_order(run) if cell in arms}
    above = {name: path for name, path in _teacher_pictures(run) if path.exists()}
    return above | paths if paths else {}


def unread(run: Run) -> list[str]:
    """Return a message for each picture that a report omits, and why."""
    read = {path: read_grid(path) for path in pictures(run).values()}
    return [f"{path.relative_to(run.folder.parent)} is left out: {why}." for path, why in read.items()
            if isinstance(why, str)]  # fmt: skip


def _teacher_pictures(run: Run) -> Iterator[tuple[str, Path]]:
    """Pictures that the first teacher learned from and drew; it is next to the run."""
    for teacher in run.manifest.get("teachers", ())[:1]:
        folder = f"{TEACHERS}/{teacher['key']}"
        if path_in(run.folder.parent, folder).is_dir():
            yield "real images", path_in(run.folder.parent, f"{folder}/real.png")
            yield TEACHER, path_in(run.folder.parent, f"{folder}/{PICTURE}")


def read_grid(path: Path) -> SampleGrid | str:
    """Return the tiles of a picture, or the reason why it is none or is too large.

    Their size is in its PNG text `Tile` (WIDTHxHEIGHT); a picture without it is a single tile.
    """
    try:
        if not path.is_file():
            return "it is not a regular file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is inspected here
            with Image.open(path, formats=("PNG",)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read"
                described = getattr(image, "text", {})
                pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # what a damaged or hostile file makes a decoder raise has no common type
        return f"it cannot be read as PNG ({type(error).__name__})"
    tile = _tile(str(described.get("Tile", "")), pixels.shape[:2])
    if max(tile) > MAX_RATIO * min(tile):
        return f"a tile of {tile[1]} x {tile[0]} pixels cannot be drawn"
    rows, columns = pixels.shape[0] // tile[0], pixels.shape[1] // tile[1]
    cut = pixels[: rows * tile[0], : columns * tile[1]].reshape(rows, tile[0], columns, tile[1], 3)
    description = shortened(printable(str(described.get("Description", ""))), MAX_DESCRIPTION)
    return SampleGrid(cut.swapaxes(1, 2).reshape(-1, *tile, 3), description)


def _tile(text: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The height and width of a tile; the entire picture where the text has no valid size."""
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    width, height = map(int, match.groups()) if match else (0, 0)
    return (height, width) if 0 < height <= shape[0] and 0 < width <= shape[1] else (shape[0], shape[1])


def _enlarged(tile: Pixels) -> Pixels:
    times = -(-MIN_PIXELS // min(tile.shape[:2]))
    enlarged: Pixels = tile.repeat(times, axis=0).repeat(times, axis=1)
    return enlarged
