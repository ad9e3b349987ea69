"""The fitted model against statsmodels, Fieller and Holm against their definitions, and tables with holes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from branchwise.analysis.statistics.model import contrast, fit_two_way, holm, mean_estimate, ratio


def table(seed: int, cells: int, blocks: int, drop: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame([(f"c{i}", b) for b in range(blocks) for i in range(cells)], columns=["cell", "block"])
    frame["y"] = rng.normal(size=len(frame)) + frame["block"] + frame["cell"].str[1:].astype(int) * 0.3
    return frame.drop(index=rng.choice(len(frame), drop, replace=False)) if drop else frame


def fit(frame: pd.DataFrame):
    return fit_two_way(frame["cell"].tolist(), frame["block"].tolist(), frame["y"].tolist())


@pytest.mark.parametrize(("seed", "drop"), [(0, 0), (1, 1), (2, 4), (3, 7)])
def test_contrasts_agree_with_statsmodels(seed, drop):
    frame = table(seed, cells=8, blocks=3, drop=drop)
    ols = smf.ols("y ~ 0 + C(cell) + C(block)", frame).fit()
    ours = fit(frame)
    rng = np.random.default_rng(seed)
    cells = sorted(frame["cell"].unique())
    for _ in range(5):
        weights = rng.normal(size=len(cells))
        weights -= weights.mean()
        row = np.zeros(len(ols.params))
        for cell, weight in zip(cells, weights, strict=True):
            row[ols.params.index.get_loc(f"C(cell)[{cell}]")] = weight
        theirs = ols.t_test(row)
        estimate = contrast(ours, dict(zip(cells, weights, strict=True)))
        assert estimate.value == pytest.approx(theirs.effect[0], abs=1e-9)
        assert estimate.se == pytest.approx(theirs.sd[0, 0], abs=1e-9)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(theirs.conf_int()[0]), abs=1e-9)
        assert estimate.p == pytest.approx(float(theirs.pvalue), abs=1e-9)
    assert ours.df == ols.df_resid
    assert ours.residual_var == pytest.approx(ols.mse_resid, abs=1e-9)


def test_balanced_contrast_is_the_textbook_formula():
    frame = table(5, cells=4, blocks=6)
    wide = frame.pivot_table(index="block", columns="cell", values="y")
    estimate = contrast(fit(frame), {"c1": 1.0, "c0": -1.0})
    assert estimate.value == pytest.approx((wide["c1"] - wide["c0"]).mean())
    assert estimate.se == pytest.approx(math.sqrt(fit(frame).residual_var * 2 / 6))


def test_an_empty_cell_is_named_and_the_other_contrasts_stay():
    frame = table(0, cells=4, blocks=3)
    ours = fit(frame[frame["cell"] != "c2"])
    assert contrast(ours, {"c2": 1.0, "c0": -1.0}).reason == "no finished arm in c2"
    assert contrast(ours, {"c1": 1.0, "c0": -1.0}).has_interval


def test_cells_that_never_share_a_block_cannot_be_compared():
    ours = fit_two_way(["a", "b", "a", "b", "c", "d", "c", "d"], [0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 2, 4, 3, 4, 5, 5.5])
    assert contrast(ours, {"a": 1.0, "b": -1.0}).known
    assert "never share a block" in contrast(ours, {"a": 1.0, "c": -1.0}).reason
    assert ours.df == 8 - 2 - 4


def test_cells_linked_only_through_a_third_are_compared():
    ours = fit_two_way(["a", "b", "b", "c"], [0, 0, 1, 1], [1.0, 2.0, 5.0, 7.0])
    estimate = contrast(ours, {"c": 1.0, "a": -1.0})
    assert estimate.value == pytest.approx(3.0)
    assert not estimate.has_interval


def test_one_block_gives_estimates_without_intervals():
    ours = fit(table(0, cells=4, blocks=1))
    estimate = contrast(ours, {"c1": 1.0, "c0": -1.0})
    assert estimate.known
    assert not estimate.has_interval
    assert "one block" in estimate.reason


def test_no_rows_at_all():
    ours = fit_two_way([], [], [])
    assert (ours.n, ours.cells) == (0, ())
    assert not contrast(ours, {"a": 1.0, "b": -1.0}).known


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        fit_two_way(["a", "b"], [0, 0], [1.0, math.nan])


def test_noise_free_data_has_intervals_of_no_width():
    ours = fit_two_way(["a", "b"] * 3, [0, 0, 1, 1, 2, 2], [1.0, 2, 2, 3, 3, 4])
    estimate = contrast(ours, {"b": 1.0, "a": -1.0})
    assert (estimate.low, estimate.high) == pytest.approx((1.0, 1.0))
    assert estimate.p == pytest.approx(0.0)


def test_fieller_bounds_are_the_ratios_that_a_t_test_just_rejects():
    frame = table(3, cells=4, blocks=5)
    frame["y"] += 4 * (frame["cell"] == "c3")
    ours = fit(frame)
    top, bottom = {"c1": 1.0, "c0": -1.0}, {"c3": 1.0, "c0": -1.0}
    share = ratio(ours, top, bottom)
    for bound in (share.low, share.high):
        shifted = {c: top.get(c, 0.0) - bound * bottom.get(c, 0.0) for c in ("c0", "c1", "c3")}
        assert contrast(ours, shifted).p == pytest.approx(0.05, abs=1e-9)
    assert share.low < share.value < share.high


def test_a_share_is_withheld_unless_the_gain_is_clear_of_zero():
    frame = table(0, cells=3, blocks=3)
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    share = ratio(fit(frame), {"c1": 1.0, "c0": -1.0}, {"c2": 1.0, "c0": -1.0})
    assert not share.known
    assert share.reason == "the total gain is not clear of zero"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30)
def test_holm_agrees_with_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_counts_hypotheses_that_cannot_be_tested():
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.03)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.08)


def test_mean_estimate_is_the_one_sample_t_interval():
    sample = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 3, np.mean(sample), stats.sem(sample))
    estimate = mean_estimate(sample)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert not mean_estimate([1.0]).has_interval
    assert not mean_estimate([]).known
