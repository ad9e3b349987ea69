"""MLflow: its database, or the folder of a file store."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from branchwise.analysis.importers.files.sqlite_file import is_database, open_copy, tables
from branchwise.analysis.importers.history.points import History, MetricLog, Points
from branchwise.analysis.importers.run_table import SETTING, RunTable, from_records
from branchwise.analysis.records.damage import RunFolderError

LARGEST = 1.7976931348623157e308  # how the database keeps infinity
PARENT = "mlflow.parentRunId"
STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}
_FACTS = ("run_id", "name", "experiment", "state", "parent")


def recognizes_database(path: Path) -> bool:
    return is_database(path) and {"runs", "params", "metrics", "experiments"} <= tables(path)


def read_database(path: Path) -> RunTable:
    with open_copy(path) as database:
        experiments = {
            number: (name, stage)
            for number, name, stage in database.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments")
        }
        rows: dict[str, dict[str, Any]] = {}
        query = "SELECT run_uuid, name, experiment_id, status, lifecycle_stage FROM runs"
        for run, name, number, status, stage in database.execute(query):
            experiment, of_experiment = experiments.get(number, (str(number), "active"))
            if "deleted" not in (stage, of_experiment):
                rows[run] = {"run_id": run, "name": name, "experiment": experiment, "state": status, "parent": ""}
        for run, key, text in database.execute("SELECT run_uuid, key, value FROM params"):
            if run in rows:
                rows[run][SETTING + key] = text
        for run, key, text in database.execute("SELECT run_uuid, key, value FROM tags"):
            if run in rows:
                _add_tag(rows[run], key, text)
        for run, key, text in _latest_metrics(database):
            if run in rows:
                rows[run][_metric(key)] = text
    row_of = {run: i for i, run in enumerate(rows)}
    return _table(list(rows.values()), lambda name: _points_of_database(path, row_of, _key(name)))


def _add_tag(row: dict[str, Any], key: str, text: str) -> None:
    """Add a tag of the user's, or the parent or name that a tag of MLflow's holds."""
    if key == PARENT:
        row["parent"] = text
    elif key == "mlflow.runName":
        row["name"] = row["name"] or text
    elif not key.startswith("mlflow."):
        row[f"tags.{key}"] = text


def _metric(key: str) -> str:
    return f"metrics.{key}" if key in _FACTS or key.startswith((SETTING, "tags.")) else key


def _key(name: str) -> str:
    """The metric of a column."""
    key = name.removeprefix("metrics.")
    return key if _metric(key) == name else name


def _points_of_database(path: Path, row_of: dict[str, int], key: str) -> Points:
    log = MetricLog()
    with open_copy(path) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
        step, is_nan = ("step" if "step" in columns else "0"), ("is_nan" if "is_nan" in columns else "0")
        query = f"SELECT run_uuid, {step}, value, {is_nan} FROM metrics WHERE key = ? ORDER BY {step}, timestamp, value"
        for run, at, value, nan in database.execute(query, (key,)):
            if run in row_of:
                infinite = abs(value) >= LARGEST
                number = math.nan if nan else math.copysign(math.inf, value) if infinite else value
                log.add(key, row_of[run], at, float(number))
    return log.points(key)


def _points_of_folders(folders: list[Path], key: str) -> Points:
    log = MetricLog()
    for i, folder in enumerate(folders):
        file = folder / "metrics" / key
        if file.is_file() and key:
            for (step, _, value), _ in sorted(_lines_of_file(file), key=lambda line: line[0][:2]):
                log.add(key, i, step, value)
    return log.points(key)


def _latest_metrics(database: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """The value of each run's metric at its largest step, and of those the latest."""
    present = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    table = "latest_metrics" if "latest_metrics" in present else "metrics"  # of which older servers have no summary
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
    names = [name if name in columns else "0" for name in ("step", "timestamp", "is_nan")]
    latest: dict[tuple[str, str], tuple[tuple[float, float, float], bool]] = {}
    for run, key, value, step, time, is_nan in database.execute(
        f"SELECT run_uuid, key, value, {', '.join(names)} FROM {table}"
    ):
        order = (step or 0, time or 0, value)
        if (run, key) not in latest or order >= latest[run, key][0]:
            latest[run, key] = (order, bool(is_nan))
    for (run, key), ((_, _, value), is_nan) in latest.items():
        infinite = abs(value) >= LARGEST
        text = "nan" if is_nan else ("inf" if value > 0 else "-inf") if infinite else repr(float(value))
        yield run, key, text


