"""TensorBoard: folders of event files, each run with its hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.framing import tfrecords
from branchwise.analysis.importers.files.yaml_text import HPARAMS, read_yaml
from branchwise.analysis.importers.history.points import MetricLog
from branchwise.analysis.importers.run_table import RunLog, RunTable, count, counted, listed
from branchwise.analysis.importers.trackers.event_file import EXACT, MARK, EventLog
from branchwise.analysis.records.damage import RunFolderError


@dataclass
class LoggedRun:
    """A run: its folder, its settings, and events of its folder and those below, by tag prefix."""

    folder: Path
    settings: dict[str, Any]
    parts: list[tuple[str, EventLog]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Final state by the HParams plugin; empty if unknown."""
        return next((events.state for _, events in self.parts if events.state), "")

    @property
    def damaged(self) -> bool:
        return any(events.damaged for _, events in self.parts)


def folders(path: Path) -> Iterator[Path]:
    """The folders that hold event files."""
    for folder, _, files in walk(path):
        if any(MARK in name for name in files):
            yield folder


def recognizes(path: Path) -> bool:
    return MARK in path.name and len(tfrecords(path.read_bytes()).starts) > 0


def read(path: Path) -> RunTable:
    if path.is_file():
        path = path.parent
    results = {folder: _events(folder) for folder in folders(path)}
    runs, without = _runs(results)
    if not runs:
        raise RunFolderError(
            f"{path} holds event files of {count(len(results), 'run')} and no hyperparameters, and settings are not "
            "guessed from the names of folders; log them with add_hparams, write an hparams.yaml into each run's "
            "folder, or make a CSV with a row for each run"
        )
    log, repeated = RunLog(), set[str]()
    states_are_reported = any(run.state for run in runs)
    for run in runs:
        state = "interrupted" if run.damaged else run.state or ("running" if states_are_reported else "")
        row = log.add({"run": relative(run.folder, path), "state": state}, run.settings)
        repeated |= _log_scalars(log.metrics, row, run)
    notes = tuple(_notes(path, runs, without, states_are_reported))
    return log.table(state="state", run_id="run", repeated=frozenset(repeated), notes=notes)


def _events(folder: Path) -> EventLog:
    events = EventLog()
    for file in sorted(folder.iterdir()):  # their names begin with the time
        if MARK in file.name and file.is_file():
            events.read(file)
    return events


def _runs(result: dict[Path, EventLog]) -> tuple[list[LoggedRun], list[Path]]:
    """The runs, and the folders with scalars that belong to none.

    A folder with hyperparameters is a run. It includes every folder below it that has none. PyTorch's
    `add_hparams` writes them into a separate folder below the run's: a single such folder is joined
    with the run above it.
    """
    settings = {folder: _settings(folder, events) for folder, events in result.items()}
    joined: dict[Path, Path] = {}
    for folder in result:
        below = [
            other for other, local_settings in settings.items() if other.parent == folder and local_settings is not None
        ]
        if settings[folder] is None and len(below) == 1 and result[folder].scalars:
            joined[below[0]] = folder
    runs: dict[Path, LoggedRun] = {}
    for folder, local_settings in settings.items():
        if local_settings is not None:
            root = joined.get(folder, folder)
            runs[root] = LoggedRun(root, local_settings)
    without = []
    for folder, events in result.items():
        owner = next((item for item in (folder, *folder.parents) if item in runs), None)
        if owner is not None:
            prefix = "" if folder in joined or folder == owner else f"{folder.relative_to(owner).as_posix()}/"
            runs[owner].parts.append((prefix, events))
        elif events.scalars:
            without.append(folder)
    return list(runs.values()), without


def _settings(folder: Path, events: EventLog) -> dict[str, Any] | None:
    """The hyperparameters of the plugin, with those of Lightning's file next to the events."""
    file = folder / HPARAMS
    if file.is_file():
        return {**(events.settings or {}), **read_yaml(file)}
    return events.settings


def _log_scalars(log: MetricLog, row: int, run: LoggedRun) -> set[str]:
    """Add a run's scalars; return tags of which two folders have different last values."""
    last: dict[str, float] = {}
    repeated = set()
    for prefix, events in run.parts:
        for tag, (steps, values) in events.scalars.items():
            if not len(steps):
                continue
            name, value = prefix + tag, float(values[len(steps) - 1 - int(np.argmax(steps[::-1]))])
            if name not in last:
                last[name] = value
                log.extend(name, row, steps, values)
            elif last[name] != value:
                repeated.add(name)
    return repeated


def _notes(path: Path, runs: list[LoggedRun], without: list[Path], states_are_reported: bool) -> Iterator[str]:
    if without:
        names = listed([relative(folder, path) for folder in without], 5)
        yield f"{count(len(without), 'folder')} of event files left out, which have no hyperparameters: {names}."
    for attribute, what in (
        ("cut_off", "The last record of an event file is cut off and left out in"),
        ("damaged", "Event files are damaged, so the last values are not known, in"),
    ):
        affected = [
            relative(run.folder, path) for run in runs if any(getattr(events, attribute) for _, events in run.parts)
        ]
        if affected:
            yield f"{what} {counted(affected)}."
    if not states_are_reported:
        yield "The event files do not say how the runs ended."
    large = {
        name
        for run in runs
        for name, value in run.settings.items()
        if isinstance(value, int | float) and EXACT <= abs(value) < float("inf")
    }
    if large:
        yield f"TensorBoard keeps numbers as doubles, so {listed(sorted(large))} may not be exact above 2^53."
