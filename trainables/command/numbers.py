"""Numbers as programs print them: `{number}` in a pattern, and the number in a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import regex

NAME = "{number}"  # means NUMBER in patterns
MAX_PATTERN_SECONDS = 2.0  # of CPU time on a single line; a slower pattern backtracks without end
MAX_TEXT = 20_000  # characters of a line that a pattern is matched against: its last ones

_PLAIN = r"(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3}(?!\d))+(?:\.\d*)?"  # f"{value:,}"
_NOT_FINITE = r"(?i:nan|inf(?:inity)?)\b"
_BARE = rf"[-+\u2212]?(?:{_NOT_FINITE}|{_THOUSANDS}|{_PLAIN})"
# Around a single number of NumPy 2, torch, JAX, TensorFlow, decimal: np.float64(0.4), tensor(0.4, device='cuda:0').
_TYPE = r"(?:\w+\.)*(?:b?float\d*|u?int\d*|longdouble|[Tt]ensor|EagerTensor|[Aa]rray|DeviceArray|Decimal|Parameter)"
_OPEN, _CLOSE = rf"{_TYPE}\(\s*(?:\[\s*|['\"])*", r"(?=\s*(?:\]|['\"])*\s*(?:\)|,\s*[a-z_]+=))"
_WRAPPED = rf"{_OPEN}{_BARE}{_CLOSE}"
NUMBER = rf"(?:{_WRAPPED}|{_BARE})"
# With the blanks of a width: f"{value:6.2f}" pads 9.50 more than 10.50.
_PADDED = rf"(?:(?<!\w)[ \t]+)?{NUMBER}"
# Spellings that a pattern of digits, such as [0-9.]+, cannot match.
_UNUSUAL = (
    rf"(?:{_WRAPPED}|[-+\u2212]?{_NOT_FINITE}|(?i:none|null)\b|[-+\u2212]{_PLAIN}"
    r"|[-+]?\d+(?:\.\d*)?[eE][-+]?\d+)"
)

_NUMBER = regex.compile(rf"\s*(?:{_OPEN}(?P<inner>{_BARE}){_CLOSE}.*|(?P<bare>{_BARE}))\s*(?P<percent>%?)\s*", regex.S)
_WRAPPED_START = regex.compile(rf"{_OPEN}(?P<inner>{_BARE}){_CLOSE}")
_FROM_START = regex.compile(rf"[-+\u2212]?{_PLAIN}")
_FROM_START_GROUPED = regex.compile(rf"[-+\u2212]?{_THOUSANDS}(?!\d|,\d|\.\d)")
_TOKEN = regex.compile(rf"(?<![\w.])[-+\u2212]?{_PLAIN}")
_TOKEN_GROUPED = regex.compile(rf"(?<![\w.,])[-+\u2212]?(?:{_THOUSANDS}|{_PLAIN})")
_PERCENT = regex.compile(r"\s?%")
_CUT_COMMA = regex.compile(r",\d")
_WILDCARD = regex.compile(r"\)(?:\.|\\[DSW]|\[\^(?!,))")  # after a group


class SlowPatternError(ValueError):
    """A pattern took too long on a single line."""


@dataclass(frozen=True)
class Printed:
    """A value that was read from a program: a number, or the text in its position."""

    value: Any
    percent: bool = False  # a per-cent sign follows it


def parse_number(text: str) -> Printed | None:
    """Return the number that `text` is, spelled as Python prints it, or None."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = (match["inner"] or match["bare"]).replace("\u2212", "-").replace(",", "").replace("_", "")
    complete = digits.lstrip("+-").isdigit() and len(digits) < 17
    return Printed(int(digits) if complete else float(digits), bool(match["percent"]))


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Compile a pattern of a space. Raises ValueError."""
    try:
        return regex.compile(pattern.replace(NAME, f"(?:{_PADDED})"))
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from error


class NumberPattern:
    """A pattern whose groups hold numbers.

    Each number is read completely, whatever the group matches of it: with sign, exponent and all digits.
    """

    def __init__(self, pattern: str, group: str) -> None:
        """`group` must not be missed where its value is nan, negative or has an exponent."""
        self.pattern = pattern
        pattern = pattern.replace(" (?P<", " +(?P<")  # a padded number: "acc  9.50" after "acc 10.50"
        self._compiled = compile_pattern(pattern)
        self._group = group
        self._unusual = _with_body(pattern, group)
        self._open = {name for name in self._compiled.groupindex if _ends_anywhere(pattern, name)}

    def search(self, line: str) -> Mapping[str, Printed] | None:
        """Return the groups of the first match in a line. Raises SlowPatternError."""
        text = line[-MAX_TEXT:]
        match = self._search(self._compiled, text)
        if match is None and self._unusual is not None:
            match = self._search(self._unusual, text)
        if match is None:
            return None
        return {
            name: _read(text, match, name, name in self._open) for name, value in match.groupdict().items() if value
        }

    def _search(self, compiled: regex.Pattern[str], text: str) -> regex.Match[str] | None:
        try:
            return compiled.search(text, timeout=MAX_PATTERN_SECONDS)
        except TimeoutError:
            raise SlowPatternError(
                f"pattern {self.pattern!r} took more than {MAX_PATTERN_SECONDS:g} s on a line of {len(text)} "
                "characters; write it without nested repeats such as (a+)+"
            ) from None


def _read(text: str, match: regex.Match[str], group: str, is_open: bool) -> Printed:
    """Return the number of a group; `is_open`: the pattern allows anything after it."""
    start, end = match.span(group)
    start += len(match[group]) - len(match[group].lstrip())
    for wrapped in _WRAPPED_START.finditer(text):
        if wrapped.start() <= start and wrapped.start("inner") > start:  # also where it matched the 64 of float64(0.4)
            return parse_number(wrapped["inner"]) or Printed(match[group])
    printed = match[group].strip()
    if parse_number(printed) is None:
        stripped = printed.rstrip(".,;:)]}'\"")  # of the surrounding sentence or list
        return parse_number(stripped) or Printed(printed)
    start, end = _number_span(text, start, end, closed=is_open or match.end() == end)
    number = parse_number(text[start:end])
    if number is None:
        return Printed(text[start:end].strip())
    return Printed(number.value, number.percent or bool(_PERCENT.match(text, end)))


def _number_span(text: str, start: int, end: int, *, closed: bool) -> tuple[int, int]:
    """Return the span of the number of which a group matched this part.

    `closed`: the pattern matches nothing after the group.
    """
    cut = start > 0 and (text[start - 1].isdigit() or text[start - 1] == ".")  # as by .* before the group
    for token in (_TOKEN_GROUPED if cut else _TOKEN).finditer(text):
        if token.start() < start and token.end() >= end:
            start, end = token.span()
            break
    grouped = _FROM_START_GROUPED.match(text, start) if closed else None
    complete = grouped or _FROM_START.match(text, start)
    if complete is not None and complete.end() > end:
        end = complete.end()
    if closed and _CUT_COMMA.match(text, end):  # 0,5: a decimal comma or a list; neither is guessed
        while end < len(text) and (text[end].isdigit() or text[end] in ",."):
            end += 1
    return start, end


def _with_body(pattern: str, group: str) -> regex.Pattern[str] | None:
    """Return the pattern with the body of its group as _UNUSUAL; None if that is impossible."""
    result = _body(pattern, group)
    if result is None:
        return None
    begin, end = result
    try:
        return compile_pattern(f"{pattern[:begin]}{_UNUSUAL}{pattern[end:]}")
    except ValueError:
        return None


def _ends_anywhere(pattern: str, group: str) -> bool:
    """Whether a wildcard follows a group: it would match the rest of a number, too."""
    result = _body(pattern, group)
    return result is not None and _WILDCARD.match(pattern, result[1]) is not None


def _body(pattern: str, group: str) -> tuple[int, int] | None:
    """Return the span of the body of a group in a pattern; None without such a group."""
    opening = f"(?P<{group}>"
    begin = pattern.find(opening)
    if begin < 0:
        return None
    begin += len(opening)
    depth, index, in_set = 1, begin, False
    while index < len(pattern) and depth:
        character = pattern[index]
        if character == "\\":
            index += 1
        elif in_set:
            in_set = character != "]"
        elif character == "[":
            in_set = True
            if pattern[index + 1 : index + 2] == "]":  # a literal ] at the start of a set
                index += 1
            elif pattern[index + 1 : index + 3] == "^]":
                index += 2
        else:
            depth += (character == "(") - (character == ")")
        index += 1
    return None if depth else (begin, index - 1)
