"""Declared looks in a space.

Either `blocks: {first: 4, max: 8, spending: obrien_fleming}` or `blocks: {looks: [5, 10]}`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from branchwise.analysis.declared.looks import Looks, Spending
from branchwise.trainables.runtime.settings import Strict, TupleOf

MIN_FIRST, MAX_BLOCKS = 4, 100
TOO_EARLY = (
    f"the first look must come after {MIN_FIRST} blocks or more: to decide anything after 3, an effect must be 7 SD "
    "at alpha .05, and 25 SD at .05/12"
)


class DeclaredLooks(Strict):
    """Blocks after which claims are tested early; `max` or the last look ends the run."""

    first: PositiveInt | None = None  # look after each block from this block on
    max: Annotated[PositiveInt, Field(le=MAX_BLOCKS)] | None = None
    looks: TupleOf[Annotated[PositiveInt, Field(le=MAX_BLOCKS)]] = ()  # or look after these numbers of blocks
    spending: Spending = "obrien_fleming"  # quadratic spends more on the early looks

    @model_validator(mode="after")
    def _check_looks(self) -> DeclaredLooks:
        if self.looks and (self.first or self.max):
            raise ValueError("give first and max, or looks, not both")
        if not self.looks and not (self.first and self.max):
            raise ValueError("give first and max (first: 4, max: 8), or looks ([5, 10])")
        if self.first and self.max and self.max <= self.first:
            raise ValueError(f"max must be above first, not {self.max}")
        blocks = self.declared().blocks
        if blocks[0] < MIN_FIRST:
            raise ValueError(f"{TOO_EARLY}; the first is after {blocks[0]}")
        if len(blocks) < 2:
            raise ValueError(f"two looks or more are allowed; one after {blocks[0]} is blocks: {blocks[0]}")
        if any(later <= earlier for earlier, later in pairwise(blocks)):
            raise ValueError(f"looks must rise, not {list(blocks)}")
        return self

    def declared(self) -> Looks:
        if self.looks:
            return Looks(blocks=self.looks, spending=self.spending)
        assert self.first is not None
        assert self.max is not None
        return Looks(blocks=tuple(range(self.first, self.max + 1)), spending=self.spending)


def _blocks_tag(blocks: Any) -> str:
    return "looks" if isinstance(blocks, dict | DeclaredLooks) else "number"


Blocks = Annotated[
    Annotated[PositiveInt, Tag("number")] | Annotated[DeclaredLooks, Tag("looks")], Discriminator(_blocks_tag)
]
