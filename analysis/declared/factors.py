"""What an ablation varies: factors with their levels, and the cells that combinations of levels make. Plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from branchwise.analysis.declared.cells import BASE, FULL

OFF, ON = "off", "on"
Levels = tuple[str, ...]  # a level of each factor, in the order of the factors


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A component of the method and the levels it may have; one that is switched off and on has those two.

    reference: the level that the others are compared with. full: the level of the method itself. doses: of each level,
    the value of the one numeric setting in which they differ; empty where there is none. label: for readers.
    """

    name: str
    levels: Levels = (OFF, ON)
    reference: str = OFF
    full: str = ON
    doses: tuple[float, ...] = ()
    label: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, with no levels of its own."""
        return self.levels == (OFF, ON)

    @property
    def title(self) -> str:
        return self.label or self.name

    def __str__(self) -> str:
        return self.name if self.is_switch else f"{self.name} ({', '.join(self.levels)})"

    def described(self) -> dict[str, Any]:
        """The factor as plain values; `Factor(**...)` of them, with tuples, gives it again."""
        return {
            "name": self.name, "levels": list(self.levels), "reference": self.reference, "full": self.full,
            "doses": list(self.doses), "label": self.label,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The factors of a run and the cells that it planned; a factorial may leave some out."""

    factors: tuple[Factor, ...]
    planned: frozenset[Levels]

    @cached_property
    def components(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.factors)

    def name(self, levels: Levels) -> str:
        """The name of a cell."""
        return cell_of(self.factors, dict(zip(self.components, levels, strict=True)))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(map(self.name, self.planned))

    @property
    def whole(self) -> bool:
        """Whether every combination was planned."""
        return bool(self.factors) and len(self.planned) == len(list(combinations(self.factors)))

    def factor(self, name: str) -> Factor:
        return self.factors[self.components.index(name)]

    def settings_of_others(self, name: str, levels: Sequence[str]) -> list[tuple[Levels, Levels]]:
        """The combinations of the other factors, as (before, after) the factor called `name`, in which each of its
        `levels` was planned; none where that is one of several, for there is nothing to average over."""
        at = self.components.index(name)
        every = dict.fromkeys((cell[:at], cell[at + 1 :]) for cell in combinations(self.factors))
        found = [
            (before, after)
            for before, after in every
            if all((*before, level, *after) in self.planned for level in levels)
        ]
        return found if len(found) > 1 or len(every) == 1 else []

    def effect(self, name: str, level: str) -> dict[str, float]:
        """Weights by cell of a level's effect: its mean over the combinations of the other factors, minus the
        reference's. Combinations that were planned for both count; empty where there are none."""
        return self._averaged(name, {level: 1.0, self.factor(name).reference: -1.0})

    def trend(self, name: str) -> dict[str, float]:
        """Weights by cell of the least-squares line through the doses: its rise from the lowest to the highest."""
        factor = self.factor(name)
        middle = sum(factor.doses) / len(factor.doses)
        squares = sum((dose - middle) ** 2 for dose in factor.doses)
        span = max(factor.doses) - min(factor.doses)
        slope = [span * (dose - middle) / squares for dose in factor.doses]
        return self._averaged(name, dict(zip(factor.levels, slope, strict=True)))

    def _averaged(self, name: str, coefficients: Mapping[str, float]) -> dict[str, float]:
        others = self.settings_of_others(name, tuple(coefficients))
        return {
            self.name((*before, level, *after)): coefficient / len(others)
            for before, after in others
            for level, coefficient in coefficients.items()
            if coefficient
        }


def combinations(factors: Sequence[Factor]) -> Iterator[Levels]:
    """Every combination of levels; the first factor's level changes fastest, so switches count like bits."""
    for levels in product(*(factor.levels for factor in reversed(factors))):
        yield levels[::-1]


def cell_of(factors: Sequence[Factor], levels: Mapping[str, str]) -> str:
    """`full` with every factor at its full level, `base` with each at its reference; else the factors that are at
    neither reference, joined by `+` in order: `anchor` at its full level, `anchor=low` at another one."""
    at_full = [levels[factor.name] == factor.full for factor in factors]
    if all(at_full):
        return FULL
    parts = [
        factor.name if full else f"{factor.name}={levels[factor.name]}"
        for factor, full in zip(factors, at_full, strict=True)
        if levels[factor.name] != factor.reference
    ]
    return "+".join(parts) or BASE


def switches(names: Sequence[str]) -> Grid:
    """The full factorial of components that are on or off."""
    factors = tuple(Factor(name=name) for name in names)
    return Grid(factors=factors, planned=frozenset(combinations(factors)) if factors else frozenset())


def level_of(state: Any) -> str:
    """The level that a record or table tells of a component: a level's name, or whether it is on."""
    return state if isinstance(state, str) else ON if state else OFF
