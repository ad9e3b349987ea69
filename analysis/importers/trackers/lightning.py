"""PyTorch Lightning: the folders of its CSVLogger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.history_csv import read_history
from branchwise.analysis.importers.files.yaml_text import HPARAMS, read_yaml
from branchwise.analysis.importers.run_table import RunLog, RunTable, counted
from branchwise.analysis.importers.trackers.event_file import MARK
from branchwise.analysis.importers.trackers.trackio import NO_STATES

METRICS, CONFIG = "metrics.csv", "config.yaml"  # the second is of its command line


def folders(path: Path) -> Iterator[Path]:
    """The folders of versions with metrics."""
    for folder, _, files in walk(path):
        if METRICS in files and HPARAMS in files:
            yield folder


def read(path: Path) -> RunTable:
    runs, cut_off = RunLog(), []
    for folder, _, files in walk(path):
        if HPARAMS not in files or (METRICS not in files and any(MARK in name for name in files)):
            continue
        logged_config: dict[str, Any] = read_yaml(folder / CONFIG) if CONFIG in files else {}
        name = relative(folder, path)
        row = runs.add({"run": name}, {**logged_config, **read_yaml(folder / HPARAMS)})
        if METRICS in files and not read_history(folder / METRICS, row, runs.metrics):
            cut_off.append(name)
    notes = [NO_STATES.format("Lightning's CSVLogger")]
    if cut_off:
        notes.append(f"The last line of {METRICS} is cut off and left out in {counted(cut_off)}.")
    return runs.table(run_id="run", notes=tuple(notes))
