"""Levels and seeds as text: which spellings mean the same, and which only look as if they did."""

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
NOTHING = ("none", "null", *MISSING)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
# As programs print numbers: no leading zeros, no trailing ones but `.0`, one digit before the point of an exponent.
_PRINTED = re.compile(
    r"-?(?:(?:0|[1-9]\d*)(?:\.0|\.\d*[1-9])?|[1-9](?:\.0|\.\d*[1-9])?[eE][+-]?\d{1,3})"
)  # fmt: skip
MAX_EXPONENT = 20  # of integers that are written out
NOISE_DIGITS = 15  # a decimal with so many digits carries the rounding of a double


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """What each word of a column is read as, in the order of the words, and what a reader must know of it."""

    words: tuple[str, ...]
    notes: tuple[str, ...]


def read_spelling(name: str, words: Sequence[str]) -> Spelling:
    """Reads the distinct words of a column that identifies runs.

    Equal numbers as programs print them (1, 1.0, 1e0) are one word, and so are the spellings of a boolean. In a column
    with text that no program prints for a number (1.10, 007, 12e3) all stay as they are, as versions and names do.
    """
    read = {word: "" if word.lower() in MISSING else word for word in words}
    if merged := _booleans([word for word in read.values() if word.lower() not in NOTHING]):
        read = {word: merged.get(new, new) for word, new in read.items()}
    elif all(_PRINTED.fullmatch(new) for new in read.values() if _NUMBER.fullmatch(new)):
        read = {word: _number(new) for word, new in read.items()}
    return Spelling(words=tuple(read[word] for word in words), notes=tuple(_notes(name, read)))


def same_word(word: str, words: Sequence[str]) -> str | None:
    """The word of a column that an option means: spelled equally, as an equal number, or as the same boolean."""
    stripped = word.strip()
    tests = (
        lambda other: other == stripped,
        lambda other: _number(other) == _number(stripped),
        lambda other: other.lower() == stripped.lower(),
        lambda other: any({other.lower(), stripped.lower()} <= set(family) for family in (TRUE, FALSE, NOTHING)),
    )
    for test in tests:
        matches = [other for other in words if test(other)]
        if len(matches) == 1:
            return matches[0]
    return None


def is_off(word: str) -> bool:
    """Whether a level means that a component is off."""
    return word.lower() in ("false", "off", "no", *NOTHING) or (bool(_NUMBER.fullmatch(word)) and not Decimal(word))


def _booleans(words: Sequence[str]) -> Mapping[str, str]:
    """The one spelling of each boolean, where all words are booleans and some are not just 0 and 1."""
    lower = [word.lower() for word in words]
    if not words or any(word not in (*TRUE, *FALSE) for word in lower) or not any(map(str.isalpha, lower)):
        return {}
    first = {family: next((word for word in words if word.lower() in family), "") for family in (TRUE, FALSE)}
    return {word: first[TRUE if word.lower() in TRUE else FALSE] for word in words}


def _number(word: str) -> str:
    """A number that a program printed in its shortest form; any other word as it is."""
    if word.isdigit() and word.isascii() and (word[0] != "0" or word == "0"):
        return word  # of a million distinct seeds nearly all
    if not _PRINTED.fullmatch(word):
        return word
    exact, value = Decimal(word), float(word)
    if isinf(value) or (exact and not value) or ("e" in word.lower() and exact.adjusted() > MAX_EXPONENT):
        return word
    if exact == exact.to_integral_value():
        digits = f"{exact.to_integral_value():f}"
        return "0" if digits == "-0" else digits
    digits_of_word = len(exact.as_tuple().digits)
    return f"{value:.12g}" if digits_of_word >= NOISE_DIGITS else repr(value).removesuffix(".0")


def _notes(name: str, read: Mapping[str, str]) -> list[str]:
    notes = []
    spellings = defaultdict(list)
    for word, new in read.items():
        spellings[new].append(word)
    for new, several in spellings.items():
        if len(several) > 1:
            notes.append(f"{name}: {listed(several)} are read as one level, {new or 'no value'}.")
    numbers = [word for word in spellings if _NUMBER.fullmatch(word)]
    if len(set(map(float, numbers))) < len(numbers):  # equal decimals are equal floats, and those are quick to compare
        for several in _equal(numbers, Decimal):
            notes.append(f"{name}: {listed(several)} are equal as numbers and differ as text: they are kept apart.")
    for several in _equal(spellings, str.lower):
        notes.append(f"{name}: {listed(several)} differ in the case of letters alone: they are kept apart.")
    return notes


def _equal(words: Iterable[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """The words that share a key with another one."""
    groups = defaultdict(list)
    for word in words:
        groups[key(word)].append(word)
    return [several for several in groups.values() if len(several) > 1]
