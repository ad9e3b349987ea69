"""Reads run folders: what was planned and what came back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from branchwise.analysis.declared.factors import level_of
from branchwise.analysis.declared.outcomes import column_and_step
from branchwise.analysis.records.damage import RunFolderError, has_whole, whole_json
from branchwise.analysis.records.outline import Outline, Part, outline_of_plan, outline_of_rows
from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.records.teachers import with_repeats

BUDGETS = "budgets"  # the table of what students were after some of their steps


def load_run(folder: Path) -> Run:
    """Read one run folder. Raises RunFolderError when it is none, or when a file in it cannot be read."""
    if not (folder / "space.yaml").is_file():
        raise RunFolderError(f"{folder} is not a run folder: it has no space.yaml")
    space = read_mapping(folder / "space.yaml")
    manifest = read_mapping(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    name = str(manifest.get("name") or space.get("name") or folder.name)
    arms = with_repeats(_arms(folder), manifest)
    plan = read_mapping(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    outline = outline_of_plan(plan) if "cells" in plan else outline_of_rows(space, arms)
    _complete(folder, arms, outline)
    everything = Part(kinds=tuple(dict.fromkeys(kind for part in outline.parts for kind in part.kinds)))
    written = hashlib.sha256((folder / "space.yaml").read_bytes()).hexdigest()
    return Run(
        folder=folder, name=name, space=space, manifest=manifest, outline=outline, part=everything, arms=arms,
        altered=plan.get("space_sha256", written) != written,
    )  # fmt: skip


def load_arms(folder: Path, outline: Outline) -> pd.DataFrame:
    """The rows of arms.parquet in a folder that holds arms of a planned run. Raises RunFolderError."""
    arms = _arms(folder)
    _complete(folder, arms, outline)
    return arms


def _complete(folder: Path, arms: pd.DataFrame, outline: Outline) -> None:
    _name_by_components(arms, outline)
    for column in outline.columns:
        if column.shown:
            arms[column.name] = _numbers(arms, column.name)
    for outcome in outline.outcomes:
        arms[outcome] = _outcome(folder, arms, outcome)


def _name_by_components(arms: pd.DataFrame, outline: Outline) -> None:
    """Gives each row the name that the plan has for its components, whatever the row calls its cell."""
    components = outline.grid.components
    columns = [f"component.{name}" for name in components]
    if not columns or any(column not in arms for column in columns):
        return
    planned = {tuple(cell.levels.get(name) for name in components): cell.cell for cell in outline.cells if cell.levels}
    with_components = arms["kind"].isin(RESULT_KINDS) & arms[columns].notna().all(axis=1)
    states = (tuple(map(level_of, row)) for row in arms.loc[with_components, columns].itertuples(index=False))
    arms.loc[with_components, "cell"] = [
        planned.get(state, cell) for state, cell in zip(states, arms.loc[with_components, "cell"], strict=True)
    ]


def _outcome(folder: Path, arms: pd.DataFrame, outcome: str) -> Any:
    """A column as numbers; of an outcome at a budget, what the table of budgets has for each arm at its step."""
    column, step = column_and_step(outcome)
    if step is None:
        return _numbers(arms, column)
    budgets = read_table(folder, BUDGETS, ["arm", "step", column])
    if column not in budgets:
        return np.nan
    return arms["arm"].map(budgets[budgets["step"] == step].set_index("arm")[column])


def read_mapping(file: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises RunFolderError."""
    language = "JSON" if file.suffix == ".json" else "YAML"
    try:
        found = whole_json(file) if language == "JSON" else yaml.safe_load(file.read_text(encoding="utf-8"))
    except RunFolderError:
        raise
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # Not JSON, or not UTF-8; PyYAML has no error of its own for `!!bool abc`, nor for what is nested too deeply.
        raise RunFolderError(f"{file} is not valid {language}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise RunFolderError(f"{file} does not hold a mapping")
    return found


def parts(run: Run) -> list[Run]:
    """What is analysed apart, such as the two answers of a tuned factorial; most runs have one part."""
    if len(run.outline.parts) == 1:
        return [replace(run, part=run.outline.parts[0])]
    return [
        replace(run, name=f"{run.name}, {part.name}", part=part, arms=run.arms[run.arms["kind"].isin(part.kinds)])
        for part in run.outline.parts
    ]


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """`<name>.parquet` of a run folder, empty when absent; only those of `columns` that exist."""
    path = folder / f"{name}.parquet"
    if not has_whole(folder, path.name):
        return pd.DataFrame()
    try:
        if columns is not None:
            present = pq.read_schema(path).names
            columns = [column for column in columns if column in present]
        table: pd.DataFrame = pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error
    return table


def _arms(folder: Path) -> pd.DataFrame:
    arms = read_table(folder, "arms")
    for column in ("sweep", "arm", "kind", "cell", "status", "error", "metric", "comparability_key", "value_repeats"):
        if column not in arms:
            arms[column] = None
    for column in ("block", "seed", "value", "teacher_value"):
        arms[column] = _numbers(arms, column)
    doubled = arms.loc[arms["arm"].duplicated(), "arm"]
    if len(doubled):
        raise RunFolderError(f"{folder / 'arms.parquet'} has more than one row for arm {doubled.iloc[0]}")
    return arms


def _numbers(arms: pd.DataFrame, column: str) -> Any:
    """A column as numbers, NaN where it holds none or is not there."""
    return pd.to_numeric(arms[column], errors="coerce") if column in arms else np.nan


def newest_run(root: Path, example: str, searched: bool = False) -> Run:
    """The newest finished run in `results/` of the checkout at `root`, with a search or without, and says which.

    Where there is none, the small run `example` that the tests use.
    """
    for folder in sorted((root / "results").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True):
        if (folder / "plan.json").is_file() and (folder / "arms.parquet").is_file():
            run = load_run(folder)
            if run.searched == searched and len(run.results):
                print(f"{folder.relative_to(root)}: {len(run.results)} arms, {run.measure}")
                return run
    print(f"There is no such run in {root / 'results'} yet, so this shows the tests' small one, {example}.")
    return load_run(root / "tests/data/runs" / example)
