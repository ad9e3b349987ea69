"""Sacred: the folders of its FileStorageObserver."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.history.points import MetricLog
from branchwise.analysis.importers.run_table import RunLog, RunTable, counted
from branchwise.analysis.records.comparing import flatten
from branchwise.analysis.records.remeasured import is_number

RUN, CONFIG, METRICS, INFO = "run.json", "config.json", "metrics.json", "info.json"


def folders(path: Path) -> Iterator[Path]:
    """The folders with a run and its config; none is in another."""
    return (folder for folder in _candidates(path) if _is_complete(folder / RUN))


def _candidates(path: Path) -> Iterator[Path]:
    """The folders of runs, and those in which the file of a run is cut off."""
    for folder, names, files in walk(path):
        if RUN not in files or CONFIG not in files:
            continue
        if not _is_complete(folder / RUN) or {"experiment", "status"} <= set(_mapping(folder / RUN)):
            names.clear()
            yield folder


def read(path: Path) -> RunTable:
    runs, damaged = RunLog(), []
    for folder in _candidates(path):
        run = _mapping(folder / RUN)
        experiment = run.get("experiment")
        facts = {
            "run": relative(folder, path),
            "experiment": experiment.get("name", "") if isinstance(experiment, Mapping) else "",
            "state": str(run.get("status")).lower(),
        }
        results = _results(run.get("result"), _mapping(folder / INFO))
        row = runs.add(facts, _plain(_mapping(folder / CONFIG)), results)
        is_complete = _log_metrics(runs.metrics, row, folder / METRICS)
        if not is_complete or not _is_complete(folder / CONFIG) or not _is_complete(folder / RUN):
            damaged.append(facts["run"])
            facts["state"] = "interrupted"
    notes = (f"Files are cut off, so values are not known, in {counted(damaged)}.",) if damaged else ()
    return runs.table(state="state", run_id="run", experiment="experiment", notes=notes)


def _content(file: Path) -> Any:
    """Content of a file; None where it is missing, cut off or no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _mapping(file: Path) -> Mapping[str, Any]:
    content = _content(file)
    return content if isinstance(content, Mapping) else {}


def _is_complete(file: Path) -> bool:
    return not file.is_file() or _content(file) is not None


def _log_metrics(log: MetricLog, row: int, file: Path) -> bool:
    """Add the metrics of a run; return whether their file is complete."""
    content = _content(file)
    if content is None:
        return not file.is_file()
    for name, metric in _mapping(file).items():
        if isinstance(metric, Mapping):
            steps, values = metric.get("steps", ()), metric.get("values", ())
            for step, value in zip(steps, values, strict=False):
                log.add(name, row, _number(step), _number(value))
    return True


def _results(result: Any, info: Mapping[str, Any]) -> dict[str, Any]:
    """Results that the main function returned, and numbers of `info`."""
    plain = _plain(result)
    actual = flatten(plain, "result.") if isinstance(plain, Mapping) else {"result": plain}
    actual |= {name: value for name, value in flatten(_plain(info), "info.").items() if is_number(value)}
    return {name: value for name, value in actual.items() if value is not None}


def _number(value: Any) -> float:
    """Return a number, NaN for another value: the run failed, its last number is not the result."""
    plain = _plain(value)
    return plain if isinstance(plain, int | float) else math.nan


def _plain(value: Any) -> Any:
    """A value without what jsonpickle wraps around tuples and NumPy's numbers."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "py/object" in value:  # a number of NumPy's, or an array
        for key in ("value", "values"):
            if key in value:
                return value[key]
    for key in ("py/tuple", "py/set"):
        if key in value:
            return _plain(value[key])
    return {key.removeprefix("json://").strip('"') if key.startswith("json://") else key: _plain(item)
            for key, item in value.items()}  # fmt: skip
