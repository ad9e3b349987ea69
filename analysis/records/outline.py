"""The plan of a run: its rows, blocks, analysis groups, columns and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from branchwise.analysis.declared.across import DataSets, data_sets_of
from branchwise.analysis.declared.factors import Factor, Grid, level_of
from branchwise.analysis.declared.inference import ALPHA, DEFAULT, Inference
from branchwise.analysis.declared.looks import Looks, looks_of
from branchwise.run_files.arm_kinds import AnalysisGroup
from branchwise.run_files.columns import Better, Column, PlotSpec

Built = TypeVar("Built")


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A planned row of the table of cells: a cell with its levels, or a baseline without."""

    cell: str
    kind: str
    levels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The plan of a run, from its plan.json."""

    grid: Grid
    cells: tuple[PlannedRow, ...]
    blocks: tuple[int, ...]
    groups: tuple[AnalysisGroup, ...]
    columns: tuple[Column, ...] = ()
    plots: tuple[PlotSpec, ...] = ()
    outcomes: tuple[str, ...] = ("value",)  # the primary first
    looks: Looks | None = None
    across: DataSets | None = None  # each has all the cells, in separate blocks
    extends: Mapping[str, Any] | None = None  # the extended run: its name, its blocks, what was added
    published: Mapping[str, float] = field(default_factory=dict)  # what others report, by row of the table of cells
    published_by: str = ""
    inference: Inference = DEFAULT

    @property
    def planned(self) -> tuple[str, ...]:
        """Cells of components that were planned, in the order of the table."""
        return tuple(cell.cell for cell in self.cells if cell.kind == "cell")

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(cell.cell for cell in self.cells if cell.kind == "baseline")

    def levels(self, cell: str) -> Mapping[str, str] | None:
        """The level of each component in a cell; None without components."""
        return next((item.levels for item in self.cells if item.cell == cell and item.levels), None)

    @property
    def shown(self) -> tuple[Column, ...]:
        """Columns next to the value."""
        return tuple(column for column in self.columns if column.shown)

    def better(self, column: str) -> Better:
        """Return the better direction of a column; lower unless declared otherwise."""
        return next((item.better for item in self.columns if item.name == column and item.better), "lower")


def outline_of_plan(plan: Mapping[str, Any]) -> Outline:
    """The outline in the content of a plan.json that fits its schema."""
    cells = tuple(
        PlannedRow(cell=c["cell"], kind=c["kind"], levels={k: level_of(v) for k, v in c["components"].items()})
        for c in plan["cells"]
    )
    return Outline(
        grid=_grid([_build(Factor, item) for item in plan["factors"]], cells),
        cells=cells,
        blocks=tuple(plan["blocks"]),
        groups=tuple(_build(AnalysisGroup, part) for part in plan["parts"]),
        columns=tuple(_build(Column, column) for column in plan["columns"]),
        plots=tuple(
            _build(PlotSpec, item | {"y": [_build(Column, column) for column in item["y"]]}) for item in plan["lines"]
        ),
        outcomes=tuple(plan["outcomes"]),
        looks=looks_of(plan.get("looks")),
        across=data_sets_of(plan.get("across")),
        extends=plan.get("extends"),
        published=(plan.get("published") or {}).get("values", {}),
        inference=Inference(paired=plan.get("paired", True), alpha=plan.get("alpha", ALPHA)),
        published_by=(plan.get("published") or {}).get("source", ""),
    )


def _build(kind: type[Built], described: Mapping[str, Any]) -> Built:
    """A dataclass from plain values; what it has no field for is omitted."""
    known = {item.name: described[item.name] for item in fields(kind) if item.name in described}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def _grid(factors: Sequence[Factor], cells: Sequence[PlannedRow]) -> Grid:
    """The factors, and those of the cells that have a level of each."""
    planned = (cell.levels for cell in cells if factors and all(factor.name in cell.levels for factor in factors))
    return Grid(
        factors=tuple(factors), planned=frozenset(tuple(levels[item.name] for item in factors) for levels in planned)
    )
