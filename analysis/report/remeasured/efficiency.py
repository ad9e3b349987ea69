"""Costs of running the models, as papers tabulate them: of the teacher and of each cell."""

from __future__ import annotations

from math import isnan, nan

import pandas as pd

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.records.run import Run
from branchwise.analysis.report.text import DASH, Table, number


def efficiency_table(run: Run) -> Table:
    """A row for the teacher and for each cell: the columns that the trainable declares as costs."""
    costs = [column for column in run.outline.columns if column.cost]
    rows = []
    trained = run.manifest.get("teachers", ())
    for teacher in trained:
        teacher_values = {column.name: float(teacher.get(column.name) or nan) for column in costs}
        if any(not isnan(value) for value in teacher_values.values()):
            rows.append((TEACHER if len(trained) == 1 else f"{TEACHER} {teacher['key'][:8]}", teacher_values))
    for cell, arms in run.results.groupby("cell", sort=False):
        rows.append((str(cell), {column.name: _mean(arms, column.name) for column in costs}))
    measured_costs = [column for column in costs if any(not isnan(values[column.name]) for _, values in rows)]
    return Table(
        title="Efficiency",
        columns=(
            "model",
            *(f"{cost.about or cost.name}{f' ({cost.unit})' if cost.unit else ''}" for cost in measured_costs),
        ),
        rows=tuple((name, *(_text(values[column.name]) for column in measured_costs)) for name, values in rows)
        if measured_costs
        else (),
        note="Means over seeds, on the machines where the arms ran and beside what else ran there.",
    )


def _mean(arms: pd.DataFrame, column: str) -> float:
    return float(pd.to_numeric(arms[column], errors="coerce").mean()) if column in arms else nan


def _text(value: float) -> str:
    if isnan(value):
        return DASH
    return f"{value:,.0f}" if value >= 1000 else number(value)
