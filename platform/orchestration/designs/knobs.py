"""What is searched and how: the keys of a design that tunes settings. No Optuna here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from branchwise.trainables.runtime.settings import Many, Strict

Interval = Annotated[tuple[float, float], Field(strict=False)]
Algorithm = Literal["optuna_tpe", "optuna_random", "optuna_cmaes", "optuna_gp", "optuna_nsga2", "optuna_brute_force"]
Objective = Literal["value", "kid", "gap_mse", "relative_gap", "student_params", "sample_seconds", "train_seconds"]
BOUNDED = (*Objective.__args__, "compression", "rho", "cos_delta", "inception_score")  # type: ignore[attr-defined]


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
        if self.choice is not None and len({json.dumps(value) for value in self.choice}) < len(self.choice):
            raise ValueError("a choice must not name a value twice")
        return self

    def ends(self) -> tuple[Any, ...]:
        """Values that must be allowed for all to be."""
        return self.choice or self.uniform or self.log_uniform or self.integer or ()

    def size(self) -> int | None:
        """How many values there are; None for an interval."""
        if self.choice is not None:
            return len(self.choice)
        return None if self.integer is None else self.integer[1] - self.integer[0] + 1

    def holds(self, value: Any) -> bool:
        """Whether the knob can take this value at all."""
        if self.choice is not None:
            return _plain(value) in map(_plain, self.choice)
        interval = self.uniform or self.log_uniform or self.integer
        return interval is not None and isinstance(value, int | float) and interval[0] <= value <= interval[1]


def _plain(value: Any) -> Any:
    """`value` with lists for tuples, as YAML and JSON have it."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def parse_constraint(text: str) -> tuple[str, float, float]:
    """`compression >= 5.9` as (column, sign, bound), met where sign * (column - bound) <= 0. Raises ValueError."""
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*", text)
    if not found or found[1] not in BOUNDED:
        raise ValueError(
            f"a constraint reads `COLUMN <= NUMBER` or `COLUMN >= NUMBER`, COLUMN one of {', '.join(BOUNDED)}"
        )
    return found[1], 1.0 if found[2] == "<=" else -1.0, float(found[3])


def _readable(text: str) -> str:
    parse_constraint(text)
    return text


class Tuning(Strict):
    """A search for good settings: `trials` arms a study, all on the seed `seed`.

    Arms that a scheduler stops at a rung count as trials. What a search finds is confirmed on `blocks` fresh seeds.
    """

    trials: PositiveInt
    space: Annotated[dict[str, Knob], Field(min_length=1)]
    algorithm: Algorithm = "optuna_tpe"
    scheduler: Literal["none", "asha", "median"] = "none"  # stops arms early that are behind at a rung
    rungs: Many[PositiveInt] = ()  # steps after which arms are compared
    reduction: Annotated[int, Field(ge=2)] = 3  # asha: one in so many arms passes a rung
    constraints: Many[Annotated[str, AfterValidator(_readable)]] = ()  # what breaks one is never the best
    start: Many[dict[str, Any]] = ()  # settings to try first, after the space's own
    warm_start: Many[str] = ()  # earlier runs of this storage, from whose arms the search learns
    seed: NonNegativeInt = 0  # of the algorithm and of every searched arm
    blocks: PositiveInt = 3

    @model_validator(mode="after")
    def _rungs_for_a_scheduler(self) -> Tuning:
        if (self.scheduler == "none") != (not self.rungs):
            raise ValueError(
                "scheduler asha or median needs rungs, the steps after which to compare; none has no rungs"
            )
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs {list(self.rungs)} must rise")
        return self

    @model_validator(mode="after")
    def _few_enough_for_brute_force(self) -> Tuning:
        if self.algorithm != "optuna_brute_force":
            return self
        sizes = [knob.size() for knob in self.space.values()]
        if any(size is None for size in sizes):
            raise ValueError(
                "algorithm optuna_brute_force lists combinations, so every knob must be a choice or an int"
            )
        combinations = math.prod(size or 0 for size in sizes)
        if self.trials > combinations:
            raise ValueError(f"trials {self.trials} is more than the {combinations} combinations there are")
        return self


class Search(Tuning):
    """One study over the full method; then its best settings and the space's own on fresh seeds."""

    kind: Literal["search"]
    objectives: Annotated[Many[Objective], Field(min_length=1, max_length=3)] = ("value",)  # all to be minimised

    components: ClassVar[dict[str, Any]] = {}  # what an ablation has and a search has not
    baselines: ClassVar[tuple[str, ...]] = ()
    claims: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _objectives_that_go_together(self) -> Search:
        several = len(self.objectives) > 1
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives {list(self.objectives)} must differ")
        if several and self.scheduler != "none":
            raise ValueError(
                "scheduler must be none with several objectives: a rung tells only how good, not how cheap"
            )
        if several and self.algorithm == "optuna_cmaes":
            raise ValueError("algorithm optuna_cmaes has a single objective; optuna_tpe or optuna_nsga2 take several")
        return self

    def settings(self) -> list[str]:
        """The settings in which the arms differ."""
        return sorted(self.space)
