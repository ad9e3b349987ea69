"""Numbers as a reader sees them, and the table that holds them as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor, isnan, log10

from branchwise.analysis.statistics.model import Estimate

DASH = "–"  # noqa: RUF001
CHECK = "✓"
TIMES = " × "  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of text; the first `text_columns` columns are words, the others numbers.

    brief: the columns that a terminal has room for; empty for all. best: (row, column) of cells to be marked as best.
    name: a word for file names and labels; made of the title unless given.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""
    brief: tuple[str, ...] = ()
    best: tuple[tuple[int, int], ...] = ()
    name: str = ""

    @property
    def slug(self) -> str:
        """`name`, or the title up to its first comma, as lower-case words joined by hyphens."""
        return self.name or "-".join(re.findall(r"[a-z0-9]+", self.title.lower().partition(",")[0]))


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits, with an exponent from 1e6 and where it would be all zeros; a dash for
    NaN."""
    if isnan(value):
        return DASH
    if abs(value) >= 1e6 or 0 < abs(value) < 10.0 ** -(digits + 1):
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - floor(log10(abs(value))) if value else digits - 1
    return _fixed(value, min(max(decimals, 0), digits))


def with_interval(estimate: Estimate, factor: float = 1.0) -> str:
    """`value [low, high]` to two digits of the half-width; the value alone, or a dash, where the rest is not known."""
    if not estimate.known:
        return DASH
    if not estimate.has_interval:
        return number(factor * estimate.value)
    half = factor * (estimate.high / 2 - estimate.low / 2)
    if half <= 1e-12 * abs(factor * estimate.value):  # known exactly, as the share of an only component
        return number(factor * estimate.value)
    if abs(factor * estimate.value) >= 1e6 or 0 < half < 1e-7:
        digits = 3 + max(0, floor(log10(abs(factor * estimate.value) / half)) if estimate.value else 0)
        value, low, high = (f"{factor * x:.{min(digits, 15)}g}" for x in (estimate.value, estimate.low, estimate.high))
        return f"{value} [{low}, {high}]"
    decimals = min(max(1 - floor(log10(half)), 0), 8)
    value, low, high = (_fixed(factor * x, decimals) for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("-") and not float(text) else text


def with_minus(text: str) -> str:
    """The text with true minus signs before its numbers."""
    return re.sub(r"(?<![\w.-])-(?=[\d.])", "\N{MINUS SIGN}", text)


def p_text(p: float) -> str:
    return DASH if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_is(p: float) -> str:
    """`p = 0.031` or `p < 0.001`."""
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def mean_sd(mean: float, sd: float) -> str:
    """`mean ± SD`, the mean alone where there is no SD."""
    if isnan(mean):
        return DASH
    return number(mean) if isnan(sd) else f"{number(mean)} ± {number(sd, 2)}"
