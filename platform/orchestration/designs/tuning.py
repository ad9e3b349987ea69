"""The keys of the designs that search for settings. No Optuna here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import unknown_key
from branchwise.trainables import Column
from branchwise.trainables.runtime.settings import Strict, TupleOf, as_yaml, bare_key

FRESH_SEED = 1000  # seeds of the confirmation begin here; the searched ones are never reported as results

Interval = Annotated[tuple[float, float], Field(strict=False)]
IntInterval = Annotated[tuple[int, int], Field(strict=False)]
OTHER_DISTRIBUTIONS = {  # of other tools, and what to use instead
    "normal": "uniform over the values that matter",
    "log_normal": "log_uniform over the values that matter",
    "loguniform": "log_uniform: [low, high]",
    "quniform": "uniform: [low, high] with step",
    "randint": "int: [low, high], both ends included",
    "categorical": "choice: [...]",
    "values": "choice: [...]",
    "grid": "choice: [...]",
}
Algorithm = Literal["optuna_tpe", "optuna_random", "optuna_cmaes", "optuna_gp", "optuna_nsga2", "optuna_brute_force"]


DISTRIBUTIONS = ("uniform", "log_uniform", "int", "log_int", "choice")


class Hyperparameter(Strict):
    """One searched setting: exactly one of DISTRIBUTIONS, and optionally when it applies at all."""

    model_config = ConfigDict(populate_by_name=True)

    uniform: Interval | None = None
    log_uniform: Interval | None = None
    integer: IntInterval | None = Field(default=None, alias="int")
    log_int: IntInterval | None = None
    choice: Annotated[tuple[Any, ...], Field(strict=False)] | None = None
    step: Annotated[float, Field(gt=0)] | None = None  # of uniform and int: values are the first, the first + step, ...
    when: Mapping[str, Any] = Field(
        default_factory=dict
    )  # other knobs and the values they must have; else this knob keeps the space's value

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and (other := set(tree) & OTHER_DISTRIBUTIONS.keys()):
            name = min(other)
            raise ValueError(f"{name} is not supported; use {OTHER_DISTRIBUTIONS[name]}")
        return tree

    @model_validator(mode="after")
    def _check_distribution(self) -> Hyperparameter:
        given = [self.uniform, self.log_uniform, self.integer, self.log_int, self.choice]
        if sum(distribution is not None for distribution in given) != 1:
            raise ValueError(f"give exactly one of {', '.join(DISTRIBUTIONS)}")
        interval = self.interval
        if interval is not None and not interval[0] < interval[1]:
            raise ValueError(f"the interval {list(interval)} is empty: its first number must be the smaller one")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("a log_uniform interval must begin above 0; try uniform, or a choice with 0 in it")
        if self.log_int is not None and self.log_int[0] < 1:
            raise ValueError("a log_int interval must begin at 1 or above; try int, or a choice with 0 in it")
        if self.choice is not None:
            if len(self.choice) < 2:
                raise ValueError("a choice needs at least two values; set the one value in the space itself")
            if len({_identity(value) for value in self.choice}) < len(self.choice):
                raise ValueError("a choice must not name a value twice")
        self._check_step()
        return self

    def _check_step(self) -> None:
        if self.step is None:
            return
        if self.uniform is None and self.integer is None:
            raise ValueError("step goes with uniform or int; list the values of a choice")
        low, high = self.interval or (0, 1)
        if self.integer is not None and self.step != int(self.step):
            raise ValueError(f"step {self.step:g} of an int must be a whole number")
        steps = (high - low) / self.step
        if steps < 1 or abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
            raise ValueError(f"step {self.step:g} does not lead from {low:g} to {high:g}; change one of them")

    def described(self) -> dict[str, Any]:
        """The knob as a space writes it, without what it omits."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The lowest and the highest value of a number; None for a choice."""
        return self.uniform or self.log_uniform or self.integer or self.log_int

    @property
    def is_integer(self) -> bool:
        """Whether its numbers are integers."""
        return self.integer is not None or self.log_int is not None

    def ends(self) -> tuple[Any, ...]:
        """Values that must be allowed for all to be."""
        return self.choice or self.interval or ()

    def size(self) -> int | None:
        """The number of values; None for an interval."""
        if self.choice is not None:
            return len(self.choice)
        low, high = self.interval or (0, 0)
        if self.is_integer or self.step is not None:
            return round((high - low) / (self.step or 1)) + 1
        return None

    def holds(self, value: Any) -> bool:
        """Whether the knob can take this value at all."""
        if self.choice is not None:
            return as_yaml(value) in map(as_yaml, self.choice)
        interval = self.interval
        if interval is None or not isinstance(value, int | float) or isinstance(value, bool):
            return False
        if not interval[0] <= value <= interval[1] or (self.is_integer and value != int(value)):
            return False
        steps = (value - interval[0]) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9 * max(1.0, steps)


