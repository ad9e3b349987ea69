"""Reads run folders: what was planned, what came back, and whether values may stand in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

RESULT_KINDS = ("cell", "confirm")  # arms of kind `search` chose settings; their values are never results


class RunFolderError(ValueError):
    """A run folder that cannot be read; the message is one sentence that names it."""


class IncomparableError(ValueError):
    """Values measured in different ways were asked into one table; the message names the differing fields."""


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A row of the table that was known before the run; `on` are its components, empty for a baseline."""

    cell: str
    kind: str
    on: Mapping[str, bool]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Arms that are analysed together, by their kinds, and the question that they answer."""

    kinds: tuple[str, ...]
    name: str = ""
    question: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a trainable declares of a column: a phrase for people, and which direction is better, if any."""

    name: str
    about: str = ""
    better: str | None = None
    shown: bool = False


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How a trainable wants a side table drawn: a line for each cell, a panel for each column of `y`."""

    table: str
    name: str
    title: str
    x: tuple[str, ...]  # one column, or two whose mean is meant
    x_label: str
    y: tuple[Column, ...]
    level: float | None = None  # a horizontal line in the first panel
    linear: tuple[str, ...] = ()  # columns never drawn on a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a run planned, as its plan.json tells it; of a folder without one, what its rows tell."""

    components: tuple[str, ...]
    cells: tuple[PlannedCell, ...]
    blocks: tuple[int, ...]
    parts: tuple[Part, ...]
    columns: tuple[Column, ...] = ()
    lines: tuple[Lines, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sweep, or a part of one, as its folder tells it. `arms` has every column that the analysis uses, NaN or None
    where absent."""

    folder: Path
    name: str
    space: Mapping[str, Any]
    manifest: Mapping[str, Any]
    outline: Outline
    part: Part
    arms: pd.DataFrame

    @property
    def design(self) -> Mapping[str, Any]:
        return self.space.get("design") or {}

    @property
    def components(self) -> tuple[str, ...]:
        return self.outline.components

    @property
    def claims(self) -> tuple[str, ...]:
        return tuple(self.design.get("claims") or ())

    @property
    def planned(self) -> tuple[str, ...]:
        """Cells of components that were planned, in the order of the table."""
        return tuple(cell.cell for cell in self.outline.cells if cell.kind == "cell")

    @property
    def whole(self) -> bool:
        """Whether every combination of the components was planned."""
        return bool(self.components) and len(self.planned) == 2 ** len(self.components)

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(cell.cell for cell in self.outline.cells if cell.kind == "baseline")

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Planned cells, and those that were found as the run went."""
        seen = self.arms.loc[self.arms["kind"].isin(RESULT_KINDS), "cell"].dropna()
        return tuple(dict.fromkeys((*self.planned, *seen)))

    def on(self, cell: str) -> Mapping[str, bool] | None:
        """Which components a cell has on; None for one without components."""
        return next((one.on for one in self.outline.cells if one.cell == cell and one.on), None)

    @property
    def shown(self) -> tuple[Column, ...]:
        """Columns that stand beside the value."""
        return tuple(column for column in self.outline.columns if column.shown)

    def better(self, column: str) -> str:
        """Which direction of a column is better; lower unless declared otherwise."""
        return next((one.better for one in self.outline.columns if one.name == column and one.better), "lower")

    @property
    def searched(self) -> bool:
        """Whether a search is part of it."""
        return "search" in self.part.kinds

    @cached_property
    def results(self) -> pd.DataFrame:
        """Finished arms whose values count: cells, confirmations and baselines."""
        done = (self.arms["status"] == "done") & np.isfinite(self.arms["value"])
        rows: pd.DataFrame = self.arms[done & self.arms["kind"].isin((*RESULT_KINDS, "baseline"))]
        return rows

    @property
    def metric(self) -> str:
        named = self.arms["metric"].dropna()
        return str(named.iloc[0]) if len(named) else "distance"

    @property
    def comparability(self) -> Mapping[str, Any]:
        """How the results were measured, the same for all; empty when there are none."""
        keys = self.results["comparability_key"].dropna()
        return dict(json.loads(keys.iloc[0])) if len(keys) else {}

    @property
    def measure(self) -> str:
        """The metric and, where the results tell, on how many samples: fd_digits64 on 1,000 samples."""
        samples = self.comparability.get("samples")
        return f"{self.metric} on {samples:,} samples" if samples else self.metric

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Planned arms without a row. Those that a search leads to are named as it goes, and never missing."""
        rows = (*self.planned, *self.baselines)
        counted = self.arms[self.arms["kind"] != "search"]
        present = set(zip(counted["cell"], counted["block"], strict=True))
        return tuple(
            f"{cell}-b{block}" for block in self.outline.blocks for cell in rows if (cell, block) not in present
        )

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Arms that ran and gave no value: failed, diverged, or marked done without a finite value."""
        bad = ((self.arms["status"] != "done") | ~np.isfinite(self.arms["value"])) & (self.arms["status"] != "stopped")
        rows: pd.DataFrame = self.arms[bad]
        return rows


def load_run(folder: Path) -> Run:
    """Read one run folder. Raises RunFolderError when it is none, or when a file in it cannot be read."""
    if not (folder / "space.yaml").is_file():
        raise RunFolderError(f"{folder} is not a run folder: it has no space.yaml")
    space = _mapping(folder / "space.yaml")
    manifest = _mapping(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    name = str(manifest.get("name") or space.get("name") or folder.name)
    arms = _arms(folder)
    plan = _mapping(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    outline = _outline(plan) if "cells" in plan else _outline_of_rows(space, arms)
    _name_by_components(arms, outline)
    for column in outline.columns:
        if column.shown:
            arms[column.name] = _numbers(arms, column.name)
    everything = Part(kinds=tuple(dict.fromkeys(kind for part in outline.parts for kind in part.kinds)))
    return Run(folder=folder, name=name, space=space, manifest=manifest, outline=outline, part=everything, arms=arms)


def _outline(plan: Mapping[str, Any]) -> Outline:
    def column(found: Mapping[str, Any]) -> Column:
        return Column(name=found["name"], about=found["about"], better=found["better"], shown=found["shown"])

    return Outline(
        components=tuple(plan["components"]),
        cells=tuple(PlannedCell(cell=c["cell"], kind=c["kind"], on=c["components"]) for c in plan["cells"]),
        blocks=tuple(plan["blocks"]),
        parts=tuple(Part(kinds=tuple(p["kinds"]), name=p["name"], question=p["question"]) for p in plan["parts"]),
        columns=tuple(map(column, plan["columns"])),
        lines=tuple(
            Lines(
                table=one["table"], name=one["name"], title=one["title"], x=tuple(one["x"]), x_label=one["x_label"],
                y=tuple(map(column, one["y"])), level=one["level"], linear=tuple(one["linear"]),
            )
            for one in plan["lines"]
        ),
    )  # fmt: skip


def _outline_of_rows(space: Mapping[str, Any], arms: pd.DataFrame) -> Outline:
    """Of a run that an earlier version made, or another program: the cells that have a row, no columns, no lines."""
    components = tuple((space.get("design") or {}).get("components") or ())
    cells = []
    for kind in ("cell", "baseline"):
        for cell, rows in arms[arms["kind"] == kind].groupby("cell", sort=False):
            first = rows.iloc[0]
            on = {name: bool(first.get(f"component.{name}", False)) for name in components}
            cells.append(PlannedCell(cell=str(cell), kind=kind, on=on if kind == "cell" else {}))
    cells.sort(key=lambda cell: sum(cell.on.get(name, False) << i for i, name in enumerate(components)))
    blocks = tuple(sorted({int(block) for block in arms["block"].dropna()}))
    kinds = tuple(arms["kind"].dropna().unique())
    return Outline(components=components, cells=tuple(cells), blocks=blocks, parts=(Part(kinds=kinds),))


def _name_by_components(arms: pd.DataFrame, outline: Outline) -> None:
    """Gives each row the name that the plan has for its components, whatever the row calls its cell."""
    columns = [f"component.{name}" for name in outline.components]
    if not columns or any(column not in arms for column in columns):
        return
    planned = {tuple(cell.on.get(name) for name in outline.components): cell.cell for cell in outline.cells if cell.on}
    with_components = arms["kind"].isin(RESULT_KINDS) & arms[columns].notna().all(axis=1)
    states = arms.loc[with_components, columns].astype(bool).itertuples(index=False, name=None)
    arms.loc[with_components, "cell"] = [
        planned.get(state, cell) for state, cell in zip(states, arms.loc[with_components, "cell"], strict=True)
    ]


def _mapping(file: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises RunFolderError."""
    language, read = ("JSON", json.loads) if file.suffix == ".json" else ("YAML", yaml.safe_load)
    try:
        found = read(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # not JSON, or not UTF-8
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
    if not path.is_file():
        return pd.DataFrame()
    try:
        if columns is not None:
            present = pq.read_schema(path).names
            columns = [column for column in columns if column in present]
        table: pd.DataFrame = pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise RunFolderError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
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


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise IncomparableError unless all results, and the arms of each search among themselves, were measured alike."""
    _same_key([(run, run.results) for run in runs])
    for run in runs:  # a search may measure more cheaply than its confirmation does
        _same_key([(run, run.arms[(run.arms["kind"] == "search") & np.isfinite(run.arms["value"])])])


def _same_key(tables: Sequence[tuple[Run, pd.DataFrame]]) -> None:
    reference: tuple[str, dict[str, Any]] | None = None
    for run, measured in tables:
        for text, rows in measured.groupby("comparability_key", dropna=False, sort=False):
            key = json.loads(text) if isinstance(text, str) else {}
            where = f"{run.name}/{rows['arm'].iloc[0]}"
            if reference is None:
                reference = (where, key)
            elif key != reference[1]:
                raise IncomparableError(_difference(reference, (where, key)))


def _difference(first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]) -> str:
    fields = sorted(f for f in first[1].keys() | second[1].keys() if first[1].get(f) != second[1].get(f))
    told = "; ".join(f"{f} is {first[1].get(f)!r} against {second[1].get(f)!r}" for f in fields)
    return f"the values of {first[0]} and {second[0]} are measured differently and cannot be compared: {told}"


def differing_fields(runs: Sequence[Run]) -> dict[str, tuple[Any, ...]]:
    """Settings of the space, as dotted keys, in which runs differ: what a comparison of runs compares."""
    flat = [_flatten(run.space) for run in runs]
    keys = sorted({key for one in flat for key in one} - {"name"})
    rows = {key: tuple(one.get(key) for one in flat) for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


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
