"""The table of cells: the result of each cell, baseline and teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import nan

from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.records.teachers import TeacherValue, teachers
from branchwise.analysis.statistics.attribution import ScaleResult
from branchwise.analysis.statistics.model import Estimate, mean_and_sd

FLOOR = "floor_"  # columns so named hold what the measure gives for data against data


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


def cell_rows(run: Run, headline: ScaleResult, raw: ScaleResult) -> tuple[CellRow, ...]:
    """Cells in the order of the plan, then baselines, then the teacher and real images."""
    column = run.primary.name
    results = run.arms[run.arms["kind"].isin((*RESULT_KINDS, "baseline"))]
    groups = dict(iter(results.groupby("cell", sort=False)))
    baselines = [*run.baselines, *results.loc[results["kind"] == "baseline", "cell"].dropna()]
    rows = []
    for cell in dict.fromkeys((*run.cells, *baselines)):
        arms = groups.get(cell, results.iloc[:0])
        done = run.results[run.results["cell"] == cell]
        levels = run.levels(cell)
        change = raw.relative.get(cell, Estimate())
        mean, sd = mean_and_sd(done[column].to_numpy(dtype=float))
        rows.append(
            CellRow(
                cell=cell, levels=None if levels is None else tuple(levels[name] for name in run.components),
                n=len(done), mean=mean, sd=sd,
                shown={c.name: mean_and_sd(done[c.name].dropna().to_numpy(dtype=float))[0] for c in run.shown},
                change=flip(change) if run.primary.better == "lower" else change,
                relative=headline.relative.get(cell, Estimate()) if headline.scale != "identity" else Estimate(),
                arms=tuple(done["arm"]), failed_arms=tuple(arms.loc[~arms.index.isin(done.index), "arm"]),
            )
        )  # fmt: skip
    return (*rows, *_single_numbers(run))


def _single_numbers(run: Run) -> list[CellRow]:
    """Rows with a single number: of each teacher, and of real images against real images (the floor of the measure)."""
    visible = {item.name: nan for item in run.shown}
    arms = run.arms[run.arms["kind"].isin((*RESULT_KINDS, "baseline"))]
    of_teachers = [
        CellRow(cell=teacher.name, n=len(teacher.keys), mean=teacher.value, sd=_sampling_sd(teacher), shown=visible)
        for teacher in teachers(arms, f"teacher_{run.primary.name}")
    ]
    floors = {entry.name: entry.about for entry in run.outline.columns if _is_floor(entry.name)}
    columns = floors if run.primary.name == "value" else {}
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
