"""The language of claims: what it accepts, what it means, and that all else is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Claim, Term, Vocabulary
from branchwise.analysis.declared.factors import switches

ROOT = Path(__file__).parents[2]
COMPONENTS = ("uncond_branch", "anchor", "curriculum")
CELLS = (*factorial_cells(COMPONENTS), "scratch", "teacher")


def vocabulary_of(cells: Collection[str]) -> Vocabulary:
    grid = switches(COMPONENTS)
    planned = frozenset(levels for levels in grid.planned if grid.name(levels) in cells)
    return Vocabulary(grid=replace(grid, planned=planned), cells=cells, outcomes={"value": "log"})


def parse(text: str) -> Claim:
    return parse_claim(text, vocabulary_of(CELLS))


def test_share() -> None:
    claim = parse("uncond_branch.share > 0.60")
    assert (claim.relation, claim.subject, claim.bound) == ("above", "share", 0.6)
    assert claim.terms == (Term(coefficient=1.0, quantity="share", names=("uncond_branch",)),)
    assert parse("uncond_branch.share >= 60%").bound == pytest.approx(0.6)


def test_effect() -> None:
    claim = parse("anchor.effect < 0")
    assert (claim.relation, claim.subject, claim.bound) == ("below", "effect", 0.0)
    assert parse("anchor.effect > 5%").bound == pytest.approx(0.05)
    assert parse("anchor.shapley > -5%").bound == pytest.approx(-0.05)


def test_values_of_cells_baselines_and_teacher() -> None:
    claim = parse("full.value - teacher.value < 4")
    assert {t.names[0]: t.coefficient for t in claim.terms} == {"full": 1.0, "teacher": -1.0}
    assert (claim.subject, claim.bound) == ("value", 4.0)
    claim = parse("1.1 * full.value + 2 < scratch.value")
    assert {t.names[0]: t.coefficient for t in claim.terms} == {"full": 1.1, "scratch": -1.0}
    assert claim.bound == -2.0
    assert parse("uncond_branch+anchor.value<anchor.value").terms[0].names == ("uncond_branch+anchor",)


def test_plus_between_quantities_is_sum_and_within_name_cell() -> None:
    claim = parse("anchor.value+curriculum.value > 3")
    assert [t.names for t in claim.terms] == [("anchor",), ("curriculum",)]


def test_equivalence() -> None:
    claim = parse("equivalent(anchor, 2%)")
    assert (claim.relation, claim.subject) == ("equivalent", "effect")
    assert claim.terms == (Term(coefficient=1.0, quantity="effect", names=("anchor",)),)
    assert claim.bound == pytest.approx(math.log(1.02))
    assert parse("equivalent(full.value - teacher.value, 1.5)").bound == 1.5
    assert parse("equivalent(interaction(anchor, curriculum), 3%)").terms[0].quantity == "interaction"


def test_interactions_do_not_depend_on_order_of_their_components() -> None:
    assert parse("interaction(curriculum, anchor) > 0").terms == parse("interaction(anchor, curriculum) > 0").terms


def test_equal_quantities_on_both_sides_are_merged() -> None:
    claim = parse("anchor.share + anchor.share > curriculum.share")
    assert [t.coefficient for t in claim.terms] == [2.0, -1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at least|expected"),
        ("anchor.share", "a comparison"),
        ("anchor.share = 3", "has no meaning"),
        ("anchor.share == 3", "has no meaning"),
        ("0.1 < anchor.share < 0.2", "should end before '<'"),
        ("anchr.share > 0.1", "allowed are uncond_branch, anchor, curriculum"),
        ("anchor.sahre > 0.1", "allowed are share, shapley, effect"),
        ("nothing.value > 1", "no cell of this run"),
        ("anchor.share + anchor.effect > 0", "one kind"),
        ("anchor.share > anchor.share", "cancel"),
        ("1 > 0", "at least one quantity"),
        ("full.value < 5%", "percentage"),
        ("anchor.effect > 5 points", "points are for effects on rates"),
        ("equivalent(anchor, 0)", "above 0"),
        ("equivalent(anchor)", "',' is expected"),
        ("equivalent(anchor + 1, 2%)", "expected"),
        ("equivalent(anchor.effect + 1, 2%)", "margin"),
        ("interaction(anchor, anchor) > 0", "different components"),
        ("interaction(anchor) > 0", "two or more"),
        ("anchor.share > 1e999", "finite"),
        ("anchor.shaply > 0", r"no quantity; did you mean shapley\? allowed are"),
        ("ancor.shapley > 0", r"no component; did you mean anchor\? allowed are"),
        ("ful.value > 0", r"no cell of this run; did you mean full\? allowed are"),
        ("anchor.share > 0.1; import os", "has no meaning"),
        ("__import__('os')", "has no meaning|expected"),
    ],
)
def test_other_claims_are_refused_with_message(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("claim ")


def test_design_that_cannot_judge_claim_refuses_it() -> None:
    cells = ("full", "anchor+curriculum", "uncond_branch+curriculum", "uncond_branch+anchor")
    assert parse_claim("anchor.leave_one_out > 0", vocabulary_of(cells)).terms
    for text in ("anchor.share > 0.1", "anchor.add_one_in > 0", "equivalent(anchor, 2%)", "base.value > 1"):
        with pytest.raises(ValueError, match=r"does not run|no cell"):
            parse_claim(text, vocabulary_of(cells))


pieces = st.sampled_from(
    ["anchor", "uncond_branch", "full", "teacher", ".share", ".value", ".effect", " ", "+", "-", "*", "<", ">", "<=",
     "%", "(", ")", ",", "0.5", "2", "1e3", "equivalent", "interaction", ".", "é", "\n", "$"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(pieces, max_size=14).map("".join)))
@example("anchor.share>0.5")
@settings(max_examples=600)
def test_any_text_is_claim_or_value_error(text: str) -> None:
    try:
        claim = parse(text)
    except ValueError:
        return
    assert claim.terms
    assert all(math.isfinite(term.coefficient) for term in claim.terms)
    assert math.isfinite(claim.bound)
    assert all(name in (*COMPONENTS, *CELLS) for term in claim.terms for name in term.names)


def test_parsing_claims_imports_no_heavy_package() -> None:
    code = (
        "import sys, branchwise.analysis.statistics.claims; "
        "print(sorted({'numpy', 'pandas', 'scipy', 'torch', 'ray'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"
