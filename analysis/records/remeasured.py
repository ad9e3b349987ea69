"""Further measurements of a run, named or remeasured, each in a table like the run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from branchwise.analysis.records.damage import file_in, path_in, read_json
from branchwise.analysis.records.folder import load_arms
from branchwise.analysis.records.run import Run
from branchwise.run_files import schemas
from branchwise.run_files.columns import column_and_evaluation, under
from branchwise.run_files.layout import ARMS_TABLE, MEASURE, MEASUREMENTS


@dataclass(frozen=True, kw_only=True)
class Remeasurement:
    """A remeasurement of a finished run.

    Attributes:
        key: Its folder in `measurements/`.
        settings: Evaluation settings by key, such as `evaluate.samples`.
        sweep_settings: Those of the sweep.
        matches_sweep: Whether the two are equal.
        run: The run with the remeasured arms.
    """

    key: str
    settings: Mapping[str, Any]
    sweep_settings: Mapping[str, Any]
    matches_sweep: bool
    run: Run

    def label(self) -> str:
        """The settings that are not the sweep's: `sampler_steps 10, features classifier`."""
        sweep_entry = self.sweep_settings
        parts = [
            f"{key.partition('.')[2]} {text_of(value)}"
            for key, value in self.settings.items()
            if sweep_entry.get(key) != value
        ]
        return ", ".join(parts) or "as in the sweep"


@dataclass(frozen=True, kw_only=True)
class NamedEvaluation:
    """A further evaluation of a run; `run` has the arms as measured in it, in primary columns."""

    name: str
    description: str
    run: Run


def named_evaluations(run: Run) -> tuple[NamedEvaluation, ...]:
    """Return the evaluations that also measured the primary outcome, as the columns declare."""
    primary, current = column_and_evaluation(run.primary.column)
    declared: dict[str, dict[str, str]] = {}  # by evaluation: what is reported for each plain column
    for column in run.outline.columns:
        plain, evaluation = column_and_evaluation(column.name)
        declared.setdefault(evaluation, {})[plain] = column.about
    evaluations = []
    for evaluation, columns in declared.items():
        if evaluation == current or primary not in columns or run.primary.name != run.primary.column:
            continue
        arms = run.arms.copy()
        for plain in columns if evaluation else declared[current]:
            source = under(plain, evaluation)
            arms[under(plain, current)] = run.arms.get(source)
        arms[run.primary.name] = pd.to_numeric(arms[run.primary.name], errors="coerce")
        description = columns[primary].partition(f", under {evaluation or 'the primary evaluation'}: ")[2]
        evaluations.append(
            NamedEvaluation(name=evaluation or "primary", description=description, run=replace(run, arms=arms))
        )
    return tuple(evaluations)


def sweep_description(run: Run) -> str:
    """Return the description of the primary outcome's evaluation; empty without others."""
    description = next((column.about for column in run.outline.columns if column.name == run.primary.column), "")
    _, current = column_and_evaluation(run.primary.column)
    return description.partition(f", under {current or 'the primary evaluation'}: ")[2]


def load_remeasured(run: Run) -> tuple[Remeasurement, ...]:
    """Return the remeasurements of a run, or of a part of it, those of the sweep first.

    Raises:
        RunFolderError: A file of a remeasurement cannot be read.
    """
    measures = []
    for name in sorted(path.name for path in path_in(run.folder, MEASUREMENTS).glob("*")):
        folder = path_in(run.folder, f"{MEASUREMENTS}/{name}")
        description = read_json(folder, MEASURE, schemas.Remeasurement)
        if description is None or file_in(folder, f"{ARMS_TABLE}.parquet") is None:
            continue
        arms = load_arms(folder, run.outline)
        measures.append(
            Remeasurement(
                key=folder.name,
                settings=_dotted(description["settings"]),
                sweep_settings=_dotted(description["of_the_sweep"]),
                matches_sweep=description["as_in_the_sweep"],
                run=replace(run, arms=arms[arms["kind"].isin(run.part.kinds)]),
            )
        )
    return tuple(sorted(measures, key=lambda measure: (not measure.matches_sweep, _order(measure))))


def _dotted(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, tree in sections.items() for key, value in tree.items()}


def _order(measure: Remeasurement) -> list[tuple[int, float, str]]:
    """Sort key: numbers by size, texts alphabetically, key by key."""
    return [
        (0, float(value), "") if is_number(value) else (1, 0.0, text_of(value)) for value in measure.settings.values()
    ]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """A setting's value in a few characters."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {text_of(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if is_number(value) else str(value)
