"""Numbers as a reader sees them, and the table that holds them as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import floor, isnan, log10

from branchwise.analysis.statistics.model import Estimate

DASH = "–"  # noqa: RUF001
MAX_FURTHER_DECIMALS = 3  # so that a bound keeps its sign
CHECK = "✓"
TIMES = " × "  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class NumberStyle:
    """Style of numbers in tables: digits of an SD or half-width, whether rates are in per cent."""

    digits: int = 2
    percent: bool = False


_DEFAULT = NumberStyle()
_STYLE: ContextVar[NumberStyle] = ContextVar("number style", default=_DEFAULT)


@contextmanager
def number_style(chosen: NumberStyle) -> Iterator[None]:
    """Print the numbers of all tables built within the block in this style."""
    token = _STYLE.set(chosen)
    try:
        yield
    finally:
        _STYLE.reset(token)


def in_percent() -> bool:
    """Whether mean rates are printed in per cent."""
    return _STYLE.get().percent


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of text; the first `text_columns` columns are text, the others numbers.

    brief: the columns that a terminal has room for; empty for all. best: (row, column) of cells to be marked as best.
    name: for file names and labels; derived from the title unless given.
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
        """`name`, or the title up to its first comma, in lower case, joined by hyphens."""
        return self.name or "-".join(re.findall(r"[a-z0-9]+", self.title.lower().partition(",")[0]))


def number(value: float, digits: int = 3) -> str:
    """Format a number with `digits` significant digits; a dash for NaN.

    It has an exponent from 1e6, and where it would be all zeros.
    """
    if isnan(value):
        return DASH
    if abs(value) >= 1e6 or 0 < abs(value) < 10.0 ** -(digits + 1):
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - floor(log10(abs(value))) if value else digits - 1
    return _fixed(value, min(max(decimals, 0), digits))


def with_interval(estimate: Estimate, factor: float = 1.0) -> str:
    """Format `value [low, high]` to two digits of the half-width.

    More digits where a bound would lose its sign; the value only, or a dash, where the rest is
    unknown.
    """
    if not estimate.has_value:
        return DASH
    if not estimate.has_interval:
        return number(factor * estimate.value)
    half = factor * (estimate.high / 2 - estimate.low / 2)
    if half <= 1e-12 * abs(factor * estimate.value):  # exact, like the share of an only component
        return number(factor * estimate.value)
    if abs(factor * estimate.value) >= 1e6 or 0 < half < 1e-7:
        digits = 3 + max(0, floor(log10(abs(factor * estimate.value) / half)) if estimate.value else 0)
        value, low, high = (f"{factor * x:.{min(digits, 15)}g}" for x in (estimate.value, estimate.low, estimate.high))
        return f"{value} [{low}, {high}]"
    value, low, high = rounded(factor * estimate.value, factor * estimate.low, factor * estimate.high)
    return f"{value} [{low}, {high}]"


def rounded(value: float, low: float, high: float, *, min_decimals: int = 0) -> tuple[str, str, str]:
    """The three to two digits of the half-width, and more where a bound would lose its sign."""
    fewest = max(min_decimals, _decimals(high / 2 - low / 2))
    enough = (d for d in range(fewest, fewest + MAX_FURTHER_DECIMALS + 1) if not _lose_sign((low, high), d))
    decimals = next(enough, fewest)
    return _fixed(value, decimals), _fixed(low, decimals), _fixed(high, decimals)


def _decimals(sd: float) -> int:
    """Decimals that show the style's digits of an SD or half-width."""
    return min(max(_STYLE.get().digits - 1 - floor(log10(sd)), 0), 8)


def _lose_sign(values: Sequence[float], decimals: int) -> bool:
    return any(value != 0 and not float(f"{value:.{decimals}f}") for value in values)


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
    """Format `mean ± SD` to two digits of the SD, equal decimals; the mean only without an SD."""
    if isnan(mean):
        return DASH
    if isnan(sd) or sd < 1e-7 or abs(mean) >= 1e6:
        return number(mean) if isnan(sd) else f"{number(mean)} ± {number(sd, 2)}"
    decimals = _decimals(sd)
    return f"{_fixed(mean, decimals)} ± {_fixed(sd, decimals)}"


def without_empty_columns(table: Table) -> Table:
    """The table without columns that hold only dashes."""
    stored = [i for i in range(len(table.columns)) if i == 0 or any(row[i] not in ("", DASH) for row in table.rows)]
    return keep_columns(table, stored)


def keep_columns(table: Table, columns: Sequence[int]) -> Table:
    """The table with only these columns, by position."""
    return replace(
        table,
        columns=tuple(table.columns[i] for i in columns),
        rows=tuple(tuple(row[i] for i in columns) for row in table.rows),
        text_columns=sum(i < table.text_columns for i in columns),
        best=tuple((row, columns.index(column)) for row, column in table.best if column in columns),
    )
