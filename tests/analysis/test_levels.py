"""Factors with more levels than on and off: cells, effects, trends, and what an excluded cell costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Vocabulary
from branchwise.analysis.declared.factors import Factor, Grid, cell_of, combinations, switches
from branchwise.analysis.declared.outcomes import VALUE, Outcome
from branchwise.analysis.statistics.attribution import analyze_scale
from branchwise.analysis.statistics.claims.judging import FamilyResult, adjust_family
from branchwise.analysis.statistics.claims.verdicts import judge
from branchwise.analysis.statistics.estimation import Evidence
from branchwise.run_files.columns import Better, Scale

DOSE = Factor(name="dose", levels=("none", "low", "paper", "high"), reference="none", full="paper",
              doses=(0.0, 0.03, 0.1, 0.3))  # fmt: skip
BRANCH = Factor(name="branch")
FACTORS = (BRANCH, DOSE)
GRID = Grid(factors=FACTORS, planned=frozenset(combinations(FACTORS)))
EFFECTS = {"none": 0.0, "low": 0.1, "paper": 0.3, "high": 0.6}


def simulate(blocks: int = 5, sd: float = 0.02, seed: int = 0, grid: Grid = GRID, slope: bool = False) -> pd.DataFrame:
    """Finished arms with log distance 3 - effects; with `slope`, the dose's effect is a straight line of rise 0.6."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in range(blocks):
        shift = rng.normal(0, 0.1)
        for branch, dose in sorted(grid.planned):
            expected = 2 * DOSE.doses[DOSE.levels.index(dose)] if slope else EFFECTS[dose]
            log_value = 3 - 0.4 * (branch == "on") - expected + shift + rng.normal(0, sd)
            rows.append({"block": block, "cell": grid.name((branch, dose)), "kind": "cell", "branch": branch,
                         "dose": dose, "value": math.exp(log_value)})  # fmt: skip
    return pd.DataFrame(rows)


def test_names_of_cells() -> None:
    assert cell_of(FACTORS, {"branch": "on", "dose": "paper"}) == "full"
    assert cell_of(FACTORS, {"branch": "off", "dose": "none"}) == "base"
    assert cell_of(FACTORS, {"branch": "on", "dose": "none"}) == "branch"
    assert cell_of(FACTORS, {"branch": "on", "dose": "high"}) == "branch+dose=high"
    assert cell_of(FACTORS, {"branch": "off", "dose": "paper"}) == "dose"
    assert len(GRID.names) == 8


def test_levels_match_two_way_anova() -> None:
    """On a complete table: the marginal means of each level, as statsmodels estimates them."""
    frame = simulate()
    frame["y"] = -np.log(frame["value"])
    ols = smf.ols("y ~ C(dose, Treatment('none')) + branch + C(block)", frame).fit()
    rows = {row.level: row for row in analyze_scale(frame, GRID, VALUE).levels}
    for level in ("low", "paper", "high"):
        name = f"C(dose, Treatment('none'))[T.{level}]"
        assert rows[level].estimate.value == pytest.approx(ols.params[name], abs=1e-9)
        assert rows[level].estimate.low < EFFECTS[level] < rows[level].estimate.high


def test_trend_is_slope_of_line_through_doses() -> None:
    frame = simulate(slope=True)
    frame["y"] = -np.log(frame["value"])
    frame["x"] = frame["dose"].map(dict(zip(DOSE.levels, DOSE.doses, strict=True)))
    ols = smf.ols("y ~ x + branch + C(block)", frame).fit()
    trend = next(row for row in analyze_scale(frame, GRID, VALUE).levels if row.level == "trend")
    assert trend.estimate.value == pytest.approx(0.3 * ols.params["x"], abs=1e-9)
    assert trend.estimate.low < 0.6 < trend.estimate.high


def test_shapley_values_span_reference_to_full() -> None:
    scale = analyze_scale(simulate(sd=0.001), GRID, VALUE)
    expected = {row.component: row.shapley.value for row in scale.rows}
    assert expected == pytest.approx({"branch": 0.4, "dose": 0.3}, abs=0.01)
    assert scale.gains["base"].value == pytest.approx(sum(expected.values()), abs=1e-12)
    assert scale.rows[1].main_effect.value == pytest.approx(0.3, abs=0.01)


