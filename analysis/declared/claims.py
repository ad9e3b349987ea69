"""The small language of claims, written in a space before the run and tested after it.

    uncond_branch.share > 60%              share of the total gain (Shapley value / total gain)
    anchor.effect < 0                      on the outcome's scale; positive = the component makes it better
    curriculum=learned.effect > 0          the effect of a level against the factor's reference
    dose.trend > 0                         the rise of a straight line through the doses, from lowest to highest
    full.value - teacher.value < 4         mean values of cells, baselines or the teacher, in the outcome's units
    interaction(anchor, curriculum) > 0    difference of differences
    equivalent(anchor, 2%)                 the component's effect is within ±2% (two one-sided tests)
    full.value < 3.28, one-sided           tested in this direction only: supported, never refuted

A name or level with other characters than letters, digits and _ is quoted: `"lr (peak)"="0.1".effect > 0`.

A quantity is of the primary outcome; of another with its name behind it: `uncond_branch.share(relative_gap)`,
`full.value(rho)`, after 100 training steps `anchor.effect(mse_cond@100)`, under the named evaluation `weak`
`uncond_branch.share(value(weak))`. The name of an evaluation means the primary column under it:
`full.value(weak)`. A side of a comparison is a sum of numbers and [number *] quantities with the same kind and outcome.
Numbers are in the unit of the tables: effects on the log scale in per cent (`5%`, or 0.05), effects on rates in points
(`2 points`), other effects and values in the metric's unit, shares in per cent. Plain Python, so a space is checked in
no time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from branchwise.analysis.declared.factors import Grid

Subject = Literal["share", "effect", "value"]  # what a claim is about


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Names that claims may use.

    cells: each cell, baseline and `teacher` that the run will have a value for. outcomes: the scale of each, the
    primary first. points: of those that are rates, the points in a unit of the metric.
    """

    grid: Grid
    cells: Collection[str]
    outcomes: Mapping[str, str]
    points: Mapping[str, float] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        return next(iter(self.outcomes))


@dataclass(frozen=True, kw_only=True)
class Term:
    """A coefficient times a quantity of the named components.

    names: for `value` a single cell, for `level` a component and its level.
    """

    coefficient: float
    quantity: str
    names: tuple[str, ...]
    outcome: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """sum(terms) above or below `bound`, or within +-bound of zero (`relation` equivalent).

    The bound is in the metric's unit; of a share and of an effect on the log scale (`relative`) a fraction; the margin
    of an equivalence on the log scale is the logarithm of 1 + the fraction.
    """

    text: str
    relation: Literal["above", "below", "equivalent"]
    subject: Subject
    outcome: str  # "" for the primary
    terms: tuple[Term, ...]
    bound: float
    relative: bool = False
    one_sided: bool = False

    @property
    def hypothesis(self) -> str:
        """The tested equation in canonical form.

        `x > 0` and `x < 0` test the same equation, unless they are one-sided.
        """
        if self.one_sided:
            return self.canonical
        unit = self.unit
        bound = abs(self.bound / unit) if self.relation == "equivalent" else self.bound / unit
        return f"{self._sum} {'within' if self.relation == 'equivalent' else 'is'} {bound + 0.0:.9g}"

    @property
    def canonical(self) -> str:
        """The claim in canonical form: what is sealed."""
        if self.relation == "equivalent":
            return self.hypothesis
        above = (self.relation == "above") == (self.unit > 0)
        return f"{self._sum} {'>' if above else '<'} {self.bound / self.unit + 0.0:.9g}{self.sided}"

    @property
    def sided(self) -> str:
        """The end of a text of the claim: `, one-sided`, or empty."""
        return ", one-sided" if self.one_sided else ""

    @property
    def _sorted(self) -> list[Term]:
        return sorted(self.terms, key=lambda term: (term.quantity, term.names))

    @property
    def unit(self) -> float:
        """The divisor that brings the claim into canonical form: the coefficient of its first term."""
        return self._sorted[0].coefficient

    @property
    def _sum(self) -> str:
        total = " + ".join(
            f"{term.coefficient / self.unit:.9g}*{term.quantity}({','.join(term.names)})" for term in self._sorted
        )
        return f"{self.outcome}: {total}" if self.outcome else total


def further_hypotheses(claims: Sequence[Claim], components: Sequence[str], tested: str = "shapley") -> int:
    """Count the tests that claims add to those of each component's tested effect against zero."""
    quantity = {"main_effect": "effect"}.get(tested, tested)  # as claims call it
    return len({claim.hypothesis for claim in claims} - {f"1*{quantity}({name}) is 0" for name in components})


def seal(claims: Sequence[str]) -> str:
    """Return the seal of claims (canonical forms, in any order): 16 hex digits.

    A run keeps it, so that a later change shows.
    """
    text = json.dumps(sorted(set(claims)), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
