"""The teachers of a run: what each is worth, and whose it is. A run has several where a component changes what students
learn from."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from branchwise.analysis.declared.cells import FULL, TEACHER

MOST_NAMED = 3  # cells in a name


@dataclass(frozen=True, kw_only=True)
class TeacherValue:
    """One teacher and its value of an outcome, measured as its students are."""

    cells: tuple[str, ...]  # whose students learn from it
    value: float
    alone: bool  # whether the run has no other

    @property
    def name(self) -> str:
        """`teacher` for that of the full method, which claims mean by this word; others are named for their cells."""
        if self.alone or FULL in self.cells:
            return TEACHER
        more = len(self.cells) - MOST_NAMED
        return f"teacher of {', '.join(self.cells[:MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")


def teachers(arms: pd.DataFrame, column: str) -> tuple[TeacherValue, ...]:
    """The teachers of these rows of arms.parquet whose value, in `column`, is recorded, in the order of the rows."""
    if column not in arms:
        return ()
    keys = [key for key in ("teacher", column) if key in arms]  # an earlier version kept the value alone
    groups = list(arms.dropna(subset=column).groupby(keys, sort=False, dropna=False))
    return tuple(
        TeacherValue(
            cells=tuple(rows["cell"].dropna().unique()),
            value=float(rows[column].iloc[0]),
            alone=len(groups) == 1,
        )
        for _, rows in groups
    )


def value_of_teacher(arms: pd.DataFrame, column: str) -> float | None:
    """The value that a claim means by `teacher`; None where none is recorded."""
    return next((teacher.value for teacher in teachers(arms, column) if teacher.name == TEACHER), None)


def notes(arms: pd.DataFrame, column: str) -> list[str]:
    """Says so when students of different cells have learned from different teachers."""
    found = teachers(arms, column)
    if len(found) < 2:
        return []
    whose = "; ".join(f"one of {', '.join(teacher.cells)}" for teacher in found)
    return [f"Students learned from {len(found)} teachers: {whose}. `teacher` is that of the full method."]