def test_excluded_cells_leave_average_to_others() -> None:
    holes = replace(GRID, planned=GRID.planned - {("off", "high")})
    assert not holes.is_complete
    assert holes.effect("dose", "low") == GRID.effect("dose", "low")
    assert holes.effect("dose", "high") == {}  # only one combination of the others remains
    assert holes.trend("dose") == {}
    rows = {row.level: row.estimate for row in analyze_scale(simulate(grid=holes), holes, VALUE).levels}
    assert rows["low"].has_value
    assert "too few of the cells" in rows["high"].reason


def verdict(text: str, frame: pd.DataFrame, outcomes: dict[str, str] | None = None) -> str:
    outcomes = outcomes or {"value": "log"}
    vocabulary = Vocabulary(grid=GRID, cells=[*GRID.names, "teacher"], outcomes=outcomes)
    scales = [analyze_scale(frame, GRID, Outcome(name=name)) for name in outcomes]
    raws = [analyze_scale(frame, GRID, Outcome(name=name), "identity") for name in outcomes]
    evidence = Evidence(outcomes=scales, raws=raws, results=frame)
    verdicts = judge([parse_claim(text, vocabulary)], evidence, GRID)
    (family,) = adjust_family([FamilyResult(evidence=evidence, verdicts=verdicts, outcomes=tuple(scales))])
    return family.verdicts[0].status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dose=high.effect > 33%", "supported"),
        ("dose=low.effect > 18%", "refuted"),
        ("dose=high.effect > dose=paper.effect", "supported"),
        ("dose.trend > 26%", "supported"),
        ("dose.effect > 18%", "supported"),
        ("branch+dose=high.value < full.value", "supported"),
        ("equivalent(dose=low.effect, 5%)", "refuted"),
    ],
)
def test_claims_on_levels(text: str, expected: str) -> None:
    assert verdict(text, simulate()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dose=none.effect > 0", "of single levels, allowed are dose=low.effect, dose=paper.effect, dose=high.effect"),
        ("dose=low.share > 0", "of single levels"),
        ("branch.trend > 0", "trend needs levels that differ in one numeric setting"),
        ("branch.effect(rho) > 0", "'rho' is no outcome of this run; allowed are value"),
    ],
)
def test_claims_that_make_no_sense_are_refused(text: str, message: str) -> None:
    vocabulary = Vocabulary(grid=GRID, cells=GRID.names, outcomes={"value": "log"})
    with pytest.raises(ValueError, match="claim") as refused:
        parse_claim(text, vocabulary)
    assert message in str(refused.value)


def test_claim_is_of_outcome_that_it_names() -> None:
    frame = simulate()
    frame["error"] = np.exp(np.log(frame["value"]) * 0 + 0.2 * (frame["branch"] == "on"))
    frame["error"] *= np.exp(np.random.default_rng(1).normal(0, 0.01, len(frame)))
    outcomes = {"value": "log", "error": "log"}
    assert verdict("branch.effect > 0", frame, outcomes) == "supported"
    assert verdict("branch.effect(error) > 0", frame, outcomes) == "refuted"
    assert verdict("full.value(error) > base.value(error)", frame, outcomes) == "supported"


@pytest.mark.parametrize(
    ("better", "scale", "undone"), [("lower", "log", 3.0), ("higher", "logit", 0.7), ("higher", "identity", -2.0)]
)
def test_improvements_have_a_direction_and_invert(better: Better, scale: Scale, undone: float) -> None:
    outcome = Outcome(better=better, scale=scale)
    low, high = outcome.improvement(np.array([undone, undone + 0.1]), scale)
    assert (high > low) == (better == "higher")
    assert outcome.value(float(low), scale) == pytest.approx(undone)


def test_logit_scale_works_within_range() -> None:
    percent, fraction = (Outcome(better="higher", scale="logit", range=bounds) for bounds in ((0, 100), (0, 1)))
    values = np.array([71.59, 99.0, 0.2])
    expected = np.log(values / (100 - values))
    assert percent.improvement(values, "logit") == pytest.approx(expected, rel=1e-12)
    assert fraction.improvement(values / 100, "logit") == pytest.approx(expected, rel=1e-12)
    assert percent.value(expected[0], "logit") == pytest.approx(71.59)
    assert (percent.points, fraction.points, Outcome(scale="logit").points, Outcome().points) == (1, 100, 100, None)


def test_switches_are_full_factorial() -> None:
    assert switches(["a", "b"]).names == {"base", "a", "b", "full"}
    assert switches(["a", "b"]).is_complete
