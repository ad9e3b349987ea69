"""W&B: the folders next to a script, read from their logs of transactions; runs of its API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files import protobuf
from branchwise.analysis.importers.files.content import first_bytes
from branchwise.analysis.importers.files.exports import wandb_table
from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.framing import log_records
from branchwise.analysis.importers.history.points import NO_POINTS, History, MetricLog, Points
from branchwise.analysis.importers.run_table import RunTable, counted
from branchwise.analysis.records.comparing import flatten
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.remeasured import is_number

_MAGIC = b":W&B"
_HEADER = 7
_RUN, _HISTORY, _SUMMARY, _CONFIG, _EXIT = 17, 2, 3, 5, 18  # fields of its record


@dataclass
class LoggedRun:
    """A run, from the log of each of its processes: a resumed run has multiple logs."""

    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"


def folders(path: Path) -> Iterator[Path]:
    """The folders that hold a log."""
    for folder, names, files in walk(path):
        if any(name.endswith(".wandb") for name in files):
            names.clear()
            yield folder


def recognizes(path: Path) -> bool:
    return first_bytes(path, len(_MAGIC)) == _MAGIC


def read(path: Path) -> RunTable:
    files = [path] if path.is_file() else [file for folder in folders(path) for file in sorted(folder.glob("*.wandb"))]
    runs: dict[tuple[str, str], LoggedRun] = {}
    log, cut_off = MetricLog(), []
    for file in sorted(files, key=lambda file: (file.parent.name.rpartition("run-")[2], file.name)):
        if not _read_log(file, runs, log):
            cut_off.append(relative(file.parent, path) if path.is_dir() else file.name)
    if not runs:
        raise RunFolderError(f"{path} holds no run: its logs end before their first record")
    notes = (f"The log is cut off, and what follows is left out, in {counted(cut_off)}.",) if cut_off else ()
    records = [
        {**run.facts, "state": run.state, "config": run.config, "summary": _without_internal(run.summary)}
        for run in runs.values()
    ]
    table = wandb_table(records, notes)
    keys = {f"summary.{key}": key for key in log.names} | {key: key for key in log.names}
    history = History(load=lambda name: log.points(keys.get(name, "")), is_loaded=True, summary="the run's summary")
    return replace(table, history=history, run_id="id")


def _without_internal(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "_wandb"}


def _read_log(file: Path, runs: dict[tuple[str, str], LoggedRun], log: MetricLog) -> bool:
    """Add the content of a log; return whether it is complete."""
    data = file.read_bytes()
    if not data:
        return False  # its process was killed before it wrote anything
    if not data.startswith(_MAGIC):
        raise RunFolderError(f"{file} is no log of W&B")
    run: LoggedRun | None = None
    row = -1
    for record in log_records(data, _HEADER):
        if record is None:
            return False
        for number, content in protobuf.fields(record):
            if not isinstance(content, bytes):
                continue
            if number == _RUN:
                run, row = _run_of(content, runs)
            elif run is None:
                continue
            elif number == _CONFIG:
                _update(run.config, content)
            elif number == _SUMMARY:
                _update(run.summary, content)
            elif number == _HISTORY:
                _add_history(log, row, content)
            elif number == _EXIT:
                run.state = "failed" if protobuf.number(content, 1) else "finished"
    return True


def _run_of(content: bytes, runs: dict[tuple[str, str], LoggedRun]) -> tuple[LoggedRun, int]:
    run_id, project = protobuf.text(content, 1), protobuf.text(content, 3)
    run = runs.setdefault((project, run_id), LoggedRun())
    run.state = "running"
    names = {"name": 8, "group": 6, "job_type": 7}
    facts = {name: protobuf.text(content, number) for name, number in names.items()}
    run.facts = {"id": run_id, **run.facts, **{name: text for name, text in facts.items() if text}}
    run.facts.setdefault("name", run_id)
    if project:
        run.facts["project"] = project
    for tree, number in ((run.config, 4), (run.summary, 5)):
        for update in protobuf.children(content, number):
            _update(tree, update)
    return run, list(runs).index((project, run_id))


def _update(tree: dict[str, Any], content: bytes) -> None:
    """Apply an update of the config or of the summary: set values, remove keys."""
    for item in protobuf.children(content, 1):
        path = _path(item)
        node = tree
        for key in path[:-1]:
            below = node.get(key)
            if not isinstance(below, dict):
                below = node[key] = {}
            node = below
        node[path[-1]] = _value(item)
    for item in protobuf.children(content, 2):
        path = _path(item)
        parent: Any = tree
        for key in path[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            parent.pop(path[-1], None)


def _path(item: bytes) -> list[str]:
    """The keys of an item: a single key, or a key for each level."""
    keys = [key.decode("utf-8", errors="replace") for key in protobuf.children(item, 2)]
    return keys or [protobuf.text(item, 1)]


def _value(item: bytes) -> Any:
    text = protobuf.text(item, 16)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _add_history(log: MetricLog, row: int, content: bytes) -> None:
    step = protobuf.number(protobuf.child(content, 2), 1)
    for item in protobuf.children(content, 1):
        for name, value in flatten({".".join(_path(item)): _value(item)}).items():
            if is_number(value):
                log.add(name, row, step, value)


def table_of_api(runs: Iterable[Any]) -> RunTable:
    """Runs of `wandb.Api().runs(...)`. A history is fetched only where a value of it is chosen."""
    all_runs = list(runs)
    records = [
        {
            "id": run.id,
            "name": run.name,
            "state": run.state,
            "config": _plain(run.config),
            "summary": _without_internal(_plain(run.summary)),
        }
        for run in all_runs
    ]
    table = wandb_table(records)
    return replace(table, history=History(load=_api_history(all_runs)), run_id="id")


def _api_history(runs: list[Any]) -> Callable[[str], Points]:
    def load(name: str) -> Points:
        log, key = MetricLog(), name.removeprefix("summary.")
        for row, run in enumerate(runs):
            if not hasattr(run, "scan_history"):
                return NO_POINTS
            for item, point in enumerate(run.scan_history(keys=["_step", key])):
                if point.get(key) is not None:
                    log.add(key, row, float(point.get("_step", item)), float(point[key]))
        return log.points(key)

    return load


def _plain(value: Any) -> Any:
    """A config or summary of the API as dicts."""
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {str(key): _plain(value[key]) for key in value.keys()}  # noqa: SIM118  # its summaries are no mappings
    return value
