"""Recursive-descent parser of claims, in plain Python so that a space is checked quickly."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isfinite, log1p
from typing import Literal

from branchwise.analysis.declared.cells import BASE, FULL, factorial_cells
from branchwise.analysis.declared.claims import Claim, Subject, Term, Vocabulary
from branchwise.analysis.declared.factors import MAX_JOINED
from branchwise.run_files.columns import column_and_evaluation, column_and_step, under

COMPONENT_QUANTITIES: dict[str, Subject] = {
    "share": "share",
    "shapley": "effect",
    "effect": "effect",
    "leave_one_out": "effect",
    "add_one_in": "effect",
    "trend": "effect",
}
Constant = tuple[float, str]  # a number and its unit
UNITS = (("sign", "%"), ("word", "points"))
_QUOTED = r"\"[^\"]+\"|'[^']+'"
_NAME = rf"(?:[^\W\d]\w*|{_QUOTED})(?:=(?:\w+|{_QUOTED}))?"
_PIECE = re.compile(rf"(?P<name>[^\W\d]\w*|{_QUOTED})(?:=(?P<level>\w+|{_QUOTED}))?\+?")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quantity>{name}(?:\+{name})*\.[A-Za-z_]\w*)
      | (?P<outcome>\([ ]*[A-Za-z_]\w*@\d+[ ]*\))
      | (?P<word>[^\W\d]\w*|{quoted})
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<op><=|>=|<|>)
      | (?P<sign>[-+*%(),])
    )""".replace("{name}", _NAME).replace("{quoted}", _QUOTED),
    re.VERBOSE,
)


def parse_claim(text: str, vocabulary: Vocabulary) -> Claim:
    """Parse a claim.

    Raises:
        ValueError: The text is no claim. The message states what is allowed.
    """
    try:
        return _Parser(text, vocabulary, _tokens(text)).claim()
    except ValueError as error:
        raise ValueError(f"claim {text!r}: {error}") from None


