"""The user's description of external runs, and its options."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from branchwise.analysis.declared.inference import ALPHA, check_alpha
from branchwise.analysis.records.damage import RunFolderError
from branchwise.run_files.columns import Better, Scale

BETTER: dict[str, Better] = {"minimize": "lower", "maximize": "higher"}


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The user's description of a table of runs.

    Attributes:
        components: Columns with the values to compare.
        block: The column of the training seed, which runs of different cells share. None: `seed`, and where runs are
            not paired and no such column exists, each run has a separate seed.
        value: The column of the result.
        direction: `minimize` or `maximize`.
        scale: None to choose by the values.
        range: The values that the result can have, such as (0, 100) for per cent; None for none declared.
        experiment: The experiment or study whose runs are analyzed, where a source holds multiple.
        reference: Of a component, the level that the others are compared with.
        full: Of a component, the level of the full method.
        claims: Claims to be tested, as exploratory ones.
        at: Which value of a metric's history is the result: `last`, `best` or the number of a step; None for the one
            that the source stores, which is the last or the tool's summary.
        paired: Whether runs of different cells are compared within a seed; else by Welch's t.
        alpha: The error that all tests share; intervals are at 1 - alpha.
    """

    components: Sequence[str]
    block: str | None = None
    value: str
    direction: str
    scale: Scale | None = None
    range: tuple[float, float] | None = None
    experiment: str | None = None
    reference: Mapping[str, str] | None = None
    full: Mapping[str, str] | None = None
    claims: Sequence[str] = ()
    at: str | None = None
    paired: bool = True
    alpha: float = ALPHA


def read_alpha(alpha: float) -> float:
    """The error that all tests share. Raises RunFolderError where it is none."""
    try:
        return check_alpha(alpha)
    except ValueError as error:
        raise RunFolderError(f"--alpha {alpha}: {error}") from error


def split_names(text: str) -> list[str]:
    """Names in an option, separated by commas; a name with a comma is quoted as in CSV."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def split_levels(option: str, texts: Sequence[str], components: Sequence[str]) -> dict[str, str]:
    """Parse `A=X,B=Y`, given the components: a comma separates only before a component's name.

    Raises:
        RunFolderError: A text does not begin with a component's name and an equals sign.
    """
    names = "|".join(re.escape(name) for name in sorted(components, key=len, reverse=True))
    separator = re.compile(rf"(?:^|,)\s*({names})\s*=") if names else re.compile("(?!)")
    levels: dict[str, str] = {}
    for text in filter(None, texts):
        starts = list(separator.finditer(text))
        if not starts or starts[0].start() != 0:
            allowed = ", ".join(f"{name}=VALUE" for name in components) or "--components first"
            raise RunFolderError(f"{option} {text}: write COMPONENT=VALUE, several with commas; allowed are {allowed}")
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            levels[start[1]] = text[start.end() : following.start() if following else len(text)].strip()
    return levels


def suggest(option: str, text: str) -> str:
    """An option as it can be pasted into a shell."""
    return f"{option} {shlex.quote(text)}"


def read_range(text: str) -> tuple[float, float]:
    """`0,100` as two numbers. Raises RunFolderError."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise RunFolderError(f"--range {text}: write two numbers, LOW,HIGH, such as 0,100 for per cent") from None
    if not low < high or high - low in (float("inf"),):
        raise RunFolderError(f"--range {text}: LOW must be below HIGH, and both finite")
    return low, high
