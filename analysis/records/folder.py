"""Read run folders: plans and records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from branchwise.analysis.console import single_line
from branchwise.analysis.declared.across import DataSets
from branchwise.analysis.declared.factors import level_of
from branchwise.analysis.records.damage import RunFolderError, read_json, read_space, verify_checksum
from branchwise.analysis.records.names import distinct, is_plain, printable_table
from branchwise.analysis.records.outline import Outline, outline_of_plan
from branchwise.analysis.records.run import Run
from branchwise.analysis.records.teachers import with_repeats
from branchwise.run_files import schemas
from branchwise.run_files.arm_kinds import CELL_KINDS, AnalysisGroup
from branchwise.run_files.columns import column_and_step
from branchwise.run_files.layout import ARMS_TABLE, BUDGETS_TABLE, MANIFEST, PLAN, SPACE
from branchwise.run_files.schemas import MAX_CELL
from branchwise.run_files.sealing import sha256

MAX_VALUES, MAX_BYTES = 1_000_000_000, 32 << 30  # of a table
TEXTS = ("sweep", "arm", "kind", "cell", "status", "error", "metric", "comparability_key", "teacher")
NAMED = ("arm", "kind", "cell", "status")  # must be texts where they are not missing


def find_run(name: str, storage: Path) -> Path:
    """Return the folder of a run that a user names: its path, or its name in `storage`.

    Raises:
        RunFolderError: Neither exists.
    """
    path, named = Path(name), storage / name
    for folder in (path, named):
        if (folder / SPACE).is_file() or (folder / PLAN).is_file():
            return folder
    if path.exists() or len(path.parts) != 1:
        return path  # its reader reports what is missing
    raise RunFolderError(f"{name} is not a run folder, nor a run in {storage}; `branchwise list` names the runs")


def load_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: It is no run folder, or a file in it cannot be read.
    """
    result = read_space(folder, SPACE)
    if result is None:
        raise RunFolderError(f"{folder} is not a run folder: it has no {SPACE}")
    plan = read_json(folder, PLAN, schemas.Plan)
    if plan is None:
        raise RunFolderError(f"{folder} is not a run folder: it has no {PLAN}")
    space, content = result
    manifest = read_json(folder, MANIFEST, schemas.Manifest) or {}
    name = str(manifest.get("name") or space.get("name") or folder.name)
    arms = with_repeats(_arms(folder), manifest)
    outline = outline_of_plan(plan)
    budgets = read_table(folder, BUDGETS_TABLE)
    _complete(arms, outline, budgets)
    everything = AnalysisGroup(kinds=tuple(dict.fromkeys(kind for part in outline.groups for kind in part.kinds)))
    written = sha256(content)
    return Run(
        folder=folder, name=name, space=space, manifest=manifest, outline=outline, part=everything, arms=arms,
        budgets=budgets, modified=plan.get("space_sha256", written) != written,
    )  # fmt: skip


def load_arms(folder: Path, outline: Outline) -> pd.DataFrame:
    """Return the rows of arms.parquet in a folder that holds arms of a planned run.

    Raises:
        RunFolderError: A table cannot be read, or its rows are not valid.
    """
    arms = _arms(folder)
    _complete(arms, outline, read_table(folder, BUDGETS_TABLE))
    return arms


def _complete(arms: pd.DataFrame, outline: Outline, budgets: pd.DataFrame) -> None:
    _name_by_components(arms, outline)
    for column in outline.columns:
        if column.shown:
            arms[column.name] = _numbers(arms, column.name)
    for outcome in outline.outcomes:
        arms[outcome] = _outcome(arms, outcome, budgets)


def _name_by_components(arms: pd.DataFrame, outline: Outline) -> None:
    """Name each row's cell as the plan does for its components, regardless of its own name."""
    components = outline.grid.components
    columns = [f"component.{name}" for name in components]
    if not columns or any(column not in arms for column in columns):
        return
    planned = {tuple(cell.levels.get(name) for name in components): cell.cell for cell in outline.cells if cell.levels}
    with_components = arms["kind"].isin(CELL_KINDS) & arms[columns].notna().all(axis=1)
    rows = arms.loc[with_components]
    codes, states = np.zeros(len(rows), dtype=np.int64), list[tuple[str, ...]]([()])
    for column in columns:
        code, levels = pd.factorize(_levels(rows[column]))
        codes = codes * len(levels) + code
        states = [(*state, level_of(level)) for state in states for level in levels]
    present, positions = np.unique(codes, return_inverse=True)
    names = np.array([planned.get(states[code]) for code in present], dtype=object)[positions]
    arms.loc[with_components, "cell"] = np.where(pd.isna(names), rows["cell"].to_numpy(dtype=object), names)


def _levels(column: pd.Series) -> pd.Series:
    """The levels of a component, in a form with quickly found distinct values."""
    is_simple = column.dtype == bool or isinstance(column.dtype, pd.StringDtype)
    return column if is_simple else column.map(level_of)


