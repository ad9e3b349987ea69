"""What a run planned: its cells, blocks, parts, columns and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from branchwise.analysis.declared.across import DataSets, data_sets_of
from branchwise.analysis.declared.factors import ON, Factor, Grid, level_of
from branchwise.analysis.declared.inference import ALPHA, DEFAULT, Inference
from branchwise.analysis.declared.looks import Looks, looks_of
from branchwise.analysis.declared.outcomes import Better, ScaleName


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A row of the table that was known before the run; `levels` are its components', empty for a baseline."""

    cell: str
    kind: str
    levels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class AnalysisGroup:
    """Arms that are analysed together, by their kinds, and the question that they answer."""

    kinds: tuple[str, ...]
    name: str = ""
    question: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a trainable declares of a column: a phrase for people, and which direction is better, if any. declared:
    whether the scale was, and not chosen by the values."""

    name: str
    about: str = ""
    better: Better | None = None
    shown: bool = False
    cost: bool = False
    unit: str = ""
    scale: ScaleName = "log"
    declared: bool = True
    range: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class PlotSpec:
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

    grid: Grid
    cells: tuple[PlannedCell, ...]
    blocks: tuple[int, ...]
    parts: tuple[AnalysisGroup, ...]
    columns: tuple[Column, ...] = ()
    lines: tuple[PlotSpec, ...] = ()
    outcomes: tuple[str, ...] = ("value",)  # the primary one first
    looks: Looks | None = None
    across: DataSets | None = None  # each has all the cells, in blocks of its own
    extends: Mapping[str, Any] | None = None  # the run that this one adds to: its name, its blocks, what was added
    published: Mapping[str, float] = field(default_factory=dict)  # what others report, by row of the table of cells
    published_by: str = ""
    inference: Inference = DEFAULT
    is_plan: bool = False  # whether it was laid out before the run


def outline_of_plan(plan: Mapping[str, Any]) -> Outline:
    def column(result: Mapping[str, Any]) -> Column:
        return Column(
            name=result["name"],
            about=result["about"],
            better=result["better"],
            shown=result["shown"],
            scale=result.get("scale", "log"),
            declared=result.get("declared", True),
            range=tuple(result["range"]) if result.get("range") else None,
            cost=result.get("cost", False),
            unit=result["unit"],
        )

    cells = tuple(
        PlannedCell(cell=c["cell"], kind=c["kind"], levels={k: level_of(v) for k, v in c["components"].items()})
        for c in plan["cells"]
    )
    described = plan.get("factors") or [{"name": name} for name in plan["components"]]
    return Outline(
        grid=_grid([_factor(item) for item in described], cells),
        cells=cells,
        blocks=tuple(plan["blocks"]),
        parts=tuple(
            AnalysisGroup(kinds=tuple(p["kinds"]), name=p["name"], question=p["question"]) for p in plan["parts"]
        ),
        columns=tuple(map(column, plan["columns"])),
        lines=tuple(
            PlotSpec(
                table=one["table"], name=one["name"], title=one["title"], x=tuple(one["x"]), x_label=one["x_label"],
                y=tuple(map(column, one["y"])), level=one["level"], linear=tuple(one["linear"]),
            )
            for one in plan["lines"]
        ),
        outcomes=tuple(plan.get("outcomes") or ("value",)),
        looks=looks_of(plan.get("looks")),
        across=data_sets_of(plan.get("across")),
        extends=plan.get("extends"),
        published=(plan.get("published") or {}).get("values", {}),
        inference=Inference(paired=plan.get("paired", True), alpha=plan.get("alpha", ALPHA)),
        published_by=(plan.get("published") or {}).get("source", ""),
        is_plan=True,
    )  # fmt: skip


def _factor(described: Mapping[str, Any]) -> Factor:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
    return Factor(**values)


def _grid(factors: Sequence[Factor], cells: Sequence[PlannedCell]) -> Grid:
    """The factors, and those of the cells that have a level of each."""
    planned = (cell.levels for cell in cells if factors and all(factor.name in cell.levels for factor in factors))
    return Grid(
        factors=tuple(factors), planned=frozenset(tuple(levels[item.name] for item in factors) for levels in planned)
    )


def outline_of_rows(space: Mapping[str, Any], arms: pd.DataFrame) -> Outline:
    """Of a run that an earlier version made, or another program: the cells that have a row, no columns, no lines."""
    components = tuple((space.get("design") or {}).get("components") or ())
    cells = []
    for kind in ("cell", "baseline"):
        for cell, rows in arms[arms["kind"] == kind].groupby("cell", sort=False):
            first = rows.iloc[0]
            levels = {name: level_of(first.get(f"component.{name}", False)) for name in components}
            cells.append(PlannedCell(cell=str(cell), kind=kind, levels=levels if kind == "cell" else {}))
    cells.sort(key=lambda cell: sum((cell.levels.get(name) == ON) << i for i, name in enumerate(components)))
    blocks = tuple(sorted({int(block) for block in arms["block"].dropna()}))
    kinds = tuple(arms["kind"].dropna().unique())
    parts: tuple[AnalysisGroup, ...] = (AnalysisGroup(kinds=kinds),)
    if {"cell", "confirm"} <= set(kinds):  # every cell ran twice
        fixed = AnalysisGroup(kinds=("cell", "baseline"), name="own settings")
        parts = (fixed, AnalysisGroup(kinds=("search", "confirm", "baseline"), name="re-tuned"))
    grid = _grid([Factor(name=name) for name in components], cells)
    inference = Inference(alpha=(space.get("design") or {}).get("alpha", ALPHA))
    return Outline(grid=grid, cells=tuple(cells), blocks=blocks, parts=parts, inference=inference)
