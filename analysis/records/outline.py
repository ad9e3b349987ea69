"""What a run planned: its cells, blocks, parts, columns and lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


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


def outline_of_plan(plan: Mapping[str, Any]) -> Outline:
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


def outline_of_rows(space: Mapping[str, Any], arms: pd.DataFrame) -> Outline:
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
    parts: tuple[Part, ...] = (Part(kinds=kinds),)
    if {"cell", "confirm"} <= set(kinds):  # every cell ran twice
        fixed = Part(kinds=("cell", "baseline"), name="own settings")
        parts = (fixed, Part(kinds=("search", "confirm", "baseline"), name="re-tuned"))
    return Outline(components=components, cells=tuple(cells), blocks=blocks, parts=parts)
