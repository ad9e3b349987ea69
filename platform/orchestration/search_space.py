"""`design.kind: search`: which settings to search, how, and how the best are confirmed. No Optuna here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from trainables.settings import Many, Strict

Interval = Annotated[tuple[float, float], Field(strict=False)]
Algorithm = Literal["optuna_tpe", "optuna_random", "optuna_cmaes", "optuna_gp", "optuna_nsga2", "optuna_brute_force"]


class Knob(Strict):
    """One searched setting: exactly one of the four distributions, and optionally when it applies at all."""

    model_config = ConfigDict(populate_by_name=True)

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    integer: Annotated[tuple[int, int], Field(strict=False)] | None = Field(default=None, alias="int")
    choice: Annotated[tuple[Any, ...], Field(strict=False, min_length=2)] | None = None
    when: Mapping[str, Any] = Field(
        default_factory=dict
    )  # other knobs and the values they must have; else this one keeps the space's own value

    @model_validator(mode="after")
    def _one_distribution(self) -> Knob:
        given = [self.uniform, self.log_uniform, self.integer, self.choice]
        if sum(distribution is not None for distribution in given) != 1:
            raise ValueError("give exactly one of uniform, log_uniform, int, choice")
        for interval in (self.uniform, self.log_uniform, self.integer):
            if interval is not None and not interval[0] < interval[1]:
                raise ValueError(f"the interval {list(interval)} is empty: its first number must be the smaller one")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("a log_uniform interval must begin above 0")
        return self

    def ends(self) -> tuple[Any, ...]:
        """Values that must be allowed for all to be."""
        return self.choice or self.uniform or self.log_uniform or self.integer or ()


class Search(Strict):
    """`trials` arms, searched on one seed; then the best settings and the space's own on fresh seeds."""

    kind: Literal["search"]
    trials: PositiveInt
    space: Annotated[dict[str, Knob], Field(min_length=1)]
    algorithm: Algorithm = "optuna_tpe"
    start: Many[dict[str, Any]] = ()  # settings to try first, after the space's own
    seed: NonNegativeInt = 0  # of the algorithm and of every searched arm
    blocks: PositiveInt = 3  # fresh training seeds of the confirmation

    components: ClassVar[dict[str, Any]] = {}  # what an ablation has and a search has not
    claims: ClassVar[tuple[str, ...]] = ()

    def settings(self) -> list[str]:
        """The settings in which the arms differ."""
        return sorted(self.space)
