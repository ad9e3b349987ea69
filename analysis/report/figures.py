"""Shared look of the plots: colours safe for colour-blind readers, fonts, and how a figure is written."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Okabe & Ito (2008), in the order in which neighbours differ most; yellow is left out, it vanishes on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#8C6BB1")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
INK, GRID = "#222222", "#D0D0D0"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True,
    "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}  # fmt: skip


def style() -> AbstractContextManager[None]:
    """The look of every plot, for the time of a `with` block."""
    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One finished plot: file stem, title, what it shows in a sentence (the text alternative), both renderings."""

    name: str
    title: str
    alt: str
    png: bytes
    svg: str


def new_figure(width: float, height: float, columns: int = 1, **shared: Any) -> tuple[Figure, Sequence[Axes]]:
    """A figure of inches width x height with a row of axes. No pyplot: nothing global, nothing to close."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False, **shared)[0])


def render(figure: Figure, name: str, title: str, alt: str) -> Plot:
    """Render to PNG (160 dpi) and SVG; the SVG has no date and fixed ids, so equal inputs give equal files."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata={"Date": None}, transparent=True)
    return Plot(name=name, title=title, alt=alt, png=png.getvalue(), svg=svg.getvalue())


def inline_svg(plot: Plot) -> str:
    """The SVG element for an HTML page: ids made unique to the plot, ink follows the page's text colour."""
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{plot.name}-', svg)
    svg = re.sub(r'href="#', f'href="#{plot.name}-', svg)
    svg = svg.replace("url(#", f"url(#{plot.name}-")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' height="[^"]*"', "", svg, count=1)  # the page scales it by width, and only down
    svg = svg.replace(INK.lower(), "currentColor").replace(GRID.lower(), "var(--grid)")
    return svg.replace("<svg ", f'<svg role="img" aria-labelledby="{plot.name}-caption" ', 1)


def write(plots: Sequence[Plot], folder: Path) -> None:
    for plot in plots:
        (folder / f"{plot.name}.png").write_bytes(plot.png)
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def line_style(i: int) -> dict[str, Any]:
    """Colour, dash and marker that together tell 8 x 4 lines apart, also in grey print."""
    return {
        "color": colour(i),
        "linestyle": LINES[(i // len(COLOURS)) % len(LINES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def log_y(axes: Axes) -> None:
    """Log axis with plain numbers, for values that are all above 0."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = (1, 2, 3, 4, 5, 6, 8) if high / low < 12 else (1, 2, 5) if high / low < 200 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
