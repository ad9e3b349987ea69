"""The table of cells: the result of each cell, baseline and teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import nan

import pandas as pd

from branchwise.analysis.records.observations import Observations
from branchwise.analysis.records.outline import Outline
from branchwise.analysis.records.teachers import TeacherValue, teachers
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.model import Estimate, mean_and_sd

FLOOR = "floor_"  # prefix of columns with the measure of data against data


def _is_floor(column: str) -> bool:
    return column.startswith(FLOOR) and not column.endswith("_samples")


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """A row of the table of cells, in values of the primary outcome.

    levels: of each component; None for what has none. change: the value minus the reference's, from the raw fit;
    relative: improvement over the reference, on the scale of the headline.
    """

    cell: str
    levels: tuple[str, ...] | None = None
    n: int = 0
    mean: float = nan
    sd: float = nan
    shown: Mapping[str, float]  # means of the columns next to the value
    change: Estimate = field(default_factory=Estimate)
    relative: Estimate = field(default_factory=Estimate)
    arms: tuple[str, ...] = ()
    failed_arms: tuple[str, ...] = ()


def cell_rows(observed: Observations, outline: Outline, headline: Attribution, raw: Attribution) -> tuple[CellRow, ...]:
    """Cells in the order of the plan, then baselines, then the teacher and real images.

    Args:
        observed: The finished and the failed arms.
        outline: What was planned.
        headline: The attribution of the primary outcome on its scale.
        raw: The same in the metric's unit.
    """
    column, components = headline.outcome.name, outline.grid.components
    arms, results = observed.arms, observed.results
    groups = dict(iter(arms.groupby("cell", sort=False)))
    is_baseline = arms["kind"] == "baseline"
    cells = [*outline.planned, *arms.loc[~is_baseline, "cell"].dropna()]
    baselines = [*outline.baselines, *arms.loc[is_baseline, "cell"].dropna()]
    rows = []
    for cell in dict.fromkeys((*cells, *baselines)):
        of_cell = groups.get(cell, arms.iloc[:0])
        done = results[results["cell"] == cell]
        levels = outline.levels(cell)
        change = raw.relative.get(cell, Estimate())
        mean, sd = mean_and_sd(done[column].to_numpy(dtype=float))
        rows.append(
            CellRow(
                cell=cell, levels=None if levels is None else tuple(levels[name] for name in components),
                n=len(done), mean=mean, sd=sd,
                shown={c.name: mean_and_sd(done[c.name].dropna().to_numpy(dtype=float))[0] for c in outline.shown},
                change=flip(change) if headline.outcome.better == "lower" else change,
                relative=headline.relative.get(cell, Estimate()) if headline.scale != "identity" else Estimate(),
                arms=tuple(done["arm"]), failed_arms=tuple(of_cell.loc[~of_cell.index.isin(done.index), "arm"]),
            )
        )  # fmt: skip
    return (*rows, *_single_numbers(arms, outline, column))


def _single_numbers(arms: pd.DataFrame, outline: Outline, outcome: str) -> list[CellRow]:
    """Rows of a single number: of each teacher, and of real images against real images (floor)."""
    visible = {item.name: nan for item in outline.shown}
    of_teachers = [
        CellRow(cell=teacher.name, n=len(teacher.keys), mean=teacher.value, sd=_sampling_sd(teacher), shown=visible)
        for teacher in teachers(arms, f"teacher_{outcome}")
    ]
    floors = {entry.name: entry.about for entry in outline.columns if _is_floor(entry.name)}
    columns = floors if outcome == "value" else {}
    return of_teachers + [
        CellRow(cell=name, n=1, mean=float(arms[column].dropna().mean()), shown=visible)
        for column, name in columns.items()
        if column in arms and arms[column].notna().any()
    ]


def _sampling_sd(teacher: TeacherValue) -> float:
    return float(teacher.by_block.std(ddof=1)) if teacher.for_each_block else nan


def flip(estimate: Estimate) -> Estimate:
    """The estimate of minus the quantity."""
    return replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
