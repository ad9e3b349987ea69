"""Levels and seeds as text: which spellings are equal, and which only look equal."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isinf

from branchwise.analysis.importers.run_table import listed

TRUE = ("true", "t", "yes", "y", "on", "1", "1.0")
FALSE = ("false", "f", "no", "n", "off", "0", "0.0")
MISSING = ("", "nan", "<na>", "nat")  # what pandas prints for no value
EMPTY_TEXTS = ("none", "null", *MISSING)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
# As programs print numbers: no leading zeros, no trailing zeros but `.0`, one digit before the point of an exponent.
_PRINTED = re.compile(
    r"-?(?:(?:0|[1-9]\d*)(?:\.0|\.\d*[1-9])?|[1-9](?:\.0|\.\d*[1-9])?[eE][+-]?\d{1,3})"
)  # fmt: skip
MAX_EXPONENT = 20  # of integers that are written out
NOISE_DIGITS = 15  # a decimal with so many digits carries the rounding of a double


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """The canonical value of each text of a column, in their order, and notes for the reader."""

    categories: tuple[str, ...]
    notes: tuple[str, ...]


def read_spelling(name: str, texts: Sequence[str]) -> Spelling:
    """Read the distinct texts of a column that identifies runs.

    Equal numbers as programs print them (1, 1.0, 1e0) are equal, and so are the spellings of a boolean. In a column
    with text that no program prints for a number (1.10, 007, 12e3) all stay as they are, as versions and names do.
    """
    read = {text: "" if text.lower() in MISSING else text for text in texts}
    if merged := _booleans([text for text in read.values() if text.lower() not in EMPTY_TEXTS]):
        read = {text: merged.get(new, new) for text, new in read.items()}
    elif all(_PRINTED.fullmatch(new) for new in read.values() if _NUMBER.fullmatch(new)):
        read = {text: _number(new) for text, new in read.items()}
    return Spelling(categories=tuple(read[text] for text in texts), notes=tuple(_notes(name, read)))


def matching_text(text: str, texts: Sequence[str]) -> str | None:
    """Return the column's text that an option means: equal as text, number or boolean."""
    stripped = text.strip()
    tests = (
        lambda other: other == stripped,
        lambda other: _number(other) == _number(stripped),
        lambda other: other.lower() == stripped.lower(),
        lambda other: any({other.lower(), stripped.lower()} <= set(family) for family in (TRUE, FALSE, EMPTY_TEXTS)),
    )
    for test in tests:
        matches = [other for other in texts if test(other)]
        if len(matches) == 1:
            return matches[0]
    return None


def is_off(text: str) -> bool:
    """Whether a level means that a component is off."""
    return text.lower() in ("false", "off", "no", *EMPTY_TEXTS) or (bool(_NUMBER.fullmatch(text)) and not Decimal(text))


def _booleans(texts: Sequence[str]) -> Mapping[str, str]:
    """Canonical spelling of each boolean; none unless all are booleans, some not just 0 and 1."""
    lower = [text.lower() for text in texts]
    if not texts or any(text not in (*TRUE, *FALSE) for text in lower) or not any(map(str.isalpha, lower)):
        return {}
    first = {family: next((text for text in texts if text.lower() in family), "") for family in (TRUE, FALSE)}
    return {text: first[TRUE if text.lower() in TRUE else FALSE] for text in texts}


def _number(text: str) -> str:
    """A number that a program printed in its shortest form; any other text unchanged."""
    if text.isdigit() and text.isascii() and (text[0] != "0" or text == "0"):
        return text  # of a million distinct seeds nearly all
    if not _PRINTED.fullmatch(text):
        return text
    exact, value = Decimal(text), float(text)
    if isinf(value) or (exact and not value) or ("e" in text.lower() and exact.adjusted() > MAX_EXPONENT):
        return text
    if exact == exact.to_integral_value():
        digits = f"{exact.to_integral_value():f}"
        return "0" if digits == "-0" else digits
    digit_count = len(exact.as_tuple().digits)
    return f"{value:.12g}" if digit_count >= NOISE_DIGITS else repr(value).removesuffix(".0")


def _notes(name: str, read: Mapping[str, str]) -> list[str]:
    notes = []
    spellings = defaultdict(list)
    for text, new in read.items():
        spellings[new].append(text)
    for new, group in spellings.items():
        if len(group) > 1:
            notes.append(f"{name}: {listed(group)} are read as one level, {new or 'no value'}.")
    numbers = [text for text in spellings if _NUMBER.fullmatch(text)]
    if len(set(map(float, numbers))) < len(numbers):  # equal decimals are equal floats, and those are quick to compare
        for group in _equal(numbers, Decimal):
            notes.append(f"{name}: {listed(group)} are equal as numbers and differ as text: they are kept apart.")
    for group in _equal(spellings, str.lower):
        notes.append(f"{name}: {listed(group)} differ in the case of letters alone: they are kept apart.")
    return notes


def _equal(texts: Iterable[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """The texts that share a key with another."""
    groups = defaultdict(list)
    for text in texts:
        groups[key(text)].append(text)
    return [group for group in groups.values() if len(group) > 1]
