"""An arm's record as scalars and labels for trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from branchwise.orchestration.checkout import ROOT
from branchwise.run_files.columns import column_and_evaluation
from branchwise.trainables.runtime.run_folder import RunFolder

Record = Mapping[str, Any]
Scalar = tuple[str, int, float]  # tag, step, value


def scalars_of(record: Mapping[str, Any]) -> Iterator[Scalar]:
    """The curves of an arm's record, and its values at the last step.

    These are called `values/value` and `values/weak/value`: not all trackers accept the parentheses
    of `value(weak)`, and a metric cannot be a folder of others.
    """
    for row in record.get("tables", {}).get("curves", ()):
        for name, value in row.items():
            if name != "step" and _is_number(value):
                yield f"curves/{name}", int(row["step"]), value
    values = record.get("values", {})
    for name, value in values.items():
        if name != "steps" and _is_number(value):
            column, evaluation = column_and_evaluation(name)
            tag = f"values/{evaluation}/{column}" if evaluation else f"values/{name}"
            yield tag, int(values.get("steps") or 0), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def labels_of(run: RunFolder, arm: str, record: Record) -> dict[str, str]:
    """Labels of the scalars: sweep, arm, data set, cell, block and status."""
    across = {f"across.{name}": str(level) for name, level in (record.get("across") or {}).items()}
    columns = {key: str(record.get(key, "")) for key in ("cell", "block", "status")}
    return {"sweep": run.name, "arm": arm, **across, **columns}


def companion_folder(run: RunFolder) -> Path:
    """The folder of a tracker's files: the storage, or for a URI results/ of this checkout."""
    local = run.storage.local
    return local if local is not None else ROOT / "results"
