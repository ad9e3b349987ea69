"""The little language of claims, written in a space before the run and judged after it.

    uncond_branch.share > 60%            share of the total gain (Shapley value / total gain)
    anchor.effect < 0                    log distance; positive = the component lowers the distance
    full.value - teacher.value < 4       mean values of cells, baselines or the teacher, in the metric's own units
    interaction(anchor, curriculum) > 0  difference of differences, log distance
    equivalent(anchor, 2%)               the component's effect lies within 2% either way (two one-sided tests)

A side of a comparison is a sum of numbers and [number *] quantities of one kind. For log quantities `5%` means
log(1.05): without the component the distance is 5% larger. Plain Python, so a space is checked in no time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Literal

from branchwise.analysis.statistics.cells import BASE, FULL, cell_name, factorial_cells

Scale = Literal["share", "log", "value"]
COMPONENT_QUANTITIES: dict[str, Scale] = {
    "share": "share",
    "shapley": "log",
    "effect": "log",
    "leave_one_out": "log",
    "add_one_in": "log",
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quantity>[A-Za-z_]\w*(?:\+[A-Za-z_]\w*)*\.[A-Za-z_]\w*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<op><=|>=|<|>)
      | (?P<sign>[-+*%(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True)
class Term:
    """coefficient * quantity of the named components (or of one cell, for `value`)."""

    coefficient: float
    quantity: str
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """sum(terms) above or below `bound`, or within +-bound of zero (`relation` equivalent). Units follow `scale`."""

    text: str
    relation: Literal["above", "below", "equivalent"]
    scale: Scale
    terms: tuple[Term, ...]
    bound: float

    @property
    def hypothesis(self) -> str:
        """The tested equation in one form for every way to write it; `x > 0` and `x < 0` test the same one."""
        unit = self._unit
        bound = abs(self.bound / unit) if self.relation == "equivalent" else self.bound / unit
        return f"{self._sum} {'within' if self.relation == 'equivalent' else 'is'} {bound + 0.0:.9g}"

    @property
    def canonical(self) -> str:
        """The claim in one form for every way to write it: what is sealed."""
        if self.relation == "equivalent":
            return self.hypothesis
        above = (self.relation == "above") == (self._unit > 0)
        return f"{self._sum} {'>' if above else '<'} {self.bound / self._unit + 0.0:.9g}"

    @property
    def _sorted(self) -> list[Term]:
        return sorted(self.terms, key=lambda term: (term.quantity, term.names))

    @property
    def _unit(self) -> float:
        return self._sorted[0].coefficient

    @property
    def _sum(self) -> str:
        return " + ".join(
            f"{term.coefficient / self._unit:.9g}*{term.quantity}({','.join(term.names)})" for term in self._sorted
        )


def parse_claim(text: str, components: Sequence[str], cells: Sequence[str]) -> Claim:
    """Parse one claim. `cells` names every cell, baseline and `teacher` that the run will have a value for.

    Raises ValueError, with one sentence that says what is allowed, for anything else.
    """
    try:
        return _Parser(text, tuple(components), tuple(cells), _tokens(text)).claim()
    except ValueError as error:
        raise ValueError(f"claim {text!r}: {error}") from None


def further_hypotheses(claims: Sequence[Claim], components: Sequence[str]) -> int:
    """How many different tests the claims add to those of each component's Shapley value against zero."""
    return len({claim.hypothesis for claim in claims} - {f"1*shapley({name}) is 0" for name in components})


