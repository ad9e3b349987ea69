"""Results as numbers: one format for a whole column, and a refusal that names the cell where there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from branchwise.analysis.importers.run_table import Mask, Words, shorten
from branchwise.analysis.importers.text.spelling import MISSING

NO_RESULT = ("none", "null", "na", "n/a", "-", "--", "!", *(word for word in MISSING if word != "nan"))
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"[+-]?(?:\d+\.?\d*|\.\d+){_EXPONENT}|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_POINT = re.compile(rf"[+-]?(?:[1-9]\d{{0,2}}(?:,\d{{3}})+(?:\.\d*)?|\d+\.?\d*|\.\d+){_EXPONENT}")  # 1,234.5
_COMMA = re.compile(rf"[+-]?(?:[1-9]\d{{0,2}}(?:\.\d{{3}})+(?:,\d*)?|\d+(?:,\d*)?|,\d+){_EXPONENT}")  # 1.234,5


class NotANumberError(ValueError):
    """A word that cannot be read as a number in the format of its column; `word` is the one."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A column as numbers: NaN where there is none. percent: whether every number has a per-cent sign."""

    values: NDArray[np.float64]
    empty: Mask  # where the column says nothing
    percent: bool = False
    notes: tuple[str, ...] = ()


def read_numbers(name: str, column: Words, decimal_comma: bool = False) -> Numbers:
    """Reads a column of results. Raises NotANumberError for a word that is none, or that could be either of two."""
    used = column.used
    words = [_plain(word) for word in used]
    known = [word for word in words if word.lower() not in NO_RESULT]
    percent = bool(known) and all(word.endswith("%") for word in known)
    if not percent and (mixed := next((i for i, word in enumerate(words) if word.endswith("%")), None)) is not None:
        raise NotANumberError(
            used[mixed], "some values have a per-cent sign and others have none; write all in one unit"
        )
    bare = [word.removesuffix("%").rstrip() if percent else word for word in words]
    read, notes = _format(name, used, [("" if w.lower() in NO_RESULT else w) for w in bare], decimal_comma)
    by_word = dict(zip(used, read, strict=True))
    table = np.array([by_word.get(word, np.nan) for word in column.words], dtype=np.float64)
    nothing = np.array([_plain(word).lower() in NO_RESULT for word in column.words], dtype=bool)
    return Numbers(values=table[column.codes], empty=nothing[column.codes], percent=percent, notes=notes)


def plain_numbers(words: tuple[str, ...]) -> list[float]:
    """The words of a level as finite numbers, whichever format they share; empty unless each is one."""
    column = Words(codes=np.arange(len(words)), words=words)
    try:
        numbers = read_numbers("", column)
    except NotANumberError:
        return []
    return numbers.values.tolist() if np.isfinite(numbers.values).all() else []


def _plain(word: str) -> str:
    """A word with the signs that typesetting puts into numbers replaced: minus signs, blanks that do not break."""
    return word.replace("\u2212", "-").replace("\u00a0", "").replace("\u202f", "").replace("\u2009", "").strip()


def _format(name: str, used: tuple[str, ...], words: list[str], comma: bool) -> tuple[list[float], tuple[str, ...]]:
    """The words as numbers in the one format that suits them all."""
    strange = [i for i, word in enumerate(words) if word and not _PLAIN.fullmatch(word)]
    if not strange:
        return [float(word) if word else np.nan for word in words], ()
    special = re.compile(r"[+-]?(?:nan|inf|infinity)|", re.IGNORECASE)
    plain = [word for word in words if not special.fullmatch(word)]
    with_point, with_comma = (all(map(item.fullmatch, plain)) for item in (_POINT, _COMMA))
    first = used[strange[0]]
    if with_point and with_comma and not comma:
        raise NotANumberError(first, "its comma could group thousands or begin decimals; write numbers with a point")
    if with_comma:
        note = f"{name}: commas are read as decimal points ({shorten(first, 30)})."
        return [_value(word.replace(".", "").replace(",", ".")) for word in words], (note,) if name else ()
    if with_point:
        note = f"{name}: commas are read as separators of thousands ({shorten(first, 30)})."
        return [_value(word.replace(",", "")) for word in words], (note,) if name else ()
    odd = next((i for i in strange if not _POINT.fullmatch(words[i]) and not _COMMA.fullmatch(words[i])), strange[0])
    raise NotANumberError(used[odd], "it must be a number")


def _value(word: str) -> float:
    return float(word) if word else np.nan
