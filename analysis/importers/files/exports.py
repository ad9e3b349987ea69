"""Tables that trackers export: what their columns mean beyond their names."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from branchwise.analysis.importers.run_table import SETTING, Kind, RunTable, as_settings, count, from_records
from branchwise.analysis.records.comparing import flatten
from branchwise.analysis.records.damage import RunFolderError

EXPERIMENTS = ("experiment_name", "experiment", "study", "experiment_id")
RUN_IDS = ("run_id", "trial_id", "Experiment", "run", "Name", "name", "number")
PARENT = "tags.mlflow.parentRunId"


def recognize_export(path: Path, runs: RunTable) -> RunTable:
    """Apply the conventions of an export's tool to its table.

    These are MLflow's parents, DVC's rows that are no experiment, and the settings that W&B's guide
    writes as a single cell.
    """
    names = set(runs.names)
    if {"config", "summary"} <= names and _is_mapping(runs):
        return _wandb_cells(path, runs)
    if {"Experiment", "rev", "typ"} <= names:
        runs = _without_dashes(_dvc_experiments(runs))
    experiment = next(
        (name for name in EXPERIMENTS if name in names and len(runs.categorical(name).categories) > 1), None
    )
    run_id = next((name for name in RUN_IDS if name in names), None)
    parent = PARENT if PARENT in names and run_id == "run_id" else None
    return replace(runs, experiment=experiment, run_id=run_id, parent=parent)


def wandb_table(runs: Iterable[Mapping[str, Any]], notes: tuple[str, ...] = ()) -> RunTable:
    """Return runs of W&B's API: facts, summary with nested metrics as `name.max`, settings."""
    records, kinds = [], dict[str, Kind]()
    for run in runs:
        facts, metrics, settings = _wandb_parts(run)
        records.append({**facts, **metrics, **settings})
        kinds |= dict.fromkeys(metrics, "metric")
    names = {name for record in records for name in record}
    return from_records(
        records, kinds=kinds, notes=notes,
        state="state" if "state" in names else None,
        run_id=next((name for name in ("name", "id") if name in names), None),
        experiment="project" if "project" in names else None,
    )  # fmt: skip


def _wandb_parts(run: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    config = _mapping(run.get("config"))
    summary = _mapping(run.get("summary")) or _mapping(run.get("summaryMetrics"))
    facts = {key: value for key, value in run.items() if key not in ("config", "summary", "summaryMetrics")}
    public = {key: value for key, value in config.items() if key[:1] != "_"}
    if public and all(map(_is_wrapped, public.values())):  # W&B's files have {"value": ...} around each setting
        public = {key: value["value"] for key, value in public.items()}
    metrics = {
        (f"summary.{key}" if key in facts or key.startswith(SETTING) else key): value
        for key, value in flatten(summary).items()
    }
    return facts, metrics, as_settings(public)


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) <= {"value", "desc"} and "value" in value


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, also where a tool wrote it as text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = read_literal(value)
    return value if isinstance(value, Mapping) else {}


def _is_mapping(runs: RunTable) -> bool:
    return len(runs) > 0 and runs.cell("config", 0).startswith("{")


def _wandb_cells(path: Path, runs: RunTable) -> RunTable:
    """Read the CSV of W&B's guide on its API: `summary` and `config` are Python dicts in cells."""
    records = runs.table.to_pylist()
    for row, record in enumerate(records):
        try:
            record["config"], record["summary"] = _mapping(record["config"]), _mapping(record["summary"])
        except (ValueError, SyntaxError, RecursionError) as error:
            raise RunFolderError(f"{path}, run {row + 1}: its config or summary cannot be read: {error}") from error
    return wandb_table(records, runs.notes)


def _dvc_experiments(runs: RunTable) -> RunTable:
    """Drop the workspace and the commits that experiments started from: `dvc exp show --csv`."""
    is_workspace = runs.categorical("rev").equals("workspace")
    is_baseline = runs.categorical("typ").equals("baseline")
    excluded = is_baseline if (~is_baseline & ~is_workspace).any() else is_workspace
    if not excluded.any():
        return runs
    note = f"{count(int(excluded.sum()), 'row')} left out: DVC's workspace and baseline commits."
    return replace(runs.filter(~excluded), notes=(*runs.notes, note))


def _without_dashes(runs: RunTable) -> RunTable:
    """Empty the cells where DVC writes - for no value, or ! for a missing file."""
    columns = [pc.replace_substring_regex(runs.table.column(name), r"^[-!]$", "") for name in runs.names]
    return replace(runs, table=pa.table(columns, names=runs.names))


def read_literal(text: str) -> Any:
    """A value as JSON or as Python prints it, with nan and inf; without executing code."""
    try:
        return json.loads(text)
    except ValueError:
        return _literal(ast.parse(text.strip(), mode="eval").body)


def _literal(node: ast.AST) -> Any:
    match node:
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {_literal(key): _literal(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_literal(item) for item in items]
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_literal(operand)
        case ast.Name(id=name) if name.lower() in ("nan", "inf", "infinity"):
            return math.nan if name.lower() == "nan" else math.inf
        case ast.Call(args=[argument]):  # np.float64(0.5)
            return _literal(argument)
    return ast.unparse(node)
