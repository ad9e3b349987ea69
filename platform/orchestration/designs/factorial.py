"""Each combination of the components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from branchwise.orchestration.designs.ablation import Ablation, all_combinations
from branchwise.orchestration.designs.component import Name
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.trainables.runtime.settings import Strict, TupleOf


class ScreenedEffect(Strict):
    """The main effect of a component in a screening; no adjusted p if it only ranked components."""

    rank: PositiveInt
    value: float  # on the scale of the screening
    p_holm: Annotated[float, Field(ge=0, le=1)] | None = None


class ScreeningSummary(Strict):
    """The screening that a factorial follows up, as it was when the follow-up was made."""

    run: str
    seeds: Annotated[TupleOf[NonNegativeInt], Field(min_length=1)]  # not to be reused
    others: Literal["full", "off"]  # the level of the screened components that the follow-up leaves out
    scale: Literal["log", "logit", "identity"]
    effects: dict[Name, ScreenedEffect]


class Factorial(Ablation):
    """Every cell in every block: what each component is worth, whatever else is on."""

    CROSSES: ClassVar[bool] = True

    kind: Literal["factorial"] = "factorial"
    follow_up_of: ScreeningSummary | None = None  # --follow-up writes it

    def combinations(self) -> Iterator[Mapping[str, str]]:
        return (levels for levels in all_combinations(self.factors()) if not self.is_excluded(levels))

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        yield from super().describe(at_a_time)
        if first := self.follow_up_of:
            held = [name for name in first.effects if name not in self.components]
            yield (
                "follows",
                f"{first.run}, on fresh seeds ({self.first_seed} to {self.first_seed + self.max_blocks - 1})",
            )
            if held:
                yield "held", f"{', '.join(held)}: {first.others}"

    def check(self, method: Method) -> None:
        super().check(method)
        first, where = self.follow_up_of, f"{method.file}: design"
        if first is None:
            return
        if self.across:
            raise UserError(f"{where}.across: not allowed with follow_up_of, which confirms on one data set")
        used = set(first.seeds).intersection(range(self.first_seed, self.first_seed + self.max_blocks))
        if used:
            raise UserError(
                f"{where}.first_seed: the screening {first.run} used seed {min(used)}; a follow-up takes fresh ones, "
                f"from {max(first.seeds) + 1} on"
            )
        if unknown := [name for name in self.components if name not in first.effects]:
            raise UserError(
                f"{where}.components.{unknown[0]}: not screened in {first.run}; a follow-up has components of "
                f"{', '.join(first.effects)}"
            )
