"""Neptune's exporter: long Parquet tables with a row for each attribute or point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from branchwise.analysis.importers.files.folders import walk
from branchwise.analysis.importers.history.points import MetricLog
from branchwise.analysis.importers.run_table import RunLog, RunTable, as_text, count
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import refuse_huge

_COLUMNS = ("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "float_value")
_SCALARS = {
    "int": "int_value", "float": "float_value", "string": "string_value", "bool": "bool_value",
    "datetime": "datetime_value", "string_set": "string_set_value",
}  # fmt: skip
_SERIES = "float_series"
_FAILED = "sys/failed"
_PART = "_part_"


def recognizes(path: Path) -> bool:
    try:
        return path.suffix == ".parquet" and set(_COLUMNS) <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield from [path] if recognizes(path) else []
        return
    for folder, _, names in walk(path):
        yield from (folder / name for name in names if name.endswith(".parquet") and recognizes(folder / name))


def _complete_runs(path: Path) -> tuple[list[Path], int]:
    """Files of the runs that were exported to the end, and the number of other runs.

    The first part of a run gets its name when the export ends.

    Raises:
        RunFolderError: A part cannot be read.
    """
    files = list(_files(path))
    if path.is_file():
        return files, 0
    all_files = [file for folder in dict.fromkeys(file.parent for file in files) for file in sorted(folder.iterdir())]
    parts = [file for file in all_files if _PART in file.name]
    for file in parts:
        if file.suffix == ".parquet" and file not in files:
            raise RunFolderError(f"{file} is damaged: it cannot be read as Parquet; export its run again")
    entire = {_run_of(file) for file in parts if file.name.endswith(f"{_PART}0.parquet")}
    broken = {_run_of(file) for file in parts if file.suffix == ".tmp"} | ({_run_of(file) for file in parts} - entire)
    return [file for file in files if _run_of(file) not in broken], len(broken)


def _run_of(file: Path) -> tuple[Path, str]:
    return file.parent, file.name.rpartition(_PART)[0] or file.name


def folders(path: Path) -> Iterator[Path]:
    return (file.parent for file in _files(path))


def read(path: Path) -> RunTable:
    runs, rows, scalars = RunLog(), dict[tuple[str, str], int](), list[dict[str, Any]]()
    files, unfinished = _complete_runs(path)
    for file in files:
        content = pq.ParquetFile(file, page_checksum_verification=True)
        refuse_huge(content.metadata, file)
        table = content.read(columns=[*_COLUMNS, *sorted({*_SCALARS.values()} - {"float_value"})])
        _add_runs(table, rows, runs, scalars)
        _add_scalars(table, rows, scalars)
        _add_series(table, rows, runs.metrics)
    for fact, values in zip(runs.facts, scalars, strict=True):
        fact["state"] = "failed" if values.get(_FAILED) == "True" else ""
    notes = ["Neptune's export does not say which runs were still active: they count with their last value."]
    if unfinished:
        notes.append(f"{count(unfinished, 'run')} left out: the export was interrupted before it was whole.")
    result = runs.table(state="state", run_id="run", experiment="project", notes=tuple(notes))
    return _with_scalars(result, runs.facts, scalars)


def _add_runs(table: pa.Table, rows: dict[tuple[str, str], int], runs: RunLog, scalars: list[dict[str, Any]]) -> None:
    pairs = table.group_by(["project_id", "run_id"], use_threads=False).aggregate([])
    for project, run in zip(pairs["project_id"].to_pylist(), pairs["run_id"].to_pylist(), strict=True):
        if (project, run) not in rows:
            rows[project, run] = runs.add({"run": run, "project": project, "state": ""}, {})
            scalars.append({})


def _add_scalars(table: pa.Table, rows: dict[tuple[str, str], int], scalars: list[dict[str, Any]]) -> None:
    for kind, column in _SCALARS.items():
        part = table.filter(pc.equal(table["attribute_type"], kind))
        names = ("project_id", "run_id", "attribute_path", column)
        for project, run, name, value in zip(*(part[item].to_pylist() for item in names), strict=True):
            if value is not None:  # the export makes a row of each attribute that any run has
                scalars[rows[project, run]][name] = as_text(value)


def _add_series(table: pa.Table, rows: dict[tuple[str, str], int], log: MetricLog) -> None:
    series = table.filter(pc.equal(table["attribute_type"], _SERIES))
    if not series.num_rows:
        return
    names = pc.dictionary_encode(series["attribute_path"].combine_chunks())
    runs = pc.dictionary_encode(
        pc.binary_join_element_wise(series["project_id"], series["run_id"], "\x00").combine_chunks()
    )
    row_of = np.array([rows[tuple(pair.split("\x00"))] for pair in runs.dictionary.to_pylist()], dtype=np.int64)
    row, code = row_of[runs.indices.to_numpy()], names.indices.to_numpy()
    steps = series["step"].cast(pa.float64()).to_numpy()
    values = pc.fill_null(series["float_value"], float("nan")).to_numpy()  # as which the export writes NaN
    order = np.argsort(pc.fill_null(series["timestamp"].cast(pa.int64()), 0).to_numpy(), kind="stable")
    for i, name in enumerate(names.dictionary.to_pylist()):
        selected = order[code[order] == i]
        log.extend(name, row[selected], steps[selected], values[selected])


def _with_scalars(table: RunTable, facts: list[dict[str, Any]], scalars: list[dict[str, Any]]) -> RunTable:
    """Add attributes of a single value, under a name that a series may have in other runs."""
    names = dict.fromkeys(name for values in scalars for name in values if name != _FAILED)
    data = table.table
    for name in names:
        column = f"attributes/{name}" if name in facts[0] else name
        texts = [values.get(name, "") for values in scalars]
        if column in data.column_names:
            logged = data.column(column).to_pylist()
            texts = [text or item for text, item in zip(texts, logged, strict=True)]
            data = data.drop_columns([column])
        data = data.append_column(column, pa.array(texts, pa.string()))
    return replace(table, table=data)
