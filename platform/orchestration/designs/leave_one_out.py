"""Designs that change one component at a time, from the full method or from the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from branchwise.analysis.declared.factors import Factor
from branchwise.orchestration.designs.ablation import Ablation
from branchwise.orchestration.designs.component import Component, Name

MAX_COMPONENTS = 50


class OneAtATime(Ablation):
    """A design that changes one component at a time, and so has room for many."""

    CROSSES: ClassVar[bool] = True

    components: Annotated[dict[Name, Component], Field(min_length=1, max_length=MAX_COMPONENTS)]

    def max_cells(self) -> int:
        return len(list(self.combinations()))


class LeaveOneOut(OneAtATime):
    """The loss without each component alone, in k + 1 cells.

    Shares of the gain cannot be estimated from it.
    """

    kind: Literal["leave_one_out"]

    def combinations(self) -> Iterator[Mapping[str, str]]:
        full = {factor.name: factor.full for factor in self.factors()}
        cells = [full, *_changed(self.factors()[::-1], full)]
        return (levels for levels in cells if not self.is_excluded(levels))


class AddOneIn(OneAtATime):
    """The gain of each component alone, in k + 2 cells: base, base with one, and full method."""

    kind: Literal["add_one_in"]

    def combinations(self) -> Iterator[Mapping[str, str]]:
        base = {factor.name: factor.reference for factor in self.factors()}
        full = {factor.name: factor.full for factor in self.factors()}
        single_changes = [levels for levels in _changed(self.factors(), base) if levels != full]
        return (levels for levels in (full, *single_changes, base) if not self.is_excluded(levels))


def _changed(factors: Sequence[Factor], levels: Mapping[str, str]) -> list[Mapping[str, str]]:
    """The combinations that differ from `levels` in a single component."""
    return [
        {**levels, factor.name: level}
        for factor in factors
        for level in factor.levels[::-1]
        if level != levels[factor.name]
    ]
