"""Verdicts: each way a claim can end, and the family they share."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from branchwise.analysis.statistics.attribution import analyse_scale
from branchwise.analysis.statistics.cells import factorial_cells
from branchwise.analysis.statistics.claims import parse_claim
from branchwise.analysis.statistics.model import holm
from branchwise.analysis.statistics.verdicts import judge, settle

COMPONENTS = ("a", "b")
CELLS = factorial_cells(COMPONENTS)


def results(v=(0.0, 0.6, 0.02, 0.63), blocks=5, sd=0.02, seed=0, teacher=20.0) -> pd.DataFrame:
    """Finished arms with log distance 4 - v by cell (base, a, b, full)."""
    rng = np.random.default_rng(seed)
    base = {"kind": "cell", "teacher_value": teacher}
    rows = [
        base | {"cell": cell, "block": block, "value": math.exp(4 - x + rng.normal(0, sd))}
        for block in range(blocks)
        for cell, x in zip(CELLS, v, strict=True)
    ]
    return pd.DataFrame(rows)


def verdicts(frame: pd.DataFrame, *texts: str):
    claims = [parse_claim(text, COMPONENTS, (*CELLS, "teacher")) for text in texts]
    log = analyse_scale(frame, COMPONENTS, "log")
    return settle(judge(claims, log, frame, COMPONENTS), log)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("a.share > 0.6", "supported"),
        ("a.share < 0.6", "refuted"),
        ("a.share > 0.97", "not shown"),
        ("a.effect > 0.5", "supported"),
        ("a.effect > 80%", "not shown"),
        ("a.leave_one_out > 0.3", "supported"),
        ("b.add_one_in > 0.3", "refuted"),
        ("a.shapley > b.shapley", "supported"),
        ("interaction(a, b) > 0.5", "refuted"),
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
def test_verdict(text, status):
    (verdict,), _ = verdicts(results(), text)
    assert verdict.status == status, verdict


def test_share_and_its_interval_agree():
    """Fieller's interval holds exactly the bounds that the claim's test does not reject."""
    frame = results(sd=0.08)
    (first,), _ = verdicts(frame, "a.share > 0.5")
    for bound, expected in ((first.estimate.low - 1e-6, True), (first.estimate.low + 1e-6, False)):
        (verdict,), _ = verdicts(frame, f"a.share > {bound:.9f}")
        assert (verdict.p < 0.05) is expected


def test_tost_is_the_larger_of_two_one_sided_tests():
    frame = results(sd=0.05)
    log = analyse_scale(frame, COMPONENTS, "log")
    (verdict,), _ = verdicts(frame, "equivalent(b, 12%)")
    effect = log.rows[1].main_effect
    bound = math.log(1.12)
    expected = max(stats.t.sf((effect.value + bound) / effect.se, effect.df),
                   stats.t.cdf((effect.value - bound) / effect.se, effect.df))  # fmt: skip
    assert verdict.p == pytest.approx(expected, rel=1e-9)


def test_values_against_the_teacher_are_a_one_sample_t_over_blocks():
    frame = results()
    (verdict,), _ = verdicts(frame, "full.value - teacher.value < 12")
    gaps = frame.loc[frame["cell"] == "full", "value"] - 20.0
    assert verdict.estimate.value == pytest.approx(gaps.mean())
    assert verdict.p == pytest.approx(stats.ttest_1samp(gaps, 12).pvalue)


def test_one_family_holds_shapley_values_and_claims():
    frame = results(sd=0.05)
    log = analyse_scale(frame, COMPONENTS, "log")
    judged, shapley = verdicts(frame, "a.effect > 0.55", "full.value < base.value")
    family = [*(row.shapley.p for row in log.rows), *(v.p for v in judged)]
    assert [*shapley, *(v.p_holm for v in judged)] == pytest.approx(holm(family))


def test_a_claim_on_a_shapley_value_against_zero_is_no_second_test():
    frame = results(sd=0.05)
    with_claim, shapley = verdicts(frame, "b.shapley > 0")
    _, alone = verdicts(frame)
    assert shapley == alone
    assert with_claim[0].p_holm == shapley[1]


def test_a_share_of_an_unclear_gain_is_not_shown_with_the_reason():
    (verdict,), _ = verdicts(results(v=(0, 0.01, 0, 0.01), sd=0.3), "a.share > 0.5")
    assert verdict.status == "not shown"
    assert verdict.reason == "the total gain is not clear of zero"


def test_claims_without_the_arms_they_need_are_not_shown():
    frame = results()
    judged, _ = verdicts(frame[frame["cell"] != "b"], "b.add_one_in > 0", "b.value < 9", "a.leave_one_out > 0")
    assert [v.status for v in judged] == ["not shown"] * 3
    assert "no finished arm in b" in judged[0].reason
    (verdict,), _ = verdicts(frame.assign(teacher_value=np.nan), "full.value < teacher.value")
    assert "no value of the teacher" in verdict.reason
    (verdict,), _ = verdicts(results(blocks=1), "a.effect > 0")
    assert verdict.status == "not shown"
    assert "one block" in verdict.reason