def read_folder(path: Path) -> RunTable:
    rows, folders, experiments = [], list[Path](), dict[Path, tuple[str, str]]()
    for folder in run_folders(path):
        run = _meta(folder)
        above = folder.parent
        if above not in experiments:
            meta = _meta(above) if (above / "meta.yaml").is_file() else {}
            experiments[above] = (str(meta.get("name", above.name)), str(meta.get("lifecycle_stage", "active")))
        experiment, stage = experiments[above]
        if "deleted" in (run.get("lifecycle_stage"), stage):
            continue
        status = run.get("status")
        row = {
            "run_id": str(run.get("run_id") or run["run_uuid"]), "name": run.get("run_name") or "",
            "experiment": experiment, "state": STATES.get(status, str(status)) if status else "", "parent": "",
        }  # fmt: skip
        for key, file in _files(folder / "params"):
            row[SETTING + key] = file.read_text(encoding="utf-8")
        for key, file in _files(folder / "tags"):
            _add_tag(row, key, file.read_text(encoding="utf-8"))
        for key, file in _files(folder / "metrics"):
            row[_metric(key)] = _latest_of_file(file)
        rows.append(row)
        folders.append(folder)
    return _table(rows, lambda name: _points_of_folders(folders, _key(name)))


def run_folders(path: Path) -> Iterator[Path]:
    """Yield run folders below a folder, none inside another; hidden ones are MLflow's trash."""
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        current = Path(folder)
        if "meta.yaml" in files and _is_run(current):
            folders.clear()
            yield current


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a run: models, traces and data sets also have a meta.yaml."""
    return bool({"run_id", "run_uuid"} & set(_meta(folder))) and any(
        (folder / name).is_dir() for name in ("metrics", "params", "tags", "artifacts")
    )


def _meta(folder: Path) -> dict[str, Any]:
    content = yaml.safe_load((folder / "meta.yaml").read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Files below a folder, by their path in it: names with slashes are folders."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def _latest_of_file(file: Path) -> str:
    """The value at the largest step of a metric's file."""
    latest: tuple[tuple[float, float, float], str] | None = None
    for order, text in _lines_of_file(file):
        if latest is None or order[:2] > latest[0][:2] or (order[:2] == latest[0][:2] and not order[2] < latest[0][2]):
            latest = (order, text)
    return latest[1] if latest else ""


def _lines_of_file(file: Path) -> Iterator[tuple[tuple[float, float, float], str]]:
    """Yield step, time and value of each `time value step` line, and the value as spelled."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        texts = line.split()
        if not texts:
            continue
        try:
            value = float(texts[1])
            yield (float(texts[2]) if len(texts) > 2 else 0.0, float(texts[0]), value), texts[1]
        except (IndexError, ValueError):
            raise RunFolderError(f"{file}, line {number}: it must be `time value step`, not {line!r}") from None


def table_of_client(client: Any, experiment: str) -> RunTable:
    """The runs of an experiment, through MLflow's client."""
    rows, page = [], None
    while page is None or page.token:
        page = client.search_runs([experiment], page_token=page.token if page else None)
        for run in page:
            row = {
                "run_id": run.info.run_id, "name": run.info.run_name or "", "state": run.info.status,
                "parent": run.data.tags.get(PARENT, ""),
            }  # fmt: skip
            row |= {SETTING + key: text for key, text in run.data.params.items()}
            row |= {_metric(key): value for key, value in run.data.metrics.items()}
            rows.append(row)

    def load(name: str) -> Points:
        log, key = MetricLog(), _key(name)
        for i, row in enumerate(rows):
            for point in sorted(
                client.get_metric_history(row["run_id"], key), key=lambda item: (item.step, item.timestamp)
            ):
                log.add(key, i, point.step, point.value)
        return log.points(key)

    return _table(rows, load)


def _table(rows: list[dict[str, Any]], load: Callable[[str], Points]) -> RunTable:
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = [name for name in names if name not in _FACTS and not name.startswith((SETTING, "tags."))]
    return from_records(
        rows, kinds=dict.fromkeys(metrics, "metric"), state="state", run_id="run_id", parent="parent",
        experiment="experiment" if "experiment" in names else None, history=History(load=load),
    )  # fmt: skip
