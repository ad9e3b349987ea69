"""Shared style of the plots: colors for color-blind readers, fonts, writing of figures."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import floor, log10
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

# Okabe & Ito (2008), ordered so that neighbors differ clearly; yellow is omitted, it vanishes on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#8C6BB1")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
LOG_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))  # within a decade, the coarsest first
MIN_LABELS, MAX_DECADES = 4, 10
INK, GRID = "#222222", "#D0D0D0"
DARK = {INK: "#e6e8ea", GRID: "#3d444d", "#0072B2": "#58b0ea", "#00704F": "#3fc79a", "#B04A00": "#f08c4b",
        "#5A636E": "#a3acb6"}  # fmt: skip
SINGLE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches, as papers are set
PIXELS = 130  # of a page, for an inch of a figure: its 8 points are then as large as the page's small print
STYLE: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"], "font.size": 8,
    "axes.titlesize": 8, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "axes.grid": True,
    "grid.color": GRID, "grid.linewidth": 0.5, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.3,
    "lines.markersize": 4, "svg.fonttype": "none", "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09,  # inches: a browser's letters may be wider than those measured here
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a name may hold two dollar signs
}  # fmt: skip


def style() -> AbstractContextManager[None]:
    """The style of each plot, within a `with` block."""
    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


def outlined() -> AbstractContextManager[None]:
    """The same style with text drawn as outlines, for an SVG viewed without the fonts."""
    return matplotlib.rc_context(STYLE | {"svg.fonttype": "path"})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A finished plot: file stem, title, description (the text alternative), SVG and figure."""

    name: str
    title: str
    alt: str
    svg: str
    width: float  # inches
    figure: Figure = field(repr=False, compare=False)

    def png(self) -> bytes:
        """The plot at 300 dpi, for print. An interim page, refreshed at each block, does without it."""
        return self._drawn(format="png", dpi=300, metadata={"Software": None})

    def pdf(self) -> bytes:
        """The plot as a vector file for LaTeX, without dates: equal inputs give equal files."""
        return self._drawn(format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})

    def _drawn(self, **options: Any) -> bytes:
        content = io.BytesIO()
        with warnings.catch_warnings(), style():
            warnings.simplefilter("ignore", UserWarning)
            self.figure.savefig(content, **options)
        return content.getvalue()

    @property
    def wide(self) -> bool:
        """Whether it is wider than a column of a paper, and scrolls on a phone."""
        return self.width > 1.2 * SINGLE_COLUMN


class NotebookFigure(Figure):
    """A figure that a notebook shows where pyplot is not in use."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=150)
        return png.getvalue()


def new_figure(width: float, height: float, columns: int = 1, **shared: Any) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of width x height inches with a row of axes.

    No pyplot: no global state, no figure to close.
    """
    figure, axes = new_grid(width, height, 1, columns, **shared)
    return figure, axes[0]


def new_grid(
    width: float, height: float, rows: int, columns: int, **shared: Any
) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    """A figure of inches width x height with rows of axes."""
    figure = NotebookFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False, **shared)]


def render(figure: Figure, name: str, title: str, alt: str) -> Plot:
    """Lay out a figure and render it to SVG; equal inputs give equal files.

    It has no dates, and its ids are fixed.
    """
    svg = io.StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": name}):
        warnings.simplefilter("ignore", UserWarning)  # a letter that no font has, names too long for the layout
        _settle(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
    return Plot(name=name, title=title, alt=alt, svg=svg.getvalue(), width=figure.get_figwidth(), figure=figure)


def _settle(figure: Figure) -> None:
    """Lay the figure out once and round the solver's result.

    Its last bits differ from call to call, and ids with them.
    """
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)  # unlike "none", which would draw each file twice
    for axes in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


def inline_svg(plot: Plot) -> str:
    """Return a plot's SVG element for a page: unique ids, ink in the page's text color."""
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{plot.name}-', svg)
    svg = re.sub(r'href="#', f'href="#{plot.name}-', svg)
    svg = svg.replace("url(#", f"url(#{plot.name}-")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' height="[^"]*"', "", svg, count=1)  # the page scales it by width
    svg = re.sub(r' width="[^"]*"', f' width="{plot.width * PIXELS:.0f}"', svg, count=1)
    svg = svg.replace(INK.lower(), "currentColor").replace(GRID.lower(), "var(--grid)")
    return svg.replace("<svg ", f'<svg role="img" aria-labelledby="{plot.name}-caption" ', 1)


def dark(svg: str) -> str:
    """The SVG for a dark page: ink and grid turned, colors lighter."""
    for light, instead in DARK.items():
        svg = svg.replace(light.lower(), instead)
    return svg


def write(plots: Sequence[Plot], folder: Path) -> None:
    """Write the files of the plots."""
    for plot in plots:
        (folder / f"{plot.name}.png").write_bytes(plot.png())
        (folder / f"{plot.name}.svg").write_bytes(plot.svg.encode())


def color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def log_y(axes: Axes) -> None:
    """Log axis with plain numbers, for values that are all above 0."""
    axes.set_yscale("log")
    label_log(axes.yaxis)


def label_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: at least four, and no more than fit in a row."""
    low, high = axis.get_view_interval()
    exponents = range(floor(log10(low)), floor(log10(high)) + 1)
    exponents = exponents[:: 1 + len(exponents) // MAX_DECADES]
    for subs in LOG_STEPS:  # not by LogLocator, which within a part of a decade returns more ticks than fit
        ticks = [tick for exponent in exponents for sub in subs if low <= (tick := sub * 10.0**exponent) <= high]
        if len(ticks) >= MIN_LABELS:
            break
    else:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
