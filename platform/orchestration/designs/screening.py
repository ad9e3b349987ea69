"""A fraction of resolution IV for main effects.

It takes 4 to 20 components in 8 to 64 cells, where a factorial has 2^k.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from branchwise.analysis.declared.fractions import (
    MAX_COMPONENTS,
    MIN_BLOCKS,
    MIN_COMPONENTS,
    chain_text,
    contrasts_of,
    resolution,
    screening_cells,
    screening_runs,
)
from branchwise.orchestration.designs.ablation import Ablation
from branchwise.orchestration.designs.component import Component, Name
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError


class Screening(Ablation):
    """Every run of the fraction on each seed to find the components that matter.

    A follow-up estimates their effects.
    """

    kind: Literal["screening"]
    components: Annotated[dict[Name, Component], Field(min_length=MIN_COMPONENTS, max_length=MAX_COMPONENTS)]
    blocks: PositiveInt = MIN_BLOCKS  # training seeds; fewer than 5 rank the components without tests

    @field_validator("blocks", mode="before")
    @classmethod
    def _refuse_looks(cls, blocks: Any) -> Any:
        if isinstance(blocks, Mapping):
            raise ValueError("looks are not allowed in a screening, whose follow-up confirms; it must be a number")
        return blocks

    def combinations(self) -> Iterator[Mapping[str, str]]:
        factors = self.factors()
        for on in screening_cells(len(factors)):
            yield {item.name: item.full if state else item.reference for item, state in zip(factors, on, strict=True)}

    def max_cells(self) -> int:
        return screening_runs(len(self.components))

    def check(self, method: Method) -> None:
        where = f"{method.file}: design"
        if self.exclude:
            raise UserError(
                f"{where}.exclude: not allowed in a screening, whose every run counts; leave the key out, or switch "
                "components that depend on each other as one"
            )
        if self.further_cells:
            raise UserError(f"{where}.further_cells: not allowed in a screening, whose cells are those of a fraction")
        for factor in self.factors():
            if len(factor.levels) != 2:
                raise UserError(
                    f"{where}.components.{factor.name}: {len(factor.levels)} levels; a screening takes two, off and on"
                )
        if self.claims and not self.is_testable():
            raise UserError(
                f"{where}.claims: {self.max_blocks} blocks rank main effects and judge none; claims in a screening "
                f"take at least {MIN_BLOCKS} blocks"
            )
        super().check(method)

    def is_testable(self) -> bool:
        return self.max_blocks >= MIN_BLOCKS

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        yield from super().describe(at_a_time)
        k, grid = len(self.components), self.grid()
        yield (
            "fraction",
            f"{screening_runs(k)} of {2**k:,} combinations, resolution {resolution(grid)}: main effects are clear of "
            "each other and of effects of two components, not of three",
        )
        chains = [contrast for contrast in contrasts_of(grid) if len(contrast.pairs) > 1]
        for index, contrast in enumerate(chains):
            first, *others = contrast.pairs
            text = f"{':'.join(first)} cannot be told from {', '.join(map(':'.join, others))}"
            yield "" if index else "aliases", text
        if not self.is_testable():
            yield "verdicts", f"none: {self.max_blocks} blocks rank the components; verdicts take {MIN_BLOCKS}"
        else:
            yield "verdicts", f"main effects by block, Holm over the {k} components; no Shapley values from a fraction"

    def outline(self, method: Method) -> dict[str, Any]:
        chains = [chain_text(item.pairs) for item in contrasts_of(self.grid()) if len(item.pairs) > 1]
        return super().outline(method) | {"aliases": chains}