def seal(claims: Sequence[str], canonical: bool = True) -> str:
    """What a run keeps of its claims (canonical forms, in any order), so that a later change shows: 16 hex digits.

    Earlier versions sealed the texts as they were written, in their order: `canonical` False.
    """
    text = json.dumps(sorted(set(claims)) if canonical else list(claims), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class _Parser:
    """Recursive descent over the tokens of one claim."""

    text: str
    components: tuple[str, ...]
    cells: tuple[str, ...]
    tokens: list[tuple[str, str]]
    at: int = 0

    def claim(self) -> Claim:
        if self.peek() == ("word", "equivalent"):
            return self.equivalence()
        terms, constants = self.side()
        kind, op = self.take()
        if kind != "op":
            raise ValueError(f"a comparison <, >, <= or >= is expected, not {op or 'the end'!r}")
        right_terms, right_constants = self.side()
        self.end()
        terms += [Term(coefficient=-t.coefficient, quantity=t.quantity, names=t.names) for t in right_terms]
        scale = self.scale(terms)
        bound = sum(_number(c, scale) for c in right_constants) - sum(_number(c, scale) for c in constants)
        return self.checked("above" if op.startswith(">") else "below", scale, terms, bound)

    def equivalence(self) -> Claim:
        self.take()
        self.expect("(")
        if self.peek()[0] == "word" and self.peek()[1] != "interaction":
            name = self.component(self.take()[1])
            self.require_cells("effect", name)
            terms = [Term(coefficient=1.0, quantity="effect", names=(name,))]
            constants: list[tuple[float, bool]] = []
        else:
            terms, constants = self.side()
        if constants:
            raise ValueError("equivalent(...) compares quantities with zero: put the number in its margin")
        self.expect(",")
        margin = self.constant(1.0)
        self.expect(")")
        self.end()
        scale = self.scale(terms)
        bound = _number(margin, scale)
        if not bound > 0:
            raise ValueError("the margin of equivalent(...) must be above 0")
        return self.checked("equivalent", scale, terms, bound)

    def checked(
        self, relation: Literal["above", "below", "equivalent"], scale: Scale, terms: list[Term], bound: float
    ) -> Claim:
        if not isfinite(bound) or not all(isfinite(term.coefficient) for term in terms):
            raise ValueError("every number must be finite")
        merged: dict[tuple[str, tuple[str, ...]], float] = {}
        for term in terms:
            merged[term.quantity, term.names] = merged.get((term.quantity, term.names), 0.0) + term.coefficient
        kept = tuple(Term(coefficient=c, quantity=q, names=n) for (q, n), c in merged.items() if c)
        if not kept:
            raise ValueError("the quantities cancel: nothing is claimed")
        return Claim(text=self.text, relation=relation, scale=scale, terms=kept, bound=bound)

    def side(self) -> tuple[list[Term], list[tuple[float, bool]]]:
        """One side of a comparison: its quantities, and its constants as (number, is a percentage)."""
        terms: list[Term] = []
        constants: list[tuple[float, bool]] = []
        sign = 1.0
        if self.peek() in (("sign", "-"), ("sign", "+")):
            sign = -1.0 if self.take()[1] == "-" else 1.0
        while True:
            if self.peek()[0] == "number":
                number = self.constant(sign)
                if self.peek() == ("sign", "*") and not number[1]:
                    self.take()
                    terms.append(self.quantity(number[0]))
                else:
                    constants.append(number)
            else:
                terms.append(self.quantity(sign))
            if self.peek() not in (("sign", "-"), ("sign", "+")):
                return terms, constants
            sign = -1.0 if self.take()[1] == "-" else 1.0

    def constant(self, sign: float) -> tuple[float, bool]:
        kind, word = self.take()
        if kind != "number":
            raise ValueError(f"a number is expected, not {word or 'the end'!r}")
        percent = self.peek() == ("sign", "%")
        if percent:
            self.take()
        return sign * float(word), percent

    def quantity(self, coefficient: float) -> Term:
        kind, word = self.take()
        if (kind, word) == ("word", "interaction"):
            return self.interaction(coefficient)
        if kind != "quantity":
            raise ValueError(f"a number, name.quantity or interaction(a, b) is expected, not {word or 'the end'!r}")
        owner, _, attribute = word.rpartition(".")
        if attribute == "value":
            if owner not in self.cells:
                raise ValueError(f"{owner} is no cell of this run; allowed are {', '.join(self.cells) or 'none'}")
            return Term(coefficient=coefficient, quantity="value", names=(owner,))
        if attribute not in COMPONENT_QUANTITIES:
            allowed = ", ".join((*COMPONENT_QUANTITIES, "value"))
            raise ValueError(f"{attribute} is no quantity; allowed are {allowed} and interaction(a, b)")
        self.require_cells(attribute, self.component(owner))
        return Term(coefficient=coefficient, quantity=attribute, names=(owner,))

    def interaction(self, coefficient: float) -> Term:
        self.expect("(")
        names = [self.component(self.take()[1])]
        while self.peek() == ("sign", ","):
            self.take()
            names.append(self.component(self.take()[1]))
        self.expect(")")
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("interaction(...) takes two or more different components")
        self.require_cells("interaction", names[0])
        return Term(
            coefficient=coefficient, quantity="interaction", names=tuple(sorted(names, key=self.components.index))
        )

    def component(self, name: str) -> str:
        if name not in self.components:
            allowed = ", ".join(self.components) or "none"
            raise ValueError(f"{name or 'the end'!r} is no component; allowed are {allowed}")
        return name

    def require_cells(self, quantity: str, name: str) -> None:
        """A design that does not run every cell cannot judge every quantity: say so before the run, not after."""
        alone = cell_name({name}, self.components)
        without = cell_name(set(self.components) - {name}, self.components)
        pairs = {"leave_one_out": (FULL, without), "add_one_in": (alone, BASE)}
        absent = [c for c in pairs.get(quantity, factorial_cells(self.components)) if c not in self.cells]
        if absent:
            raise ValueError(f"{quantity} needs the cells {', '.join(absent)}, which this design does not run")

    def scale(self, terms: list[Term]) -> Scale:
        if not terms:
            raise ValueError("a claim names at least one quantity")
        scales = {_scale_of(term) for term in terms}
        if len(scales) > 1:
            raise ValueError("shares, log effects and values cannot be added: use one kind in a claim")
        return scales.pop()

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, sign: str) -> None:
        token = self.take()
        if token != ("sign", sign):
            raise ValueError(f"{sign!r} is expected, not {token[1] or 'the end'!r}")

    def end(self) -> None:
        kind, word = self.peek()
        if kind != "end":
            raise ValueError(f"the claim should end before {word!r}")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text[at:].strip()[:1]!r} has no meaning; use name.quantity, numbers and <, >, <=, >=")
        kind = str(match.lastgroup)
        tokens.append((kind, match.group(kind)))
        at = match.end()
    return tokens


def _scale_of(term: Term) -> Scale:
    return "value" if term.quantity == "value" else COMPONENT_QUANTITIES.get(term.quantity, "log")


def _number(constant: tuple[float, bool], scale: Scale) -> float:
    """A constant in the units of its claim; percentages of a log quantity are ratios of distances."""
    number, percent = constant
    if not percent:
        return number
    if scale == "value":
        raise ValueError("a percentage needs shares or log effects: write values as numbers, or as 1.05 * cell.value")
    if scale == "share":
        return number / 100
    if not number > -100:
        raise ValueError("a log effect cannot be -100% or less")
    return log(1 + number / 100)
