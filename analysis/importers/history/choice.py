"""Choice of the value of a history that is a run's result: last, best, or that of a step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa

from branchwise.analysis.importers.history.points import Points
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.importers.run_table import Mask, RunTable, count, counted
from branchwise.analysis.importers.text.states import endings
from branchwise.analysis.records.damage import RunFolderError


def is_step(at: str | None) -> bool:
    """Whether `at` names a step, so that all results are of equally long trainings."""
    return at not in (None, "last", "best")


def choose_values(
    runs: RunTable, value: str, block: str, used: set[str], options: ImportOptions, source: str
) -> RunTable:
    """The runs with the value that `options.at` chooses of the history of the column `value`.

    Raises:
        RunFolderError: The source or the column has no history, or a finished run has no value at the step.
    """
    at, step = _read(options.at)
    if at is None:
        return replace(runs, notes=(*runs.notes, *_notes_of_default(runs, value)))
    if runs.history is None:
        raise RunFolderError(f"{source} holds one value of {value} for each run and no history; leave out --at {at}")
    points = runs.history.points(value)
    if not len(points.rows):
        raise RunFolderError(f"{source} holds no history of {value}; leave out --at {at}")
    needed = endings(runs, used, source).equals("") & ~runs.is_empty(block)
    _refuse_without_history(runs, points, needed & ~runs.is_empty(value), at, value, source)
    if step is not None:
        _refuse_without_step(runs, points, step, needed, value, source)
        chosen = points.take(points.steps == step)
        notes = [f"{value} is the value at step {step:g} of each run.", *_doubled(chosen, value)]
    elif at == "last":
        chosen = points
        notes = [f"{value} is the last value of each run's history.", *_doubled(_at_end(points), value)]
    else:
        chosen = _best(points, maximize=options.direction == "maximize")
        notes = _optimism(points, value)
    texts = [""] * len(runs)
    for row, number in zip(chosen.rows.tolist(), chosen.values.tolist(), strict=True):
        texts[row] = repr(number)  # of some of a run, the last
    column = pa.chunked_array([pa.array(texts, pa.string())])
    table = runs.table.set_column(runs.names.index(value), value, column)
    return replace(runs, table=table, history=None, notes=(*runs.notes, *notes))


def _read(at: str | None) -> tuple[str | None, float | None]:
    if at in (None, "last", "best"):
        return at, None
    try:
        step = float(str(at))
    except ValueError:
        step = math.nan
    if not math.isfinite(step):
        raise RunFolderError(f"--at {at}: it must be last, best or the number of a step")
    return f"{step:g}", step


def _at_end(points: Points) -> Points:
    """The points at the largest step of each run."""
    last = np.full(int(points.rows.max()) + 1, -np.inf)
    np.maximum.at(last, points.rows, points.steps)
    return points.take(points.steps == last[points.rows])


def _best(points: Points, maximize: bool) -> Points:
    """The best number of each run, NaN where it has none."""
    signed = np.where(np.isnan(points.values), np.inf, -points.values if maximize else points.values)
    return points.take(np.lexsort((-signed, points.rows)))


def _optimism(points: Points, value: str) -> list[str]:
    lengths = np.bincount(points.rows)
    lengths = lengths[lengths > 0]
    span = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    notes = [
        f"{value} is the best of the {span} values that each run logged, chosen on the values that are compared: it is "
        "optimistic, the more so the longer and noisier a run; --at last is not."
    ]
    bad = np.unique(_at_end(points).rows[~np.isfinite(_at_end(points).values)])
    if len(bad):
        notes.append(f"{count(len(bad), 'run')} had no finite {value} at the end: the best value is an earlier one.")
    return notes


def _doubled(points: Points, value: str) -> list[str]:
    """A note where a step of a run has different values."""
    same = (points.rows[1:] == points.rows[:-1]) & (points.steps[1:] == points.steps[:-1])
    differ = (points.values[1:] != points.values[:-1]) & ~(np.isnan(points.values[1:]) & np.isnan(points.values[:-1]))
    runs = np.unique(points.rows[1:][same & differ])
    if not len(runs):
        return []
    return [f"{count(len(runs), 'run')} logged {value} more than once at that step: the value logged last counts."]


def _refuse_without_history(runs: RunTable, points: Points, needed: Mask, at: str, value: str, source: str) -> None:
    """Refuse runs that have a value and no history of it."""
    has_any = np.zeros(len(runs), dtype=bool)
    has_any[points.rows] = True
    missing = [runs.label(int(row)) for row in np.flatnonzero(needed & ~has_any)]
    if missing:
        raise RunFolderError(
            f"{source}: {value} has one value and no history in {counted(missing)}; leave out --at {at}"
        )


def _refuse_without_step(runs: RunTable, points: Points, step: float, needed: Mask, value: str, source: str) -> None:
    """Refuse a step that a finished run with a history does not have."""
    has_any, has_step = np.zeros(len(runs), dtype=bool), np.zeros(len(runs), dtype=bool)
    has_any[points.rows], has_step[points.rows[points.steps == step]] = True, True
    missing = [runs.label(int(row)) for row in np.flatnonzero(needed & has_any & ~has_step)]
    if not missing:
        return
    compared = np.flatnonzero(needed & has_any)
    stored = np.isin(points.rows, compared)
    pairs = np.unique(np.stack([points.steps[stored], points.rows[stored].astype(np.float64)]), axis=1)
    steps, number = np.unique(pairs[0], return_counts=True)
    shared = steps[number == len(compared)]
    step_text = f"the last step that all have is {shared[-1]:.12g}" if len(shared) else "there is no step that all have"
    raise RunFolderError(f"{source}: {value} has no value at step {step:.12g} in {counted(missing)}; {step_text}")


def _notes_of_default(runs: RunTable, value: str) -> list[str]:
    """Return notes on the value that the source keeps: a doubled last step, a separate summary."""
    if runs.history is None or not runs.history.is_loaded:
        return []
    points = runs.history.points(value)
    numbers = runs.as_floats(value)
    if not len(points.rows) or numbers is None:
        return []
    if not runs.history.summary:
        return _doubled(_at_end(points), value)
    last = dict(zip(points.rows.tolist(), points.values.tolist(), strict=True))
    other = [row for row, number in last.items() if not np.array_equal(number, numbers[row], equal_nan=True)]
    if not other:
        return []
    return [
        f"{value} is {runs.history.summary}, which is not the last value of the history in "
        f"{count(len(other), 'run')}; --at last takes that."
    ]