def _identity(value: Any) -> str:
    """Equal for values that are the same setting: 1 and 1.0, but not true and 1."""
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """`compression >= 5.9`: what breaks it is never the best."""

    text: str
    column: str
    sign: float  # met where sign * (value - bound) <= 0
    bound: float

    def violation(self, values: Mapping[str, Any]) -> float:
        """The violation, not above 0 where the constraint is met; infinite without a value."""
        value = values.get(self.column)
        return math.inf if value is None or math.isnan(value) else self.sign * (value - self.bound)


@dataclass(frozen=True, kw_only=True)
class CellSearch:
    """A search of the full method, or of a cell with the knobs that its components do not set."""

    cell: str
    knobs: Mapping[str, Hyperparameter]
    options: Tuning
    components: Mapping[str, bool | str] = field(default_factory=dict)
    patch: Mapping[str, Any] = field(default_factory=dict)


RUNG_SCHEDULERS = ("asha", "median")
FIRST_RACE, FIRST_WILCOXON = 2, 4  # seeds after which a configuration can be distinguished from the best at all


class Tuning(Strict):
    """The keys of designs that search.

    A search tries `arms` configurations a cell, all on the same seeds, from `seed` on. Arms that a
    scheduler stops at a rung count. What a search finds is confirmed on `blocks` fresh seeds.
    """

    searched: PositiveInt = Field(alias="arms")
    # of each configuration; their mean is optimized
    seeds_each: Annotated[PositiveInt, Field(le=100)] = Field(default=1, alias="seeds")
    knobs: Annotated[dict[str, Hyperparameter], Field(min_length=1)]
    algorithm: Algorithm = "optuna_tpe"
    # asha and median stop arms that are behind at a rung, race and wilcoxon configurations that are behind after some
    # of their seeds
    scheduler: Literal["none", "asha", "median", "race", "wilcoxon"] = "none"
    rungs: TupleOf[PositiveInt] = ()  # steps after which arms are compared
    reduction: Annotated[int, Field(ge=2)] = 3  # asha: one in so many arms passes a rung
    constraint_texts: TupleOf[str] = Field(default=(), alias="constraints")
    start: TupleOf[dict[str, Any]] = ()  # settings to try first, after the space's
    warm_start: TupleOf[str] = ()  # earlier runs of this storage; the search learns from their arms
    seed: NonNegativeInt = 0  # of the algorithm and of each searched arm

    @model_validator(mode="before")
    @classmethod
    def _default_to_race(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping) or "scheduler" in tree or "rungs" in tree:
            return tree
        seeds, objectives = tree.get("seeds"), tree.get("objectives") or ()
        multiple = isinstance(seeds, int) and seeds > FIRST_RACE
        return {**tree, "scheduler": "race"} if multiple and len(objectives) < 2 else tree

    @model_validator(mode="after")
    def _check_seeds(self) -> Tuning:
        if self.seeds_each > 1 and self.scheduler in RUNG_SCHEDULERS:
            raise ValueError(
                f"scheduler {self.scheduler} is not allowed with seeds {self.seeds_each}: it compares single arms at a "
                "rung, and a configuration counts by its mean over the seeds; use race, wilcoxon or none"
            )
        for name, first in (("race", FIRST_RACE), ("wilcoxon", FIRST_WILCOXON)):
            if self.scheduler == name and self.seeds_each <= first:
                raise ValueError(
                    f"scheduler {name} is not allowed with seeds {self.seeds_each}: it can stop a configuration after "
                    f"{first} seeds at the earliest, so seeds must be {first + 1} or more"
                )
        if self.seeds_each > 1 and self.warm_start:
            raise ValueError(
                f"warm_start is not allowed with seeds {self.seeds_each}: earlier arms have values of other seeds, "
                "which cannot be compared with means over these"
            )
        return self

    @model_validator(mode="after")
    def _check_rungs(self) -> Tuning:
        if (self.scheduler not in RUNG_SCHEDULERS) != (not self.rungs):
            raise ValueError(
                "scheduler asha or median needs rungs, the steps after which to compare; none has no rungs"
            )
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs {list(self.rungs)} must rise")
        return self

    @model_validator(mode="after")
    def _check_brute_force(self) -> Tuning:
        if self.algorithm != "optuna_brute_force":
            return self
        sizes = [knob.size() for knob in self.knobs.values()]
        if any(size is None for size in sizes):
            raise ValueError(
                "algorithm optuna_brute_force lists combinations, so every knob must be a choice or an int, "
                "or have a step"
            )
        combinations = math.prod(size or 0 for size in sizes)
        if self.searched > combinations:
            raise ValueError(f"arms {self.searched} is more than the {combinations} combinations there are")
        return self

    @property
    def searched_seeds(self) -> range:
        """The seeds of each configuration."""
        return range(self.seed, self.seed + self.seeds_each)

    @property
    def first_fresh_seed(self) -> int:
        """The seed of the confirmation's first block."""
        return FRESH_SEED

    @property
    def early_looks(self) -> tuple[int, ...]:
        """Numbers of seeds after which a configuration may be stopped."""
        first = {"race": FIRST_RACE, "wilcoxon": FIRST_WILCOXON}.get(self.scheduler, self.seeds_each)
        return tuple(range(first, self.seeds_each))

    def objective_names(self) -> tuple[str, ...]:
        """The columns that are searched for, the first first."""
        return ("value",)

    def constraints(self) -> tuple[Constraint, ...]:
        return tuple(map(parse_constraint, self.constraint_texts))

    def describe_search(self, where: str, at_a_time: int) -> Iterator[tuple[str, str]]:
        """The rows of a plan that tell how is searched, `where` being "" or "in each of 8 cells"."""
        yield "knobs", ", ".join(self.knobs)
        stopping = f", {self.scheduler} at steps {', '.join(map(str, self.rungs))}" if self.rungs else ""
        what, optimized = f"{self.searched} arms{where}", ", ".join(self.objective_names())
        if self.seeds_each > 1:
            most = "at most " if self.early_looks else ""
            arms = f"{most}{self.searched * self.seeds_each} arms{' a cell' if where else ''}"
            what = f"{self.searched} configurations{where} on {self.seeds_each} seeds each ({arms})"
            optimized = f"the mean of {optimized} over the seeds"
        yield (
            "search",
            f"{what} with {self.algorithm}{stopping}, {at_a_time} cohorts at a time, optimizing {optimized}",
        )
        if self.early_looks:
            after = ", ".join(map(str, self.early_looks))
            yield "stops", f"configurations behind the best so far, by {self.scheduler} after {after} seeds (10%, each)"
        for constraint in self.constraint_texts:
            yield "constraint", constraint

    def check_search(self, method: Method, blocks: int) -> None:
        """Check that the search fits the method and does not share seeds with its confirmation.

        Raises UserError for knobs, starts, objectives or constraints that do not fit, and for a
        searched seed in `blocks`.
        """
        self._check_columns(method)
        fresh = range(self.first_fresh_seed, self.first_fresh_seed + blocks)
        if shared := set(fresh).intersection(self.searched_seeds):
            raise UserError(
                f"{method.file}: design.seed: {self.seed} is not allowed: the search would use seed {min(shared)}, on "
                f"which its best is confirmed ({fresh[0]} to {fresh[-1]}); the seeds must differ"
            )
        written: dict[str, str] = {}
        for key, knob in self.knobs.items():
            where = f"design.knobs.{key}"
            method.current(where, key)
            if (other := written.setdefault(bare_key(key), key)) != key:
                raise UserError(f"{method.file}: {where}: names the setting of design.knobs.{other}; give one of them")
            for value in knob.ends():
                method.check_patch(where, {key: value})
                method.check_comparable(where, {key: value})
                self._check_teacher(method, where, {key: value})
            for other in knob.when:
                if other not in list(self.knobs)[: list(self.knobs).index(key)]:
                    raise UserError(
                        f"{method.file}: {where}.when: {other} is not allowed: it must be a knob listed before this one"
                    )
        for index, start in enumerate(self.start):
            for key in start:
                if key not in self.knobs:
                    message = unknown_key(key, list(self.knobs))
                    raise UserError(f"{method.file}: design.start[{index}]: {message}")
            method.check_patch(f"design.start[{index}]", start)

    def _check_teacher(self, method: Method, where: str, patch: Mapping[str, Any]) -> None:
        own, requested = method.teacher({}), method.teacher(patch)
        if (own and own.key) != (requested and requested.key):
            raise UserError(
                f"{method.file}: {where}: it changes the teacher, and every suggestion would train one of its own; "
                "make it a component, or run a search for each value"
            )

    def _check_columns(self, method: Method) -> None:
        columns = method.module.COLUMNS
        searchable = [column.name for column in columns if column.searchable and column.better]
        for objective in self.objective_names():
            if objective not in searchable:
                raise UserError(
                    f"{method.file}: design.objectives: {objective!r} is not allowed: {method.trainable} declares "
                    f"{', '.join(searchable)}"
                )
        bounded = [column.name for column in columns if column.dtype in ("float64", "Int64")]
        for index, text in enumerate(self.constraint_texts):
            try:
                column = parse_constraint(text).column
            except ValueError as error:
                raise UserError(f"{method.file}: design.constraints[{index}]: {error}, not {text!r}") from error
            if column not in bounded:
                raise UserError(
                    f"{method.file}: design.constraints[{index}]: {column!r} is not allowed: COLUMN is one of "
                    f"{', '.join(bounded)}"
                )


def parse_constraint(text: str) -> Constraint:
    """Parse `COLUMN <= NUMBER` or `COLUMN >= NUMBER`; raise ValueError for anything else."""
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*", text)
    if not match:
        raise ValueError("a constraint reads `COLUMN <= NUMBER` or `COLUMN >= NUMBER`")
    return Constraint(text=text, column=match[1], sign=1.0 if match[2] == "<=" else -1.0, bound=float(match[3]))


def objectives(options: Tuning, columns: Sequence[Column]) -> tuple[tuple[str, float], ...]:
    """Each objective with the sign for minimisation."""
    better = {column.name: column.better for column in columns}
    return tuple((name, -1.0 if better[name] == "higher" else 1.0) for name in options.objective_names())