def _outcome(arms: pd.DataFrame, outcome: str, budgets: pd.DataFrame) -> Any:
    """A column as numbers; for an outcome at a budget, each arm's value at that step."""
    column, step = column_and_step(outcome)
    if step is None:
        return _numbers(arms, column)
    if column not in budgets:
        return np.nan
    return arms["arm"].map(budgets[budgets["step"] == step].set_index("arm")[column])


def parts(run: Run) -> list[Run]:
    """Return the separately analyzed parts: data sets, or the two of a tuned factorial.

    Usually it is a single part. Raises RunFolderError for an arm of a data set that the run did not
    plan.
    """
    if run.outline.across:
        return _data_sets(run, run.outline.across)
    if len(run.outline.groups) == 1:
        return [replace(run, part=run.outline.groups[0])]
    return [
        replace(run, name=f"{run.name}, {part.name}", part=part, arms=run.arms[run.arms["kind"].isin(part.kinds)])
        for part in run.outline.groups
    ]


def _data_sets(run: Run, across: DataSets) -> list[Run]:
    where = f"{run.folder / ARMS_TABLE}.parquet: column {across.column}"
    if across.column not in run.arms:
        if len(run.arms):
            raise RunFolderError(f"{where}: not there; it must name the data set of each arm")
        run = replace(run, arms=run.arms.assign(**{across.column: None}))
    column = run.arms[across.column]
    if unknown := [item for item in distinct(column) if item not in across.levels]:
        raise RunFolderError(f"{where}: {single_line(repr(unknown[0]))} must be one of {', '.join(across.levels)}")
    (part,) = run.outline.groups
    found = [
        replace(run, name=f"{run.name}, {name}", part=part, data_set=name, arms=run.arms[column == name])
        for name in across.levels
    ]
    waits_for = ", ".join(f"{item.unfinished} on {item.data_set}" for item in found if item.unfinished)
    return [replace(item, waits_for=waits_for) for item in found]


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """`<name>.parquet` of a run folder, empty when absent; only those of `columns` that exist."""
    path = folder / f"{name}.parquet"
    if not verify_checksum(folder, path.name):
        return pd.DataFrame()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            refuse_huge(file.metadata, path)
            if columns is not None:
                present = file.schema_arrow.names
                columns = [column for column in columns if column in present]
            table = printable_table(file.read(columns=columns).to_pandas())
    except RunFolderError:
        raise
    except Exception as error:  # what a damaged or hostile file makes a parser raise has no common type
        raise RunFolderError(
            f"{path} cannot be read as Parquet: {single_line(error) or type(error).__name__}"
        ) from error
    return table


def refuse_huge(metadata: pq.FileMetaData, path: Path) -> None:
    """Refuse a small file that means too many rows. Raises RunFolderError."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if metadata.num_rows * max(1, metadata.num_columns) > MAX_VALUES or size > MAX_BYTES:
        raise RunFolderError(
            f"{path}: holds {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, {size / 2**30:.1f} GiB "
            f"unpacked; at most {MAX_VALUES:,} values and {MAX_BYTES >> 30} GiB are read"
        )


def _arms(folder: Path) -> pd.DataFrame:
    arms = read_table(folder, ARMS_TABLE)
    for column in (*TEXTS, "value_repeats"):
        if column not in arms:
            arms[column] = None
    for column in ("block", "seed", "value", "teacher_value"):
        arms[column] = _numbers(arms, column)
    _check_texts(folder, arms)
    doubled = arms.loc[arms["arm"].duplicated(), "arm"]
    if len(doubled):
        raise RunFolderError(f"{folder / 'arms.parquet'} has more than one row for arm {doubled.iloc[0]}")
    return arms


def _check_texts(folder: Path, arms: pd.DataFrame) -> None:
    """Check columns of names: texts, at most as long as a name; raise RunFolderError otherwise."""
    where = folder / f"{ARMS_TABLE}.parquet"
    for column in TEXTS:
        if is_plain(arms[column], MAX_CELL if column in NAMED else None):
            continue
        for item in distinct(arms[column].dropna()):
            if not isinstance(item, str):
                raise RunFolderError(f"{where}: column {column}: must hold texts, not {single_line(repr(item))}")
            if column in NAMED and len(item) > MAX_CELL:
                raise RunFolderError(f"{where}: column {column}: {len(item):,} characters; at most {MAX_CELL}")
    for key in arms["comparability_key"].dropna().unique():
        try:
            data = json.loads(key)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise RunFolderError(f"{where}: column comparability_key: must hold JSON objects, not {single_line(key)}")


def _numbers(arms: pd.DataFrame, column: str) -> Any:
    """A column as numbers, NaN where it holds none or is missing."""
    return pd.to_numeric(arms[column], errors="coerce") if column in arms else np.nan
