"""Numbers as a reader sees them, and the table that holds them as text."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isnan, log10

from branchwise.analysis.statistics.model import Estimate

DASH = "–"  # noqa: RUF001
CHECK = "✓"
TIMES = " × "  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of text; the first `text_columns` columns are words, the others numbers.

    brief: the columns that a terminal has room for; empty for all.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""
    brief: tuple[str, ...] = ()


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits and no exponent below 1e6; a dash for NaN."""
    if isnan(value):
        return DASH
    if abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - floor(log10(abs(value))) if value else digits - 1
    return _fixed(value, min(max(decimals, 0), digits))


def with_interval(estimate: Estimate, factor: float = 1.0) -> str:
    """`value [low, high]` to two digits of the half-width; the value alone, or a dash, where the rest is not known."""
    if not estimate.known:
        return DASH
    if not estimate.has_interval:
        return number(factor * estimate.value)
    half = factor * (estimate.high - estimate.low) / 2
    decimals = min(max(1 - floor(log10(half)), 0), 8) if half > 0 else 3
    value, low, high = (_fixed(factor * x, decimals) for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("-") and not float(text) else text


def p_text(p: float) -> str:
    return DASH if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def mean_sd(mean: float, sd: float) -> str:
    """`mean ± SD`, the mean alone where there is no SD."""
    if isnan(mean):
        return DASH
    return number(mean) if isnan(sd) else f"{number(mean)} ± {number(sd, 2)}"
