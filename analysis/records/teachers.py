"""Teachers of a run: their values, and their students.

A run has multiple where a component changes what students learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import FULL, TEACHER

MAX_NAMED = 3  # cells in a name


@dataclass(frozen=True, kw_only=True)
class TeacherValue:
    """A teacher, or one per block, and its value of an outcome, measured as its students are."""

    cells: tuple[str, ...]  # with students that learn from it
    by_block: pd.Series  # its value in each block: the same everywhere unless each block has a separate teacher
    keys: tuple[str, ...]  # of the teacher, or of each block's teacher
    repeats: tuple[float, ...]  # of each set of samples of the first; empty where they are not recorded
    alone: bool  # whether the run has no other

    @property
    def value(self) -> float:
        """The mean over its teachers."""
        return float(self.by_block.mean() if self.for_each_block else self.by_block.iloc[0])

    @property
    def for_each_block(self) -> bool:
        return len(self.keys) > 1

    @property
    def name(self) -> str:
        """`teacher` for that of the full method, as in claims; others are named for their cells."""
        if self.alone or FULL in self.cells:
            return TEACHER
        more = len(self.cells) - MAX_NAMED
        return f"teacher of {', '.join(self.cells[:MAX_NAMED])}" + (f" and {more} more" if more > 0 else "")


def teachers(arms: pd.DataFrame, column: str) -> tuple[TeacherValue, ...]:
    """Return the teachers of these rows of arms.parquet with a value in `column`, in row order.

    Teachers that the same cell learned from, in different blocks, are listed as a single teacher.
    """
    if column not in arms:
        return ()
    rows = arms.dropna(subset=column)
    # A table of external runs may have only a teacher's value.
    key = rows["teacher"].fillna("").astype(str) if "teacher" in rows else rows[column].astype(str)
    rows = rows.assign(_key=key)
    groups: list[tuple[set[str], set[str]]] = []  # cells, keys: those that share a cell belong together
    for cell, match in rows.groupby("cell", sort=False)["_key"]:
        cells, keys = {str(cell)}, set(match)
        for other in [other for other in groups if other[1] & keys]:
            groups.remove(other)
            cells, keys = cells | other[0], keys | other[1]
        groups.append((cells, keys))
    order = {cell: number for number, cell in enumerate(rows["cell"].dropna().unique())}
    groups.sort(key=lambda group: min(order[cell] for cell in group[0]))
    return tuple(
        TeacherValue(
            cells=tuple(sorted(cells, key=order.__getitem__)),
            by_block=rows[rows["_key"].isin(keys)].groupby("block")[column].first().astype(float),
            keys=tuple(dict.fromkeys(key for key in rows["_key"] if key in keys)),
            repeats=_repeats(rows[rows["_key"].isin(keys)], column),
            alone=len(groups) == 1,
        )
        for cells, keys in groups
    )


def _repeats(rows: pd.DataFrame, column: str) -> tuple[float, ...]:
    result = rows[f"{column}_repeats"].iloc[0] if f"{column}_repeats" in rows else None
    return tuple(map(float, result)) if isinstance(result, list | tuple | np.ndarray) else ()


def with_repeats(arms: pd.DataFrame, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """The arms with the repeats of their teacher's value, which the manifest records."""
    teachers = manifest.get("teachers", ())
    repeats = {teacher.get("key"): teacher["value_repeats"] for teacher in teachers if teacher.get("value_repeats")}
    if not repeats or not {"teacher", "teacher_value"} <= set(arms):
        return arms
    column = [repeats.get(key) for key in arms["teacher"]]
    return arms.assign(teacher_value_repeats=pd.Series(column, index=arms.index, dtype=object))


def value_of_teacher(arms: pd.DataFrame, column: str) -> TeacherValue | None:
    """Return the teacher that claims call `teacher`; None where none is recorded."""
    return next((teacher for teacher in teachers(arms, column) if teacher.name == TEACHER), None)


def has_teacher_for_each_block(arms: pd.DataFrame, column: str) -> bool:
    """Whether intervals cover other teachers, since each block trained a teacher."""
    result = teachers(arms, column)
    return bool(result) and all(teacher.for_each_block for teacher in result)


def notes(arms: pd.DataFrame, column: str) -> list[str]:
    """Return notes on intervals: one teacher or others; on the cells of each where they differ."""
    result = teachers(arms, column)
    if not result or arms["block"].nunique() < 2:
        covered = []
    elif all(teacher.for_each_block for teacher in result):
        covered = ["Each block has a teacher of its own: intervals cover other teachers as well as other seeds."]
    else:
        covered = [
            "All blocks learned from one teacher: intervals cover other seeds of its students, not another teacher."
        ]
    if len(result) < 2:
        return covered
    cell_names = "; ".join(f"one of {', '.join(teacher.cells)}" for teacher in result)
    each = ", each trained anew for every block" if result[0].for_each_block else ""
    return [
        f"Students learned from {len(result)} teachers{each}: {cell_names}. `teacher` is that of the full method.",
        *covered,
    ]
