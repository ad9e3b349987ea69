"""Runs as other tools leave them, read as one table: a row for each run, a column for each setting and result.

Settings that a tool tells apart from results are in columns that begin with `config.`; its own word for how a run ended
is in the column `state`. Nothing here needs the tool itself, but for an Optuna storage.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from branchwise.analysis.records.damage import RunFolderError

SETTING = "config."
STATE = "state"
KNOWN = (
    "a CSV or Parquet table, a JSON file of the W&B API, an MLflow tracking folder or database (.db), a results folder "
    "of Ray Tune, or an Optuna storage (.db, .log or sqlite:///FILE)"
)


def read_runs(source: str) -> pd.DataFrame:
    """The runs in a file or folder, its kind found by its content. Raises RunFolderError when it is of no known kind,
    holds no run, or cannot be read."""
    if source.startswith("sqlite:///"):
        return _some(source, _optuna(source))
    path = Path(source)
    if path.is_dir():
        read = _folder_reader(path)
    elif path.is_file():
        read = READERS.get(path.suffix.lower())
    else:
        raise RunFolderError(f"{source}: there is no such file or folder; runs are read from {KNOWN}")
    if read is None:
        raise RunFolderError(f"{source} is of no kind that is known here; runs are read from {KNOWN}")
    try:
        return _some(source, read(path))
    except RunFolderError:
        raise
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{source} is not UTF-8 text (byte {error.start})") from error
    except Exception as error:  # what a damaged file makes a parser raise has no common type
        raise RunFolderError(f"{source} cannot be read: {type(error).__name__}: {error}") from error


def _some(source: str, runs: pd.DataFrame) -> pd.DataFrame:
    if runs.empty:
        raise RunFolderError(f"{source} holds no runs")
    return runs


def _csv(path: Path) -> pd.DataFrame:
    if not path.stat().st_size:
        raise RunFolderError(f"{path} is empty")
    # As text: 1, 1.0 and true are told apart later, where it is known what a column is for.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, strict=True)
        rows = list(lines)
        odd = next((i for i, row in enumerate(rows, start=1) if None in row or None in row.values()), None)
    if odd is not None:
        raise RunFolderError(f"{path}, run {odd}: it has not as many fields as the first line has names")
    return pd.DataFrame(rows, columns=list(lines.fieldnames or ())).rename(columns={"State": STATE})  # W&B's word


def _parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _json(path: Path) -> pd.DataFrame:
    """A list of runs as the W&B API gives them (`config`, `summary`, `state`), or of plain records."""
    found = json.loads(path.read_text(encoding="utf-8"))
    runs = found.get("runs", found) if isinstance(found, Mapping) else found
    if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
        raise RunFolderError(f"{path} is not a list of runs")
    return pd.DataFrame([_record(run) for run in runs])


def _record(run: Mapping[str, Any]) -> dict[str, Any]:
    config, summary = (_mapping(run.get(name)) for name in ("config", "summary"))
    rest = {key: value for key, value in run.items() if key not in ("config", "summary", "summaryMetrics")}
    # W&B's files wrap each setting in {"value": ...}.
    plain = {key: value["value"] if _wrapped(value) else value for key, value in config.items() if key[:1] != "_"}
    return {**rest, **summary, **_flat(plain, SETTING)}


def _wrapped(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) <= {"value", "desc"} and "value" in value


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, also where a tool wrote it as text."""
    found = json.loads(value) if isinstance(value, str) and value.lstrip().startswith("{") else value
    return found if isinstance(found, Mapping) else {}


def _flat(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return flat


def _folder_reader(folder: Path) -> Callable[[Path], pd.DataFrame] | None:
    if any(folder.glob("**/result.json")) and any(folder.glob("**/params.json")):
        return _ray_tune
    if any(folder.glob("**/meta.yaml")):
        return _mlflow
    return None


def _ray_tune(folder: Path) -> pd.DataFrame:
    """The last result of each trial; a trial without one is a run without values."""
    rows = []
    for params in sorted(folder.glob("**/params.json")):
        results = params.with_name("result.json")
        lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
        last = json.loads(lines[-1]) if lines else {}
        last.pop("config", None)
        state = "failed" if params.with_name("error.txt").is_file() else "finished"
        rows.append({"trial": params.parent.name, STATE: state, **last, **_flat(_mapping_of(params), SETTING)})
    return pd.DataFrame(rows)


def _mapping_of(file: Path) -> Mapping[str, Any]:
    return _mapping(json.loads(file.read_text(encoding="utf-8")))


MLFLOW_STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}


def _mlflow(folder: Path) -> pd.DataFrame:
    """Runs of an MLflow file store: their parameters, the last value of each metric, and how they ended."""
    rows = []
    for meta in sorted(folder.glob("**/meta.yaml")):
        told = yaml.safe_load(meta.read_text(encoding="utf-8")) or {}
        if "run_id" not in told or told.get("lifecycle_stage") == "deleted":
            continue  # an experiment, or a run that was thrown away
        status: Any = told.get("status")
        row = {"run": told["run_id"], STATE: MLFLOW_STATES.get(status, str(status)).lower()}
        for file in _files(meta.with_name("metrics")):
            lines = file.read_text(encoding="utf-8").split("\n")
            row[file.relative_to(meta.with_name("metrics")).as_posix()] = [x for x in lines if x][-1].split()[1]
        for file in _files(meta.with_name("params")):
            row[SETTING + file.relative_to(meta.with_name("params")).as_posix()] = file.read_text(encoding="utf-8")
        rows.append(row)
    return pd.DataFrame(rows)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _database(path: Path) -> pd.DataFrame:
    """Of MLflow's tracking server, or an Optuna storage."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"runs", "params", "latest_metrics"} <= tables:
            return _optuna(f"sqlite:///{path}")
        runs = database.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'")
        rows = {run: {"run": run, STATE: status.lower()} for run, status in runs}
        for table, prefix in (("params", SETTING), ("latest_metrics", "")):
            for run, key, value in database.execute(f"SELECT run_uuid, key, value FROM {table}"):
                if run in rows:
                    rows[run][prefix + key] = value
    return pd.DataFrame(list(rows.values()))


def _optuna(storage: str) -> pd.DataFrame:
    """The trials of every study in a storage. A single objective is the column `value`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    held: Any = storage
    if storage.startswith("sqlite:///"):
        if not Path(storage.removeprefix("sqlite:///")).is_file():  # Optuna would make it
            raise RunFolderError(f"{storage}: there is no such file")
    else:
        from optuna.storages.journal import JournalFileBackend

        held = optuna.storages.JournalStorage(JournalFileBackend(storage))
    rows = []
    for summary in optuna.get_all_study_summaries(held, include_best_trial=False):
        for trial in optuna.load_study(study_name=summary.study_name, storage=held).get_trials(deepcopy=False):
            values = {"value" if i == 0 else f"value_{i}": value for i, value in enumerate(trial.values or ())}
            told = {"study": summary.study_name, "trial": trial.number, STATE: trial.state.name.lower(), **values}
            rows.append({**told, **trial.user_attrs, **_flat(trial.params, SETTING)})
    return pd.DataFrame(rows)


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".json": _json,
    ".db": _database,
    ".log": lambda path: _optuna(str(path)),
}
