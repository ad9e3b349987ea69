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

from branchwise.analysis.statistics.cells import cell_name, factorial_cells, leave_one_out_cells, parse_cell

RESULT_KINDS = ("cell", "confirm")  # arms of kind `search` chose settings; their values are never results
MEASURES = ("value", "rho", "cos_delta", "gap_mse", "relative_gap", "inception_score", "kid", "teacher_value")


class RunFolderError(ValueError):
    """A run folder that cannot be read; the message is one sentence that names it."""


class IncomparableError(ValueError):
    """Values measured in different ways were asked into one table; the message names the differing fields."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sweep as its folder tells it. `arms` has every column that the analysis uses, NaN or None where absent."""

    folder: Path
    name: str
    space: Mapping[str, Any]
    manifest: Mapping[str, Any]
    arms: pd.DataFrame

    @property
    def design(self) -> Mapping[str, Any]:
        return self.space.get("design") or {}

    @property
    def kind(self) -> str:
        return str(self.design.get("kind", "factorial"))

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(self.design.get("components") or ())

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(self.design.get("baselines") or ())

    @property
    def claims(self) -> tuple[str, ...]:
        return tuple(self.design.get("claims") or ())

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Cells that the design plans, in the order of the table."""
        plan = leave_one_out_cells if self.kind == "leave_one_out" else factorial_cells
        seen = self.arms.loc[self.arms["kind"].isin(RESULT_KINDS), "cell"].dropna()
        return tuple(dict.fromkeys((*plan(self.components), *seen)))

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
        """Planned arms without a row. Those of a search are named as it goes, and never missing."""
        if self.kind == "search":
            return ()
        plan = leave_one_out_cells if self.kind == "leave_one_out" else factorial_cells
        rows = (*plan(self.components), *self.baselines)
        counted = self.arms[self.arms["kind"] != "search"]
        present = set(zip(counted["cell"], counted["block"], strict=True))
        blocks = range(int(self.design.get("blocks") or 0))
        return tuple(f"{cell}-b{block}" for block in blocks for cell in rows if (cell, block) not in present)

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
    components = tuple((space.get("design") or {}).get("components") or ())
    return Run(folder=folder, name=name, space=space, manifest=manifest, arms=_arms(folder, components))


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
    """What is analysed apart: the two answers of a tuned factorial, with the space's own settings and with every cell
    re-tuned; any other run as a whole."""
    if run.kind != "tuned_factorial":
        return [run]
    own, tuned = (run.arms[run.arms["kind"] != kind] for kind in ("confirm", "cell"))
    return [
        replace(run, name=f"{run.name}, own settings", arms=own[own["kind"] != "search"]),
        replace(run, name=f"{run.name}, re-tuned", arms=tuned),
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


def _arms(folder: Path, components: Sequence[str]) -> pd.DataFrame:
    arms = read_table(folder, "arms")
    for column in ("sweep", "arm", "kind", "cell", "status", "error", "metric", "comparability_key", "value_repeats"):
        if column not in arms:
            arms[column] = None
    for column in ("block", "seed", *MEASURES):
        arms[column] = pd.to_numeric(arms[column], errors="coerce") if column in arms else np.nan
    doubled = arms.loc[arms["arm"].duplicated(), "arm"]
    if len(doubled):
        raise RunFolderError(f"{folder / 'arms.parquet'} has more than one row for arm {doubled.iloc[0]}")
    in_design = arms["kind"].isin(RESULT_KINDS) & arms["cell"].notna()
    names = {name: parse_cell(name, components) for name in arms.loc[in_design, "cell"].unique()}
    known = {name: cell_name(on, components) for name, on in names.items() if on is not None and components}
    arms.loc[in_design, "cell"] = arms.loc[in_design, "cell"].replace(known)
    return arms


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
