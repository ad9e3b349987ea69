"""A loaded sweep, or a part of it, and what its statistics take of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.across import arm_name
from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Claim, Vocabulary, seal
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.records.lineage import Lineage
from branchwise.analysis.records.names import printable_tree
from branchwise.analysis.records.observations import Look, Observations, RunAtLooks
from branchwise.analysis.records.outline import Outline
from branchwise.run_files.arm_kinds import CELL_KINDS, RESULT_KINDS, AnalysisGroup
from branchwise.run_files.columns import Better, Column, column_and_evaluation, column_and_step


@dataclass(frozen=True, kw_only=True)
class ParsedClaims:
    """Claims of a space; a message for each that cannot be read (the space was changed by hand)."""

    claims: tuple[Claim, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FirstEffect:
    """Main effect of a component in the screening; p_holm is NaN where that only ranked."""

    component: str
    rank: float
    value: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """The screening that a run follows up: name, seeds, and how omitted components are held."""

    run: str
    seeds: tuple[int, ...]
    others: str
    scale: str
    effects: tuple[FirstEffect, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A sweep, or a part of it, from its folder.

    `arms` has each column that the analysis uses, NaN or None where absent.
    """

    folder: Path
    name: str
    space: Mapping[str, Any]
    manifest: Mapping[str, Any]
    outline: Outline
    part: AnalysisGroup
    arms: pd.DataFrame
    budgets: pd.DataFrame  # values on the way, a row for each arm and step; empty without any
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
        """The progress, a phrase by subject; None unless this is a copy made while it runs."""
        result: Mapping[str, str] | None = self.manifest.get("progress")
        return result

    @property
    def grid(self) -> Grid:
        return self.outline.grid

    @property
    def inference(self) -> Inference:
        """The rules by which effects are tested."""
        return self.outline.inference

    @property
    def components(self) -> tuple[str, ...]:
        return self.grid.components

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcomes that effects are estimated on, the primary first; each is a column of the arms."""
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
                    better=declared.better or _default_direction(plain),
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

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Planned cells, and those that were found as the run went."""
        result_cells = self.arms.loc[self.arms["kind"].isin(CELL_KINDS), "cell"].dropna()
        return tuple(dict.fromkeys((*self.outline.planned, *result_cells.unique())))

    @property
    def searched(self) -> bool:
        """Whether a search is part of it."""
        return "search" in self.part.kinds

    @cached_property
    def results(self) -> pd.DataFrame:
        """Finished arms with values that count: cells, confirmations and baselines."""
        done = (self.arms["status"] == "done") & np.isfinite(self.arms[self.primary.name])
        rows: pd.DataFrame = self.arms[done & self.arms["kind"].isin(RESULT_KINDS)]
        return rows

    @property
    def label(self) -> str:
        """The name in a table's column, next to the other data sets or runs."""
        return self.data_set or self.name

    @property
    def run_name(self) -> str:
        """The name of the run that this is a part of, without that of the data set."""
        return self.name.removesuffix(f", {self.data_set}") if self.data_set else self.name

    @property
    def label_column(self) -> str:
        """The title of the column that holds `label`."""
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
        """Settings under which all results were measured; empty if none exist."""
        keys = self.results["comparability_key"].dropna()
        return dict(printable_tree(json.loads(keys.iloc[0]))) if len(keys) else {}

    @property
    def measure(self) -> str:
        """The primary outcome; a metric with samples where known: fd_digits64 on 1,000 samples."""
        samples = self.comparability.get("samples") if self.primary.column == "value" else None
        return f"{self.primary.title} on {samples:,} samples" if samples else self.primary.title

    @cached_property
    def missing_arms(self) -> tuple[tuple[str, int], ...]:
        """Cell and block of each planned arm without a row.

        None of a search's, and none where seeds pair no cells.
        """
        if not self.inference.paired:
            return ()
        rows = (*self.outline.planned, *self.outline.baselines)
        counted = self.arms[self.arms["kind"] != "search"]
        blocks = np.array(self.outline.blocks)
        cells_run = counted.groupby("cell")["block"]
        present = {cell: np.isin(blocks, of_cell) for cell, of_cell in cells_run.unique().items()}
        absent = np.array([~present.get(cell, np.zeros(len(blocks), dtype=bool)) for cell in rows])
        if not absent.any():
            return ()
        return tuple((rows[cell], int(blocks[block])) for block, cell in np.argwhere(absent.T))

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the planned arms without a row."""
        return tuple(self.arm(cell, block) for cell, block in self.missing_arms)

    @property
    def waiting_blocks(self) -> set[int]:
        """Blocks that lack a planned arm."""
        return {block for _, block in self.missing_arms}

    @cached_property
    def unfinished(self) -> str:
        """Progress of a plan that has not run to its end: `4 of 10 blocks`.

        Empty for a finished plan, and for runs of another program.
        """
        if self.waits_for:
            return self.waits_for
        if not self.missing_arms or "source" in self.manifest:
            return ""
        waiting, blocks = self.waiting_blocks, self.outline.blocks
        return f"{sum(block not in waiting for block in blocks)} of {len(blocks)} blocks"

    @property
    def finished_blocks(self) -> int:
        """The leading blocks with a row for all planned arms, regardless of their status."""
        waiting, blocks = self.waiting_blocks, self.outline.blocks
        return next((number for number, block in enumerate(blocks) if block in waiting), len(blocks))

    def up_to(self, blocks: int) -> Run:
        """The run as it was after its first blocks."""
        kept = self.outline.blocks[:blocks]
        return replace(self, arms=self.arms[self.arms["block"].isin(kept)], outline=replace(self.outline, blocks=kept))

    @property
    def has_looks(self) -> bool:
        """Whether it is tested at declared looks; while a run goes on, it is not tested at all."""
        return self.outline.looks is not None and not self.progress

    @property
    def lineage(self) -> Lineage:
        """The run that this one grew out of, if any."""
        return Lineage(extends=self.outline.extends or {}, blocks=len(self.outline.blocks))

    @property
    def vocabulary(self) -> Vocabulary:
        """Names that claims may use."""
        return Vocabulary(
            grid=self.grid,
            cells=(*self.cells, *self.outline.baselines, TEACHER),
            outcomes={outcome.name: outcome.scale for outcome in self.outcomes},
            points={outcome.name: outcome.points for outcome in self.outcomes if outcome.points},
        )

    def claims_modified(self, claims: Sequence[Claim]) -> bool:
        """Return whether these claims differ from the sealed ones, or came after the runs.

        Without a seal in the manifest, whether the space was modified.
        """
        if self.manifest.get("claims_after_the_runs"):
            return True
        sealed = self.manifest.get("claims_sha256")
        if sealed is None:
            return self.modified
        declared = [item.canonical for item in (self.outline.looks, self.outline.across) if item]
        return bool(sealed != seal([*(claim.canonical for claim in claims), *declared, *self.inference.canonical]))

    @cached_property
    def failed_arms(self) -> pd.DataFrame:
        """Arms that ran without a value: failed, diverged, or marked done without a finite value."""
        no_value = ~np.isfinite(self.arms[self.primary.name])
        bad = ((self.arms["status"] != "done") | no_value) & (self.arms["status"] != "stopped")
        rows: pd.DataFrame = self.arms[bad]
        return rows


def _default_direction(column: str) -> Better:
    """Direction of a column that declares none: a value is a distance, others report rises."""
    return "lower" if column == "value" else "higher"


def observations_of(run: Run, claims: Sequence[Claim] = ()) -> Observations:
    """Return the input of the statistics: arms, without a search's, and what is tested on them."""
    failed = run.failed_arms
    return Observations(
        results=run.results,
        failed=failed[failed["kind"].isin(RESULT_KINDS)],
        grid=run.grid,
        outcomes=run.outcomes,
        inference=run.inference,
        claims=claims,
        unfinished=run.unfinished,
        budgets=run.budgets,
    )


def run_at_looks(run: Run, claims: Sequence[Claim]) -> RunAtLooks:
    """The run at each of its declared looks, as far as it is."""
    looks = run.outline.looks
    assert looks is not None
    finished = run.finished_blocks
    return RunAtLooks(
        looks=looks,
        reached=(_look(run, blocks, claims) for blocks in looks.blocks if blocks <= finished),
        now=observations_of(run, claims),
        finished=finished,
    )


def _look(run: Run, blocks: int, claims: Sequence[Claim]) -> Look:
    part = run.up_to(blocks)
    return Look(blocks=blocks, arms=int(part.arms["arm"].notna().sum()), observed=observations_of(part, claims))


def claims_of(run: Run) -> ParsedClaims:
    """The declared claims; in a space that was changed by hand some cannot be read."""
    claims, unread, terms = [], [], run.vocabulary
    for text in run.claims:
        try:
            claims.append(parse_claim(str(text), terms))
        except ValueError as error:
            unread.append(f"Not judged: {error}.")
    return ParsedClaims(claims=tuple(claims), unread=tuple(unread))
