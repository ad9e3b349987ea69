"""The fair factorial: a search of equal budget for each cell before the fresh seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, all_combinations, block_arm
from branchwise.orchestration.designs.base import BestConfigs
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.designs.tuning import FRESH_SEED, CellSearch, Tuning
from branchwise.orchestration.errors import UserError
from branchwise.run_files.arm_kinds import AnalysisGroup
from branchwise.trainables import Arm
from branchwise.trainables.runtime.settings import bare_key


class TunedFactorial(Tuning, Ablation):
    """Each cell twice on the fresh seeds: with the space's settings and its search's best."""

    kind: Literal["tuned_factorial"]

    @property
    def first_fresh_seed(self) -> int:
        return FRESH_SEED + self.first_seed

    def combinations(self) -> Iterator[Mapping[str, str]]:
        return (levels for levels in all_combinations(self.factors()) if not self.is_excluded(levels))

    def settings(self) -> list[str]:
        return sorted({*Ablation.settings(self), *self.knobs})

    def check(self, method: Method) -> None:
        if self.further_cells:
            raise UserError(f"{method.file}: design.further_cells: not allowed with design.kind {self.kind}")
        Ablation.check(self, method)
        self.check_search(method, self.max_blocks)
        for search in self.searches():
            if not search.knobs:
                raise UserError(
                    f"{method.file}: design.knobs: the components switch off every knob of the cell {search.cell}, so "
                    "there is nothing to tune in it; add a knob that they leave alone (train.lr)"
                )

    def searches(self) -> tuple[CellSearch, ...]:
        return tuple(
            CellSearch(
                cell=cell.cell,
                knobs={key: knob for key, knob in self.knobs.items() if bare_key(key) not in map(bare_key, cell.patch)},
                options=self,
                components=cell.components,
                patch=cell.patch,
            )
            for cell in self.component_cells()
        )

    def arms(self, method: Method, found: BestConfigs) -> tuple[Arm, ...]:
        arms = []
        cells, every = self.component_cells(), self.cells(method)
        first = self.first_fresh_seed
        for block in range(self.max_blocks):
            for cell in cells:
                arms.append(block_arm(method, cell, block, first_seed=first))
                for patch in found[cell.cell]:
                    tuned = block_arm(method, replace(cell, patch=patch), block, kind="confirm", first_seed=first)
                    arms.append(replace(tuned, name=f"{cell.cell}-tuned-b{block}"))
            for baseline in every[len(cells) :]:
                arms.append(block_arm(method, baseline, block, first_seed=first))
        return tuple(arms)

    def total(self) -> int:
        cells = len(list(self.combinations()))
        return self.searched * self.seeds_each * cells + self.max_blocks * (2 * cells + len(self.baselines))

    def parts(self) -> tuple[AnalysisGroup, ...]:
        return (
            AnalysisGroup(
                name="own settings",
                kinds=("cell", "baseline"),
                question="Fixed effects: every cell with the space's own settings, on the seeds that the re-tuned "
                "cells ran on.",
            ),
            AnalysisGroup(
                name="re-tuned",
                kinds=("search", "confirm", "baseline"),
                question="Re-tuned effects: every cell was given its own search with the same budget, then fresh "
                "seeds. They answer what a component adds once everything else has been adjusted to its presence or "
                "absence.",
            ),
        )

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        cells = len(list(self.combinations()))
        yield "components", ", ".join(map(str, self.factors()))
        yield from self.describe_search(f" in each of {cells} cells", at_a_time)
        yield "confirm", f"every cell, tuned and with the space's own settings, on {self.max_blocks} fresh seeds"
        for claim in self.claims:
            yield "claim", claim
