"""A sweep, or a part of it, from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.across import arm_name
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.declared.outcomes import Better, Outcome, column_and_evaluation, column_and_step
from branchwise.analysis.records.names import printable_tree
from branchwise.analysis.records.outline import AnalysisGroup, Column, Outline

RESULT_KINDS = ("cell", "confirm")  # arms of kind `search` chose settings; their values are never results


@dataclass(frozen=True, kw_only=True)
class FirstEffect:
    """The main effect of a component in the screening; p_holm is NaN where the screening only ranked."""

    component: str
    rank: float
    value: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """The screening that a run follows up: its name, its seeds, and how the components that it omitted are held."""

    run: str
    seeds: tuple[int, ...]
    others: str
    scale: str
    effects: tuple[FirstEffect, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A sweep, or a part of it, from its folder. `arms` has each column that the analysis uses, NaN or None
    where absent."""

    folder: Path
    name: str
    space: Mapping[str, Any]
    manifest: Mapping[str, Any]
    outline: Outline
    part: AnalysisGroup
    arms: pd.DataFrame
    modified: bool = False  # whether space.yaml differs from that at the run's start
    data_set: str = ""  # which of `outline.across` this part is
    waits_for: str = ""  # how far data sets are that are tested together with it

    @property
    def design(self) -> Mapping[str, Any]:
        return self.space.get("design") or {}

    @cached_property
    def first_stage(self) -> FirstStage | None:
        """The screening that this run follows up, as its space keeps it; None for another run."""
        spec = self.design.get("follow_up_of")
        if not isinstance(spec, Mapping):
            return None
        return FirstStage(
            run=str(spec["run"]), seeds=tuple(spec["seeds"]), others=str(spec["others"]), scale=str(spec["scale"]),
            effects=tuple(
                FirstEffect(component=str(name), rank=float(item["rank"]), value=float(item["value"]),
                            p_holm=float(item.get("p_holm", "nan")))
                for name, item in spec["effects"].items()
            ),
        )  # fmt: skip

    @property
    def progress(self) -> Mapping[str, str] | None:
        """The progress of the run, a phrase by its subject; None unless this is a copy made while it runs."""
        result: Mapping[str, str] | None = self.manifest.get("progress")
        return result

    @property
    def grid(self) -> Grid:
        return self.outline.grid

    @property
    def inference(self) -> Inference:
        """How effects are tested."""
        return self.outline.inference

    @property
    def components(self) -> tuple[str, ...]:
        return self.grid.components

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What effects are estimated on, the primary first; the arms have a column with the name of each."""
        columns = {column.name: column for column in self.outline.columns}
        declared_outcomes = []
        for name in self.outline.outcomes:
            column, step = column_and_step(name)
            declared = columns.get(column, Column(name=column))
            plain, evaluation = column_and_evaluation(column)
            title = (self.metric if plain == "value" else plain) + (f" under {evaluation}" if evaluation else "")
            at = "" if step is None else f" after {step:,} steps"
            declared_outcomes.append(
                Outcome(
                    name=name,
                    title=title + at,
                    better=declared.better or _unless(plain),
                    scale=declared.scale,
                    range=declared.range,
                    additive=declared.scale == "identity" and declared.declared,
                )
            )
        return tuple(declared_outcomes)

    @property
    def primary(self) -> Outcome:
        return self.outcomes[0]

    @property
    def claims(self) -> tuple[str, ...]:
        return tuple(self.design.get("claims") or ())

    @property
    def planned(self) -> tuple[str, ...]:
        """Cells of components that were planned, in the order of the table."""
        return tuple(cell.cell for cell in self.outline.cells if cell.kind == "cell")

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(cell.cell for cell in self.outline.cells if cell.kind == "baseline")

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Planned cells, and those that were found as the run went."""
        result_cells = self.arms.loc[self.arms["kind"].isin(RESULT_KINDS), "cell"].dropna()
        return tuple(dict.fromkeys((*self.planned, *result_cells.unique())))

    def levels(self, cell: str) -> Mapping[str, str] | None:
        """The level of each component in a cell; None without components."""
        return next((item.levels for item in self.outline.cells if item.cell == cell and item.levels), None)

    @property
    def shown(self) -> tuple[Column, ...]:
        """Columns next to the value."""
        return tuple(column for column in self.outline.columns if column.shown)

    def better(self, column: str) -> Better:
        """Which direction of a column is better; lower unless declared otherwise."""
        return next((item.better for item in self.outline.columns if item.name == column and item.better), "lower")

    @property
    def searched(self) -> bool:
        """Whether a search is part of it."""
        return "search" in self.part.kinds

    @cached_property
    def results(self) -> pd.DataFrame:
        """Finished arms with values that count: cells, confirmations and baselines."""
        done = (self.arms["status"] == "done") & np.isfinite(self.arms[self.primary.name])
        rows: pd.DataFrame = self.arms[done & self.arms["kind"].isin((*RESULT_KINDS, "baseline"))]
        return rows

    @property
    def label(self) -> str:
        """How a column of a table calls it, next to the other data sets or runs."""
        return self.data_set or self.name

    @property
    def run_name(self) -> str:
        """The name of the run that this is a part of, without that of the data set."""
        return self.name.removesuffix(f", {self.data_set}") if self.data_set else self.name

    @property
    def label_column(self) -> str:
        """The title of that column."""
        return self.outline.across.name if self.outline.across else "run"

    def arm(self, cell: str, block: int) -> str:
        """The name of a planned arm."""
        return arm_name(cell, block, self.data_set)

    @property
    def metric(self) -> str:
        named = self.arms["metric"].dropna()
        return str(named.iloc[0]) if len(named) else "value"

    @property
    def comparability(self) -> Mapping[str, Any]:
        """How the results were measured, the same for all; empty if none exist."""
        keys = self.results["comparability_key"].dropna()
        return dict(printable_tree(json.loads(keys.iloc[0]))) if len(keys) else {}

    @property
    def measure(self) -> str:
        """The primary outcome; a metric with its samples, where the results tell: fd_digits64 on 1,000 samples."""
        samples = self.comparability.get("samples") if self.primary.column == "value" else None
        return f"{self.primary.title} on {samples:,} samples" if samples else self.primary.title

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Planned arms without a row. Those that a search leads to are named as it goes, and never missing; nor are
        any where seeds do not pair the cells."""
        if not self.inference.paired:
            return ()
        rows = (*self.planned, *self.baselines)
        counted = self.arms[self.arms["kind"] != "search"]
        blocks = np.array(self.outline.blocks)
        cells_run = counted.groupby("cell")["block"]
        present = {cell: np.isin(blocks, of_cell) for cell, of_cell in cells_run.unique().items()}
        absent = np.array([~present.get(cell, np.zeros(len(blocks), dtype=bool)) for cell in rows])
        if not absent.any():
            return ()
        return tuple(self.arm(rows[column], blocks[block]) for block, column in np.argwhere(absent.T))

    @cached_property
    def unfinished(self) -> str:
        """How far a plan is that has not run to its end: `4 of 10 blocks`. Empty for a finished plan, and for runs that
        of another program."""
        if self.waits_for:
            return self.waits_for
        if not self.missing or "source" in self.manifest:
            return ""
        waiting = {name.rpartition("-b")[2] for name in self.missing}
        blocks = [str(block) for block in self.outline.blocks]
        return f"{sum(block not in waiting for block in blocks)} of {len(blocks)} blocks"

    @cached_property
    def failed_arms(self) -> pd.DataFrame:
        """Arms that ran without a value: failed, diverged, or marked done without a finite value."""
        no_value = ~np.isfinite(self.arms[self.primary.name])
        bad = ((self.arms["status"] != "done") | no_value) & (self.arms["status"] != "stopped")
        rows: pd.DataFrame = self.arms[bad]
        return rows


def _unless(column: str) -> Better:
    """The direction of a column that declares none: a value is a distance; effects on others are reported as rises."""
    return "lower" if column == "value" else "higher"
