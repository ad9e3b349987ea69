"""Notes on a table of runs: settings that differ and are no component, unequal run lengths."""

from __future__ import annotations

import numpy as np

from branchwise.analysis.importers.columns import kind_of
from branchwise.analysis.importers.run_table import Categorical, Codes, RunTable, shorten
from branchwise.analysis.importers.selection import STEPS
from branchwise.analysis.importers.text.numbers import plain_numbers

MAX_VALUES = 12
_SAMPLE = 10_000


def other_settings(runs: RunTable, cell: Codes, block: Codes, used: set[str]) -> list[str]:
    """Of settings that differ between runs and are no component: possible causes of the result."""
    notes = []
    limit = min(MAX_VALUES, len(runs) // 4)
    for name in runs.names:
        if name in used or _is_step(name):
            continue
        is_setting = kind_of(runs, name) == "setting"
        if not is_setting and (kind_of(runs, name) == "metric" or not _has_few_values(runs, name, limit)):
            continue
        column = runs.categorical(name)
        count = len(column.used)
        if count < 2 or (not is_setting and count > limit) or _is_function_of(column.codes, block):
            continue  # a result, a constant, or another name of the seed
        along = _is_function_of(column.codes, cell)
        how = "along with the cells, so their effects are its effects as well" if along else "between runs of one cell"
        notes.append(f"{name} is no component and differs {how}: {_counts(column)}.")
    return notes


def unequal_lengths(runs: RunTable, used: set[str]) -> list[str]:
    """Runs with results that stopped at different epochs or steps."""
    notes = []
    for name in runs.names:
        if name in used or not _is_step(name):
            continue
        column = runs.categorical(name)
        if len(column.used) > 1 and (numbers := plain_numbers(column.used)):
            notes.append(
                f"Runs ended at different {name}, from {min(numbers):g} to {max(numbers):g}: their results are not of "
                "equally long trainings."
            )
    return notes


def offer(runs: RunTable, excluded: set[str]) -> str:
    """The columns that few values make vary, as candidates for components."""
    notes = []
    for name in runs.names:
        if name in excluded or not _has_few_values(runs, name, min(MAX_VALUES, len(runs) // 2)):
            continue
        column = runs.categorical(name).used
        if 2 <= len(column) <= min(MAX_VALUES, len(runs) // 2):
            notes.append(f"{name} ({', '.join(shorten(text, 40) or 'empty' for text in column)})")
    return f"these differ between runs: {'; '.join(notes[:20])}" if notes else "no column differs between runs"


def _is_step(name: str) -> bool:
    return name.lower().rpartition(".")[2] in STEPS


def _has_few_values(runs: RunTable, name: str, limit: int) -> bool:
    """Whether the first rows have at most `limit` values; if not, the others need not be read."""
    head = runs.table.column(name).slice(0, _SAMPLE)
    return len(head.unique()) <= limit


def _is_function_of(codes: Codes, groups: Codes) -> bool:
    """Whether all runs of a group have the same value."""
    pairs = np.unique(codes.astype(np.int64) * (int(groups.max(initial=0)) + 1) + groups)
    return len(pairs) == len(np.unique(groups))


def _counts(column: Categorical) -> str:
    counts = np.bincount(column.codes, minlength=len(column.categories))
    order = np.argsort(-counts, kind="stable")[:4]
    return ", ".join(f"{shorten(column.categories[i], 40) or 'empty'} ({counts[i]})" for i in order if counts[i])
