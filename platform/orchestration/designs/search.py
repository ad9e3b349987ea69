"""A search of the full method; its best against the space's settings on fresh seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from branchwise.analysis.declared.cells import DEFAULTS
from branchwise.orchestration.designs.ablation import block_arm
from branchwise.orchestration.designs.base import BestConfigs, Cell, Design
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.designs.tuning import FRESH_SEED, CellSearch, Tuning
from branchwise.run_files.arm_kinds import AnalysisGroup
from branchwise.trainables import Arm
from branchwise.trainables.runtime.settings import TupleOf

SEARCH = "search"  # the cell of its searched arms


class Search(Tuning, Design):
    """Better settings for the method as it is."""

    kind: Literal["search"]
    objectives: Annotated[TupleOf[str], Field(min_length=1, max_length=3)] = ("value",)

    @model_validator(mode="after")
    def _check_objectives(self) -> Search:
        multiple = len(self.objectives) > 1
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives {list(self.objectives)} must differ")
        if multiple and self.scheduler != "none":
            raise ValueError("scheduler must be none with several objectives: it compares one number alone")
        if multiple and self.algorithm == "optuna_cmaes":
            raise ValueError("algorithm optuna_cmaes has a single objective; optuna_tpe or optuna_nsga2 take several")
        return self

    def objective_names(self) -> tuple[str, ...]:
        return self.objectives

    def settings(self) -> list[str]:
        return sorted(self.knobs)

    def check(self, method: Method) -> None:
        self.check_total(method)
        self.check_looks(method)
        self.check_search(method, self.max_blocks)

    def cells(self, method: Method) -> tuple[Cell, ...]:
        return (Cell(cell=DEFAULTS, kind="confirm", patch={}),)

    def searches(self) -> tuple[CellSearch, ...]:
        return (CellSearch(cell=SEARCH, knobs=self.knobs, options=self),)

    def arms(self, method: Method, found: BestConfigs) -> tuple[Arm, ...]:
        best = found[SEARCH]
        names = ["best"] if len(best) == 1 else [f"front-{number}" for number in range(1, len(best) + 1)]
        cells = [Cell(cell=name, kind="confirm", patch=patch) for name, patch in zip(names, best, strict=True)]
        return tuple(
            block_arm(method, cell, block, first_seed=FRESH_SEED)
            for block in range(self.max_blocks)
            for cell in (*cells, *self.cells(method))
        )

    def total(self) -> int:
        """The assumed size of a front, which may be larger, is 1."""
        return self.searched * self.seeds_each + 2 * self.max_blocks

    def parts(self) -> tuple[AnalysisGroup, ...]:
        return (AnalysisGroup(kinds=("search", "confirm")),)

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        yield from self.describe_search("", at_a_time)
        yield "confirm", f"the best settings and the space's own on {self.max_blocks} fresh seeds"
