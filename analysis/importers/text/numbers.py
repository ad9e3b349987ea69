"""Results as numbers: one format per column, or an error that names the cell."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from branchwise.analysis.importers.run_table import Categorical, Mask, shorten
from branchwise.analysis.importers.text.spelling import MISSING

NO_RESULT = ("none", "null", "na", "n/a", "-", "--", "!", *(text for text in MISSING if text != "nan"))
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"[+-]?(?:\d+\.?\d*|\.\d+){_EXPONENT}|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_POINT = re.compile(rf"[+-]?(?:[1-9]\d{{0,2}}(?:,\d{{3}})+(?:\.\d*)?|\d+\.?\d*|\.\d+){_EXPONENT}")  # 1,234.5
_COMMA = re.compile(rf"[+-]?(?:[1-9]\d{{0,2}}(?:\.\d{{3}})+(?:,\d*)?|\d+(?:,\d*)?|,\d+){_EXPONENT}")  # 1.234,5


class NotANumberError(ValueError):
    """A cell, `text`, that cannot be read as a number in the format of its column."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A column as numbers: NaN if none exists. percent: whether each number has a per-cent sign."""

    values: NDArray[np.float64]
    empty: Mask  # where the column is ambiguous
    percent: bool = False
    notes: tuple[str, ...] = ()


def read_numbers(name: str, column: Categorical, decimal_comma: bool = False) -> Numbers:
    """Read a column of results.

    Raises:
        NotANumberError: A text is no number, or is ambiguous.
    """
    used = column.used
    texts = [_plain(text) for text in used]
    results = [text for text in texts if text.lower() not in NO_RESULT]
    percent = bool(results) and all(text.endswith("%") for text in results)
    if not percent and (mixed := next((i for i, text in enumerate(texts) if text.endswith("%")), None)) is not None:
        raise NotANumberError(
            used[mixed], "some values have a per-cent sign and others have none; write all in one unit"
        )
    bare = [text.removesuffix("%").rstrip() if percent else text for text in texts]
    read, notes = _format(name, used, [("" if w.lower() in NO_RESULT else w) for w in bare], decimal_comma)
    by_text = dict(zip(used, read, strict=True))
    table = np.array([by_text.get(text, np.nan) for text in column.categories], dtype=np.float64)
    is_empty = np.array([_plain(text).lower() in NO_RESULT for text in column.categories], dtype=bool)
    return Numbers(values=table[column.codes], empty=is_empty[column.codes], percent=percent, notes=notes)


def plain_numbers(texts: tuple[str, ...]) -> list[float]:
    """Return the texts of a level as finite numbers in a shared format; empty unless all are."""
    column = Categorical(codes=np.arange(len(texts)), categories=texts)
    try:
        numbers = read_numbers("", column)
    except NotANumberError:
        return []
    return numbers.values.tolist() if np.isfinite(numbers.values).all() else []


def _plain(text: str) -> str:
    """Replace typeset minus signs, and drop non-breaking and thin spaces."""
    return text.replace("\u2212", "-").replace("\u00a0", "").replace("\u202f", "").replace("\u2009", "").strip()


def _format(name: str, used: tuple[str, ...], texts: list[str], comma: bool) -> tuple[list[float], tuple[str, ...]]:
    """The texts as numbers in the format that suits all of them."""
    strange = [i for i, text in enumerate(texts) if text and not _PLAIN.fullmatch(text)]
    if not strange:
        return [float(text) if text else np.nan for text in texts], ()
    special = re.compile(r"[+-]?(?:nan|inf|infinity)|", re.IGNORECASE)
    plain = [text for text in texts if not special.fullmatch(text)]
    with_point, with_comma = (all(map(item.fullmatch, plain)) for item in (_POINT, _COMMA))
    first = used[strange[0]]
    if with_point and with_comma and not comma:
        raise NotANumberError(first, "its comma could group thousands or begin decimals; write numbers with a point")
    if with_comma:
        note = f"{name}: commas are read as decimal points ({shorten(first, 30)})."
        return [_value(text.replace(".", "").replace(",", ".")) for text in texts], (note,) if name else ()
    if with_point:
        note = f"{name}: commas are read as separators of thousands ({shorten(first, 30)})."
        return [_value(text.replace(",", "")) for text in texts], (note,) if name else ()
    odd = next((i for i in strange if not _POINT.fullmatch(texts[i]) and not _COMMA.fullmatch(texts[i])), strange[0])
    raise NotANumberError(used[odd], "it must be a number")


def _value(text: str) -> float:
    return float(text) if text else np.nan
