"""Trackio: the database of a project, or a folder of databases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.sqlite_file import is_database, open_copy, tables
from branchwise.analysis.importers.run_table import RunLog, RunTable
from branchwise.analysis.records.comparing import flatten
from branchwise.analysis.records.damage import RunFolderError

NO_STATES = (
    "{} does not record how runs ended: one that was stopped counts with its last value. --at STEP compares runs at "
    "one step."
)
_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}  # as its JSON spells them


def recognizes(path: Path) -> bool:
    return is_database(path) and {"configs", "metrics", "system_metrics"} <= tables(path)


def folders(path: Path) -> list[Path]:
    return [path] if _databases(path) else []


def _databases(path: Path) -> list[Path]:
    return [file for file in sorted(path.glob("*.db")) if recognizes(file)] if path.is_dir() else [path]


def read(path: Path) -> RunTable:
    runs = RunLog()
    for file in _databases(path):
        _read_database(file, runs)
    return runs.table(run_id="run", experiment="project", notes=(NO_STATES.format("Trackio"),))


def _read_database(file: Path, runs: RunLog) -> None:
    rows: dict[str, int] = {}

    def row_of(run: str, name: str) -> int:
        if run not in rows:
            rows[run] = runs.add({"run": name, "project": file.stem}, {})
        return rows[run]

    with open_copy(file) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
        run_id = "run_id" if "run_id" in columns else "run_name"  # the first versions have only names
        for run, name, config in database.execute(f"SELECT {run_id}, run_name, config FROM configs ORDER BY id"):
            user_config = {key: value for key, value in _mapping(file, name, config).items() if key[:1] != "_"}
            row = row_of(run, name)
            runs.settings[row] = {**runs.settings[row], **user_config}
        query = f"SELECT {run_id}, run_name, step, metrics FROM metrics ORDER BY id"
        for run, name, step, metrics in database.execute(query):
            row = row_of(run, name)
            for key, value in flatten(_mapping(file, name, metrics)).items():
                number = _SPECIAL.get(value, value) if isinstance(value, str) else value
                if isinstance(number, int | float):
                    runs.metrics.add(key, row, step, number)


def _mapping(file: Path, run: str, content: bytes | str) -> Mapping[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise RunFolderError(f"{file}, run {run}: what it logged is no JSON ({error})") from error
    return value if isinstance(value, Mapping) else {}
