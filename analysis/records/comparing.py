"""Whether values may share a table, and in which settings runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.records.run import Run
from branchwise.run_files.columns import column_and_evaluation


class IncomparableError(ValueError):
    """Values measured in different ways cannot share a table; the message names the fields."""


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise IncomparableError unless all results, also of searches, were measured the same way."""
    _same_key([(run, run.results) for run in runs])
    for column in dict.fromkeys(name for run in runs for name in map(str, run.arms) if _is_key_of_evaluation(name)):
        with_key = [(run, run.results.dropna(subset=column)) for run in runs if column in run.arms]
        _same_key([(run, rows.assign(comparability_key=rows[column])) for run, rows in with_key])
    for run in runs:  # a search may measure more cheaply than its confirmation does
        _same_key([(run, run.arms[(run.arms["kind"] == "search") & np.isfinite(run.arms["value"])])])


def check_inference(runs: Sequence[Run]) -> None:
    """Raise IncomparableError unless all runs are tested by the same rules."""
    for run in runs:
        if run.inference != runs[0].inference:
            raise IncomparableError(
                f"{runs[0].name} and {run.name} are tested differently ({runs[0].inference} against {run.inference}); "
                "a report on several runs needs one alpha, and either paired or unpaired runs"
            )


def _is_key_of_evaluation(column: str) -> bool:
    plain, evaluation = column_and_evaluation(column)
    return plain == "comparability_key" and bool(evaluation)


def _same_key(tables: Sequence[tuple[Run, pd.DataFrame]]) -> None:
    reference: tuple[str, dict[str, Any]] | None = None
    for run, measured in tables:
        for text, rows in measured.groupby("comparability_key", dropna=False, sort=False):
            key = json.loads(text) if isinstance(text, str) else {}
            where = f"{run.name}/{rows['arm'].iloc[0]}"
            if reference is None:
                reference = (where, key)
            elif key != reference[1]:
                raise IncomparableError(_difference(reference, (where, key)))


def _difference(first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]) -> str:
    fields = sorted(f for f in first[1].keys() | second[1].keys() if first[1].get(f) != second[1].get(f))
    message = "; ".join(f"{f} is {first[1].get(f)!r} against {second[1].get(f)!r}" for f in fields)
    return f"the values of {first[0]} and {second[0]} are measured differently and cannot be compared: {message}"


def differing_fields(runs: Sequence[Run]) -> dict[str, tuple[Any, ...]]:
    """Return settings, as dotted keys, in which runs differ: what their comparison compares."""
    flat = [flatten(run.space) for run in runs]
    keys = sorted({key for item in flat for key in item} - {"name"})
    rows = {key: tuple(entry.get(key) for entry in flat) for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as a flat mapping, with dotted names; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(item, f"{name}.") if isinstance(item, Mapping) and item else {name: item}
    return flat