@dataclass
class _Parser:
    """Recursive descent over the tokens of a claim."""

    text: str
    vocabulary: Vocabulary
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
        one_sided = self.one_sided()
        self.end()
        terms += [replace(term, coefficient=-term.coefficient) for term in right_terms]
        subject = self.subject(terms)
        bound = sum(self.number(c, subject, terms) for c in right_constants)
        bound -= sum(self.number(c, subject, terms) for c in constants)
        claim = self.checked("above" if op.startswith(">") else "below", subject, terms, bound)
        return replace(claim, one_sided=one_sided)

    def one_sided(self) -> bool:
        """Whether `, one-sided` follows."""
        expected_tokens = [("sign", ","), ("word", "one"), ("sign", "-"), ("word", "sided")]
        if self.tokens[self.at : self.at + len(expected_tokens)] != expected_tokens:
            return False
        self.at += len(expected_tokens)
        return True

    def equivalence(self) -> Claim:
        self.take()
        self.expect("(")
        if self.peek()[0] == "word" and self.peek()[1] != "interaction":
            quantity, names = self.owned(self.take()[1], "effect")
            terms = [Term(coefficient=1.0, quantity=quantity, names=names, outcome=self.outcome())]
            constants: list[Constant] = []
        else:
            terms, constants = self.side()
        if constants:
            raise ValueError("equivalent(...) compares quantities with zero: put the number in its margin")
        self.expect(",")
        margin = self.constant(1.0)
        self.expect(")")
        self.end()
        subject = self.subject(terms)
        bound = self.number(margin, subject, terms)
        if not bound > 0:
            raise ValueError("the margin of equivalent(...) must be above 0")
        return self.checked("equivalent", subject, terms, bound)

    def checked(
        self, relation: Literal["above", "below", "equivalent"], subject: Subject, terms: list[Term], bound: float
    ) -> Claim:
        if not isfinite(bound) or not all(isfinite(term.coefficient) for term in terms):
            raise ValueError("every number must be finite")
        merged: dict[tuple[str, tuple[str, ...]], float] = {}
        for term in terms:
            merged[term.quantity, term.names] = merged.get((term.quantity, term.names), 0.0) + term.coefficient
        stored = tuple(
            Term(coefficient=c, quantity=q, names=n, outcome=terms[0].outcome) for (q, n), c in merged.items() if c
        )
        if not stored:
            raise ValueError("the quantities cancel: nothing is claimed")
        relative = subject == "effect" and self.on_log(terms)
        if relative and relation == "equivalent":
            bound = log1p(bound)  # the same ratio in both directions
        return Claim(
            text=self.text, relation=relation, subject=subject, outcome=terms[0].outcome, terms=stored, bound=bound,
            relative=relative,
        )  # fmt: skip

    def side(self) -> tuple[list[Term], list[Constant]]:
        """A side of a comparison: its quantities, and its constants."""
        terms: list[Term] = []
        constants: list[Constant] = []
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

    def constant(self, sign: float) -> Constant:
        kind, token_text = self.take()
        if kind != "number":
            raise ValueError(f"a number is expected, not {token_text or 'the end'!r}")
        unit = self.peek()[1] if self.peek() in UNITS else ""
        if unit:
            self.take()
        return sign * float(token_text), unit

    def quantity(self, coefficient: float) -> Term:
        kind, token_text = self.take()
        if (kind, token_text) == ("word", "interaction"):
            quantity, names = "interaction", self.interaction()
        elif kind == "quantity":
            quantity, names = self.owned(*token_text.rpartition(".")[::2])
        else:
            raise ValueError(
                f"a number, name.quantity or interaction(a, b) is expected, not {token_text or 'the end'!r}"
            )
        return Term(coefficient=coefficient, quantity=quantity, names=names, outcome=self.outcome())

    def owned(self, owner: str, attribute: str) -> tuple[str, tuple[str, ...]]:
        """The quantity `owner.attribute`, and its owner."""
        pieces = [(_unquoted(piece["name"]), _unquoted(piece["level"] or "")) for piece in _PIECE.finditer(owner)]
        owner = "+".join(f"{name}={level}" if level else name for name, level in pieces)
        if attribute == "value":
            if owner not in self.vocabulary.cells:
                raise ValueError(f"{owner} is no cell of this run; {_allowed(owner, self.vocabulary.cells)}")
            return "value", (owner,)
        if attribute not in COMPONENT_QUANTITIES:
            allowed = _allowed(attribute, (*COMPONENT_QUANTITIES, "value"))
            raise ValueError(f"{attribute} is no quantity; {allowed} and interaction(a, b)")
        name, level = pieces[0] if len(pieces) == 1 else (owner, "")
        factor = self.vocabulary.grid.factor(self.component(name))
        if level:
            if attribute != "effect" or level not in factor.levels or level == factor.reference:
                allowed = ", ".join(f"{name}={item}.effect" for item in factor.levels if item != factor.reference)
                raise ValueError(f"{owner}.{attribute} is no quantity; of single levels, allowed are {allowed}")
            if not self.vocabulary.grid.effect(name, level):
                raise ValueError(f"{owner}.effect needs combinations of levels that this design does not run")
            return "level", (name, level)
        if attribute == "trend" and not (factor.doses and self.vocabulary.grid.trend(name)):
            raise ValueError(f"trend needs levels that differ in one numeric setting, which {name} does not run")
        averaged = attribute == "trend" or (attribute == "effect" and self.vocabulary.grid.effect(name, factor.full))
        if not averaged:
            self.require_cells(attribute, name)
        return attribute, (name,)

    def outcome(self) -> str:
        """The outcome in parentheses behind a quantity; "" for the primary, named or not."""
        kind, token_text = self.peek()
        if kind == "outcome":
            self.take()
            name = token_text.strip("() ")
        elif (kind, token_text) == ("sign", "(") and self.at + 1 < len(self.tokens):
            self.take()
            name = self.take()[1]
            if self.peek() == ("sign", "("):
                self.take()
                name = under(name, self.take()[1])
                self.expect(")")
            self.expect(")")
        else:
            return ""
        name = self.under_evaluation(name)
        if name not in self.vocabulary.outcomes:
            allowed = _allowed(name, self.vocabulary.outcomes)
            raise ValueError(f"{name!r} is no outcome of this run; {allowed} (design.outcomes declares them)")
        return "" if name == self.vocabulary.primary else name

    def under_evaluation(self, name: str) -> str:
        """The outcome that a name means: an evaluation's, for the primary column under it."""
        column = column_and_evaluation(column_and_step(self.vocabulary.primary)[0])[0]
        stands_for = under(column, name)
        return stands_for if name not in self.vocabulary.outcomes and stands_for in self.vocabulary.outcomes else name

    def interaction(self) -> tuple[str, ...]:
        self.expect("(")
        names = [self.component(self.take()[1])]
        while self.peek() == ("sign", ","):
            self.take()
            names.append(self.component(self.take()[1]))
        self.expect(")")
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("interaction(...) takes two or more different components")
        self.require_cells("interaction", names[0])
        return tuple(sorted(names, key=self.vocabulary.grid.components.index))

    def component(self, name: str) -> str:
        if name not in self.vocabulary.grid.components:
            allowed = _allowed(name, self.vocabulary.grid.components)
            raise ValueError(f"{name or 'the end'!r} is no component; {allowed}")
        return name

    def require_cells(self, quantity: str, name: str) -> None:
        """A design that omits cells cannot test all quantities: report it before the run, not after."""
        grid = self.vocabulary.grid
        pairs = {"leave_one_out": (FULL, grid.without(name)), "add_one_in": (grid.only(name), BASE)}
        if quantity not in pairs and grid.is_fraction:
            raise ValueError(f"{quantity} cannot be estimated from a fraction; allowed are effect and value")
        if quantity not in pairs and len(grid.factors) > MAX_JOINED and not grid.corners:
            raise ValueError(f"{quantity} needs every combination of the components, which this design does not run")
        needed = pairs.get(quantity) or grid.corners or factorial_cells(grid.components)
        absent = [cell for cell in needed if cell not in self.vocabulary.cells]
        if absent:
            raise ValueError(f"{quantity} needs the cells {', '.join(absent)}, which this design does not run")

    def subject(self, terms: list[Term]) -> Subject:
        if not terms:
            raise ValueError("a claim names at least one quantity")
        subjects = {_subject_of(term) for term in terms}
        if len(subjects) > 1:
            raise ValueError("shares, effects and values cannot be added: use one kind in a claim")
        if len({term.outcome for term in terms}) > 1:
            raise ValueError("a claim speaks of one outcome: make two claims of it")
        return subjects.pop()

    def number(self, constant: Constant, subject: Subject, terms: Sequence[Term]) -> float:
        """A constant in the metric's unit; of shares and of effects on the log scale, a fraction."""
        number, unit = constant
        points = self.vocabulary.points.get(terms[0].outcome or self.vocabulary.primary)
        if not unit:
            if subject == "effect" and points is not None and number:
                raise ValueError(f"{number:g} has no unit: effects on this rate are in points, such as 2 points")
            return number
        if unit == "points":
            if subject != "effect" or points is None:
                raise ValueError("points are for effects on rates, whose range is [0, 1] or [0, 100]")
            return number / points
        if subject == "value":
            raise ValueError(
                "a percentage needs shares or log effects: write values as numbers, or as 1.05 * cell.value"
            )
        if subject == "effect" and not self.on_log(terms):
            instead = "in points, such as 2 points" if points else "in the outcome's own units"
            raise ValueError(f"a percentage needs an outcome on the log scale: write the effect {instead}")
        return number / 100

    def on_log(self, terms: Sequence[Term]) -> bool:
        return self.vocabulary.outcomes[terms[0].outcome or self.vocabulary.primary] == "log"

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
        kind, token_text = self.peek()
        if kind != "end":
            raise ValueError(f"the claim should end before {token_text!r}, or with ', one-sided'")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(
                f"{text[at:].strip()[:1]!r} has no meaning; use name.quantity, numbers and <, >, <=, >=; "
                'a name with other characters is quoted, as in "lr (peak)".effect'
            )
        kind = str(match.lastgroup)
        tokens.append((kind, _unquoted(match.group(kind)) if kind == "word" else match.group(kind)))
        at = match.end()
    return tokens


def _allowed(name: str, names: Collection[str]) -> str:
    """Suggestions for an unknown name, the nearest first."""
    (nearest,) = get_close_matches(name, names, n=1) or ("",)
    suggestion = f"did you mean {nearest}? " if nearest else ""
    return f"{suggestion}allowed are {', '.join(names) or 'none'}"


def _unquoted(name: str) -> str:
    return name[1:-1] if name[:1] in ("'", '"') else name


def _subject_of(term: Term) -> Subject:
    return "value" if term.quantity == "value" else COMPONENT_QUANTITIES.get(term.quantity, "effect")
