"""The interface of each kind of design, so that no other code depends on the kind.

A design is the section `design` of a space. It has two stages, either of which may be empty: the *searches*, which look
for settings, and the *arms*, which are trained once the searches have finished.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from branchwise.analysis.declared.across import DataSets
from branchwise.analysis.declared.factors import Factor, Grid, level_of
from branchwise.analysis.declared.inference import ALPHA, MAX_ALPHA, Inference
from branchwise.analysis.declared.looks import Looks
from branchwise.orchestration.designs.across import Across, DataSet, data_sets
from branchwise.orchestration.designs.looks import Blocks
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.designs.tuning import CellSearch
from branchwise.orchestration.errors import UserError
from branchwise.run_files.arm_kinds import AnalysisGroup, Kind
from branchwise.trainables.contract import Arm
from branchwise.trainables.runtime.settings import Strict

MAX_ARMS = 100_000

# By searched cell, the result of its search: a patch, or the patches of a Pareto front.
BestConfigs = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table row planned before the run: a combination of components, or a baseline."""

    cell: str
    kind: Kind
    patch: Mapping[str, Any]
    components: Mapping[str, bool | str] = field(default_factory=dict)  # on or off, or the level; empty for a baseline


class Design(Strict, ABC):
    """The section `design` of a space; a subclass for each kind."""

    CROSSES: ClassVar[bool] = False  # whether it can be repeated on multiple data sets

    kind: str
    across: Across | None = None
    blocks: Blocks = 3  # training seeds; {first: 4, max: 8} or {looks: [5, 10]} declares when the run is tested
    alpha: Annotated[float, Field(gt=0, le=MAX_ALPHA)] = ALPHA  # error that all tests share; intervals are at 1 - alpha

    @property
    def max_blocks(self) -> int:
        """Blocks of a run that no look stops early."""
        return self.blocks if isinstance(self.blocks, int) else self.blocks.declared().max

    @property
    def looks(self) -> Looks | None:
        """The declared looks, or None where the number of blocks is fixed."""
        return None if isinstance(self.blocks, int) else self.blocks.declared()

    def sealed(self, method: Method) -> tuple[str, ...]:
        """Texts sealed before the run: the claims and the level, with looks and data sets if any."""
        looks = (self.looks.canonical,) if self.looks else ()
        across = (self.crossed.canonical,) if self.crossed else ()
        return (*self.declared_claims(method), *looks, *across, *Inference(alpha=self.alpha).canonical)

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets of the ablation; an unnamed data set where it is not repeated."""
        return data_sets(self.across)

    @property
    def crossed(self) -> DataSets | None:
        """The data sets as the analysis knows them; None without `across`."""
        if not self.across:
            return None
        return DataSets(name=next(iter(self.across)), levels=tuple(item.name for item in self.data_sets))

    def component_names(self) -> tuple[str, ...]:
        """Parts of the method that are switched on and off."""
        return tuple(factor.name for factor in self.factors())

    def factors(self) -> tuple[Factor, ...]:
        """The components with their levels."""
        return ()

    def seeds(self) -> tuple[int, ...]:
        """The seed of each block, where arms are planned beforehand."""
        return (0,)

    def grid(self) -> Grid:
        """The components, and the cells that the design runs of them."""
        return Grid(factors=(), planned=frozenset())

    def is_testable(self) -> bool:
        """Whether the run will have verdicts on its components."""
        return bool(self.component_names())

    def outcome_names(self) -> tuple[str, ...]:
        """The columns that effects are estimated on, the primary first."""
        return ("value",)

    def declared_claims(self, method: Method) -> tuple[str, ...]:
        """The claims made before the run, each in its canonical form."""
        return ()

    def further_hypotheses(self, method: Method) -> int:
        """The number of tests that the claims add to those of each component's effect."""
        return 0

    @abstractmethod
    def settings(self) -> list[str]:
        """The settings in which arms differ, sorted."""

    @abstractmethod
    def check(self, method: Method) -> None:
        """Check that the design fits the method; raise UserError otherwise."""

    @abstractmethod
    def cells(self, method: Method) -> tuple[Cell, ...]:
        """The rows planned before the run, in the order of the table; the same for all data sets."""

    def searches(self) -> tuple[CellSearch, ...]:
        """The first stage: what is searched before the arms can be named."""
        return ()

    @abstractmethod
    def arms(self, method: Method, found: BestConfigs) -> tuple[Arm, ...]:
        """The second stage, block by block. `found` is empty for a design without a search."""

    @abstractmethod
    def total(self) -> int:
        """Arms of a run without failures, including those of the searches."""

    def check_total(self, method: Method) -> None:
        """Check that a sweep can have this many arms; raise UserError otherwise."""
        if self.total() > MAX_ARMS:
            raise UserError(
                f"{method.file}: design: makes {self.total()} arms; {MAX_ARMS} are allowed, so lower blocks"
            )

    def check_crossed(self, method: Method) -> None:
        """Check that the design can be repeated on its data sets; raise UserError otherwise."""
        if not self.across:
            return
        where = f"{method.file}: design.across"
        if not self.CROSSES:
            raise UserError(
                f"{where}: not allowed with design.kind {self.kind}; it is with factorial, leave_one_out and "
                "add_one_in; make a space for each data set"
            )
        if self.looks:
            raise UserError(f"{where}: not allowed with looks, which would end each data set apart; blocks: a number")

    def check_looks(self, method: Method) -> None:
        """Check that the design can have the declared looks; raise UserError otherwise."""
        if self.looks and self.searches():
            raise UserError(
                f"{method.file}: design.blocks: looks are not allowed in a {self.kind} design, whose search is part of "
                "what is compared; it must be a number"
            )

    @abstractmethod
    def parts(self) -> tuple[AnalysisGroup, ...]:
        """The groups that are analyzed separately."""

    @abstractmethod
    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        """The design's description in a plan, as pairs of a key and a text.

        `at_a_time` cohorts run at once.
        """

    def outline(self, method: Method) -> dict[str, Any]:
        """The part of a run's plan that the analysis needs.

        Its cells are in the order of the table, of switches the full method last.
        """
        factors = self.factors()

        def order(cell: Cell) -> tuple[bool, tuple[int, ...]]:
            levels = (factor.levels.index(level_of(cell.components.get(factor.name))) for factor in factors[::-1]
                      if cell.components)  # fmt: skip
            return cell.kind == "baseline", tuple(levels)

        return {
            "design": self.kind,
            "components": list(self.component_names()),
            "factors": [factor.described() for factor in factors],
            "outcomes": list(self.outcome_names()),
            "blocks": list(range(self.max_blocks)),
            "looks": self.looks.described() if self.looks else None,
            "across": self.crossed.described() if self.crossed else None,
            "alpha": self.alpha,
            "cells": [asdict(cell) for cell in sorted(self.cells(method), key=order)],
            "parts": [asdict(part) for part in self.parts()],
        }
