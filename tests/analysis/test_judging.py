"""Verdicts: all outcomes of a claim, and the family of the claims."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Vocabulary, seal
from branchwise.analysis.declared.factors import switches
from branchwise.analysis.declared.outcomes import VALUE, Outcome
from branchwise.analysis.statistics.attribution import ComponentRow, analyze_scale
from branchwise.analysis.statistics.claims.judging import FamilyResult, adjust_family
from branchwise.analysis.statistics.claims.verdicts import Verdict, judge
from branchwise.analysis.statistics.estimation import Evidence
from branchwise.analysis.statistics.model import holm

COMPONENTS = ("a", "b")
CELLS, GRID = factorial_cells(COMPONENTS), switches(COMPONENTS)
VOCABULARY = Vocabulary(grid=GRID, cells=(*CELLS, "teacher"), outcomes={"value": "log"})


def results(
    v: Sequence[float] = (0.0, 0.6, 0.02, 0.63), blocks: int = 5, sd: float = 0.02, seed: int = 0, teacher: float = 20.0
) -> pd.DataFrame:
    """Finished arms with log distance 4 - v by cell (base, a, b, full)."""
    rng = np.random.default_rng(seed)
    base = {"kind": "cell", "teacher_value": teacher}
    rows = [
        base | {"cell": cell, "block": block, "value": math.exp(4 - x + rng.normal(0, sd))}
        for block in range(blocks)
        for cell, x in zip(CELLS, v, strict=True)
    ]
    return pd.DataFrame(rows)


def evidence(frame: pd.DataFrame, outcome: Outcome = VALUE) -> Evidence:
    scales = [analyze_scale(frame, GRID, outcome, scale) for scale in (None, "identity")]
    return Evidence(outcomes=scales[:1], raws=scales[1:], results=frame)


def verdicts(frame: pd.DataFrame, *texts: str) -> tuple[tuple[Verdict, ...], tuple[ComponentRow, ...]]:
    claims = [parse_claim(text, VOCABULARY) for text in texts]
    estimates = evidence(frame)
    tested = FamilyResult(
        evidence=estimates, verdicts=judge(claims, estimates, GRID), outcomes=tuple(estimates.outcomes)
    )
    (family,) = adjust_family([tested])
    return family.verdicts, family.outcomes[0].rows


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("a.share > 0.6", "supported"),
        ("a.share < 0.6", "refuted"),
        ("a.share > 0.97", "not shown"),
        ("a.effect > 40%", "supported"),
        ("a.effect > 45.5%", "not shown"),
        ("a.leave_one_out > 25%", "supported"),
        ("b.add_one_in > 25%", "refuted"),
        ("a.shapley > b.shapley", "supported"),
        ("interaction(a, b) > 40%", "refuted"),
        ("equivalent(b, 10%)", "supported"),
        ("equivalent(a, 10%)", "refuted"),
        ("equivalent(b, 1.5%)", "not shown"),
        ("equivalent(b.share, 20%)", "supported"),
        ("full.value - teacher.value < 12", "supported"),
        ("full.value - teacher.value < 5", "refuted"),
        ("full.value < 0.7 * base.value", "supported"),
        ("full.value > base.value", "refuted"),
    ],
)
def test_verdict(text: str, status: str) -> None:
    (verdict,), _ = verdicts(results(), text)
    assert verdict.status == status, verdict


def test_share_and_its_interval_agree() -> None:
    """Fieller's interval holds exactly the bounds that the claim's test does not reject."""
    frame = results(sd=0.08)
    (first,), _ = verdicts(frame, "a.share > 0.5")
    for bound, expected in ((first.test.estimate.low - 1e-6, True), (first.test.estimate.low + 1e-6, False)):
        (verdict,), _ = verdicts(frame, f"a.share > {bound:.9f}")
        assert (verdict.test.p < 0.05) is expected


def test_tost_is_larger_of_two_one_sided_tests() -> None:
    frame = results(sd=0.05)
    log = analyze_scale(frame, GRID, VALUE)
    (verdict,), _ = verdicts(frame, "equivalent(b, 12%)")
    effect = log.rows[1].main_effect
    bound = math.log(1.12)
    expected = max(stats.t.sf((effect.value + bound) / effect.se, effect.df),
                   stats.t.cdf((effect.value - bound) / effect.se, effect.df))  # fmt: skip
    assert verdict.test.p == pytest.approx(expected, rel=1e-9)


def test_values_against_teacher_are_t_over_blocks() -> None:
    frame = results()
    (verdict,), _ = verdicts(frame, "full.value - teacher.value < 12")
    gaps = frame.loc[frame["cell"] == "full", "value"] - 20.0
    assert verdict.test.estimate.value == pytest.approx(gaps.mean())
    assert verdict.test.p == pytest.approx(stats.ttest_1samp(gaps, 12).pvalue)


def test_family_holds_shapley_values_and_claims() -> None:
    frame = results(sd=0.05)
    log = analyze_scale(frame, GRID, VALUE)
    verdicts_, rows = verdicts(frame, "a.effect > 0.55", "full.value < base.value")
    family = [*(row.shapley.p for row in log.rows), *(v.test.p for v in verdicts_)]
    assert [*(row.p_holm for row in rows), *(v.test.p_holm for v in verdicts_)] == pytest.approx(holm(family))


def test_claim_on_shapley_value_against_zero_is_no_second_test() -> None:
    frame = results(sd=0.05)
    with_claim, rows = verdicts(frame, "b.shapley > 0")
    _, single_claim = verdicts(frame)
    assert rows == single_claim
    assert with_claim[0].test.p_holm == rows[1].p_holm


@pytest.mark.parametrize(
    "wordings",
    [
        ("b.shapley > 0.1", "0.1 < b.shapley", "-b.shapley < -0.1", "2 * b.shapley>=0.2", "b.shapley < 0.1"),
        ("a.share > 0.6", "a.share>60%", "0.6<a.share"),
        ("full.value < 0.7 * base.value", "full.value - 0.7*base.value < 0", "0.7*base.value > full.value"),
        ("a.effect > b.effect", "b.effect < a.effect", "a.effect - b.effect > 0"),
        ("equivalent(b, 10%)", "equivalent(b.effect, 10%)"),
    ],
)
def test_wording_changes_no_p_value(wordings: tuple[str, ...]) -> None:
    frame = results(sd=0.05)
    single_claim, rows = verdicts(frame, wordings[0])
    verdicts_together, same_rows = verdicts(frame, *wordings)
    assert {v.test.p_holm for v in verdicts_together} == {single_claim[0].test.p_holm}
    assert rows == same_rows


def test_claims_are_sealed_in_canonical_form() -> None:
    def sealed(*texts: str) -> str:
        return seal([parse_claim(text, VOCABULARY).canonical for text in texts])

    assert sealed("b.shapley > 0", "a.share>0.6") == sealed("60% < a.share", "0 < b.shapley")
    assert sealed("b.shapley > 0") != sealed("b.shapley < 0")
    assert sealed("a.share > 0.6") != sealed("a.share > 0.61")


def test_share_of_unclear_gain_is_withheld() -> None:
    (verdict,), _ = verdicts(results(v=(0, 0.01, 0, 0.01), sd=0.3, seed=1), "a.share > 0.5")
    assert verdict.status == "not shown"
    assert verdict.test.reason == "the total gain is not clear of zero"


def test_claims_without_required_arms_are_hidden() -> None:
    frame = results()
    verdicts_, _ = verdicts(frame[frame["cell"] != "b"], "b.add_one_in > 0", "b.value < 9", "a.leave_one_out > 0")
    assert [v.status for v in verdicts_] == ["not shown"] * 3
    assert "no finished arm in b" in verdicts_[0].test.reason
    (verdict,), _ = verdicts(frame.assign(teacher_value=np.nan), "full.value < teacher.value")
    assert "no value of the teacher" in verdict.test.reason
    (verdict,), _ = verdicts(results(blocks=1), "a.effect > 0")
    assert verdict.status == "not shown"
    assert "one block" in verdict.test.reason
