"""Factors of an ablation, and the cells that combinations of levels make. Plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations as subsets
from itertools import product
from math import prod
from typing import Any

from branchwise.analysis.declared.cells import BASE, FULL

OFF, ON = "off", "on"
Levels = tuple[str, ...]  # a level of each factor, in the order of the factors
MAX_JOINED = 6  # components with joined names that still fit into the name of a cell and of a file
MAX_ENUMERATED = 10  # components with listed on/off combinations
DIGITS = "0123456789abc"  # of a level's position; a factor has at most twelve levels


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A component of the method and the levels it may have; switches have on and off.

    reference: the level that the others are compared with. full: the level of the method. doses: of each level,
    the value of the only numeric setting in which they differ; empty if none exists. label: for readers.
    """

    name: str
    levels: Levels = (OFF, ON)
    reference: str = OFF
    full: str = ON
    doses: tuple[float, ...] = ()
    label: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, without named levels."""
        return self.levels == (OFF, ON)

    @property
    def title(self) -> str:
        return self.label or self.name

    def __str__(self) -> str:
        return self.name if self.is_switch else f"{self.name} ({', '.join(self.levels)})"

    def described(self) -> dict[str, Any]:
        """The factor as plain values; `Factor(**...)` of them, with tuples, restores it."""
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
    def is_complete(self) -> bool:
        """Whether each combination was planned."""
        return bool(self.factors) and len(self.planned) == prod(len(factor.levels) for factor in self.factors)

    @cached_property
    def corners(self) -> tuple[str, ...]:
        """The cells with each factor at its reference or full level, by bit mask.

        None unless all were planned.
        """
        if len(self.factors) > MAX_ENUMERATED:
            return ()
        cells = tuple(self.name(levels) for levels in product_of_ends(self.factors))
        return cells if self.names.issuperset(cells) else ()

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Of each two-level factor, the planned cells in which it is not at its full level.

        Bit i is the i-th of `sorted(planned)`. The product of two contrasts is the XOR of their
        columns.
        """
        cells = sorted(self.planned)
        return tuple(
            sum(1 << i for i, cell in enumerate(cells) if cell[at] != factor.full)
            for at, factor in enumerate(self.factors)
        )

    @cached_property
    def is_fraction(self) -> bool:
        """Whether the cells are a regular two-level fraction of resolution IV or more.

        Such a part of all combinations mixes main effects neither with each other nor with effects
        of two components.
        """
        if self.is_complete or len(self.factors) < 4 or any(len(factor.levels) != 2 for factor in self.factors):
            return False
        n = len(self.planned)
        if n & (n - 1) or any(column.bit_count() != n // 2 for column in self.columns):
            return False
        rows = {sum((cell[at] != factor.full) << at for at, factor in enumerate(self.factors)) for cell in self.planned}
        if 0 not in rows or len(rows) != 2 ** _rank(rows):  # not closed under products, or without the full method
            return False
        pairs = {subset ^ other for subset, other in subsets(self.columns, 2)}
        return 0 not in pairs and not pairs.intersection(self.columns)

    def factor(self, name: str) -> Factor:
        return self.factors[self.components.index(name)]

    def settings_of_others(self, name: str, levels: Sequence[str]) -> list[tuple[Levels, Levels]]:
        """Return the combinations of the other factors in which each of `levels` was planned.

        Each is the levels (before, after) the factor called `name`. Empty where other factors have
        only one such combination, so that nothing is averaged.
        """
        at = self.components.index(name)
        order = [{level: i for i, level in enumerate(factor.levels)} for factor in self.factors]
        every = sorted(
            {(cell[:at], cell[at + 1 :]) for cell in self.planned},
            key=lambda other: [
                item[level] for item, level in zip(order[:at] + order[at + 1 :], other[0] + other[1], strict=True)
            ][::-1],
        )
        pairs = [
            (before, after)
            for before, after in every
            if all((*before, level, *after) in self.planned for level in levels)
        ]
        return pairs if len(pairs) > 1 or len(self.factors) == 1 else []

    def effect(self, name: str, level: str) -> dict[str, float]:
        """Return the weights by cell of a level's effect.

        The effect is the level's mean over the combinations of the other factors, minus the
        reference's. Combinations that were planned for both count; empty if none exist. Of a
        fraction, it is the mean over all cells with the level minus that over all cells without.
        """
        if self.is_fraction:
            at, share = self.components.index(name), 2 / len(self.planned)
            return {self.name(cell): share if cell[at] == level else -share for cell in sorted(self.planned)}
        return self._averaged(name, {level: 1.0, self.factor(name).reference: -1.0})

    def only(self, name: str) -> str:
        """The cell with this factor at its full level and all others at their references."""
        return self.name(tuple(factor.full if factor.name == name else factor.reference for factor in self.factors))

    def without(self, name: str) -> str:
        """The cell with this factor at its reference and all others at their full levels."""
        return self.name(tuple(factor.reference if factor.name == name else factor.full for factor in self.factors))

    def trend(self, name: str) -> dict[str, float]:
        """Return the weights by cell of the trend over doses.

        It is the rise of the least-squares line from the lowest to the highest dose.
        """
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


def _rank(rows: Iterable[int]) -> int:
    """The rank of rows of bits, over the field of two elements."""
    basis: list[int] = []
    for row in rows:
        for vector in basis:
            row = min(row, row ^ vector)
        if row:
            basis.append(row)
    return len(basis)


def combinations(factors: Sequence[Factor]) -> Iterator[Levels]:
    """Yield each combination of levels, the first factor's fastest: switches count like bits."""
    for levels in product(*(factor.levels for factor in reversed(factors))):
        yield levels[::-1]


def product_of_ends(factors: Sequence[Factor]) -> Iterator[Levels]:
    """Each combination of reference and full level; the first factor's changes fastest."""
    for levels in product(*((factor.reference, factor.full) for factor in reversed(factors))):
        yield levels[::-1]


def cell_of(factors: Sequence[Factor], levels: Mapping[str, str]) -> str:
    """Return the name of the cell with these levels.

    `full` with each factor at its full level, `base` with each at its reference; else the factors
    that are at neither reference, joined by `+` in order: `anchor` at its full level, `anchor=low`
    at another.

    With more factors than names can be joined of: `without_anchor`, `with_anchor=low` where one
    factor is not at its full level, and else `cell_0110101`, the position of each factor's level
    (1: on).
    """
    changed = [factor for factor in factors if levels[factor.name] != factor.full]
    if not changed:
        return FULL
    parts = [
        factor.name if levels[factor.name] == factor.full else f"{factor.name}={levels[factor.name]}"
        for factor in factors
        if levels[factor.name] != factor.reference
    ]
    if len(factors) <= MAX_JOINED or len(parts) < 2:
        return "+".join(parts) or BASE
    if len(changed) == 1:
        name, level = changed[0].name, levels[changed[0].name]
        return f"without_{name}" if level == changed[0].reference else f"with_{name}={level}"
    return "cell_" + "".join(DIGITS[factor.levels.index(levels[factor.name])] for factor in factors)


def switches(names: Sequence[str]) -> Grid:
    """The full factorial of components that are on or off."""
    factors = tuple(Factor(name=name) for name in names)
    return Grid(factors=factors, planned=frozenset(combinations(factors)) if factors else frozenset())


def level_of(state: Any) -> str:
    """The level of a component in a record or table: a level's name, or whether it is on."""
    return state if isinstance(state, str) else ON if state else OFF
