"""The fitted model against statsmodels; CR2, Fieller and Holm against their definitions; tables with holes."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from branchwise.analysis.statistics.model import TwoWayFit, contrast, fit_two_way, holm, mean_estimate, ratio


def table(seed: int, cells: int, blocks: int, drop: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame([(f"c{i}", b) for b in range(blocks) for i in range(cells)], columns=["cell", "block"])
    frame["y"] = rng.normal(size=len(frame)) + frame["block"] + frame["cell"].str[1:].astype(int) * 0.3
    return frame.drop(index=rng.choice(len(frame), drop, replace=False).tolist()) if drop else frame


def fit(frame: pd.DataFrame) -> TwoWayFit:
    return fit_two_way(frame["cell"].tolist(), frame["block"].tolist(), frame["y"].tolist())


@pytest.mark.parametrize(("seed", "drop"), [(0, 0), (1, 1), (2, 4), (3, 7)])
def test_contrasts_agree_with_statsmodels(seed: int, drop: int) -> None:
    frame = table(seed, cells=8, blocks=3, drop=drop)
    ols = smf.ols("y ~ 0 + C(cell) + C(block)", frame).fit()
    actual = fit(frame)
    rng = np.random.default_rng(seed)
    cells = sorted(frame["cell"].unique())
    for _ in range(5):
        weights = rng.normal(size=len(cells))
        weights -= weights.mean()
        row = np.zeros(len(ols.params))
        for cell, weight in zip(cells, weights, strict=True):
            row[ols.params.index.get_loc(f"C(cell)[{cell}]")] = weight
        reference = ols.t_test(row)
        estimate = contrast(actual, dict(zip(cells, weights, strict=True)), "pooled")
        assert estimate.value == pytest.approx(reference.effect[0], abs=1e-9)
        assert estimate.se == pytest.approx(reference.sd[0, 0], abs=1e-9)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(reference.conf_int()[0]), abs=1e-9)
        assert estimate.p == pytest.approx(float(reference.pvalue), abs=1e-9)
    assert actual.df == ols.df_resid
    assert actual.residual_sd**2 == pytest.approx(ols.mse_resid, abs=1e-9)


def test_balanced_contrast_is_textbook_formula() -> None:
    frame = table(5, cells=4, blocks=6)
    wide = frame.pivot_table(index="block", columns="cell", values="y")
    estimate = contrast(fit(frame), {"c1": 1.0, "c0": -1.0})
    assert estimate.value == pytest.approx((wide["c1"] - wide["c0"]).mean())
    assert estimate.se == pytest.approx((wide["c1"] - wide["c0"]).std() / math.sqrt(6))
    pooled = contrast(fit(frame), {"c1": 1.0, "c0": -1.0}, "pooled")
    assert pooled.se == pytest.approx(math.sqrt(fit(frame).residual_sd ** 2 * 2 / 6))


@pytest.mark.parametrize("blocks", [2, 3, 5, 8])
def test_effect_on_complete_table_is_t_over_blocks(blocks: int) -> None:
    frame = table(1, cells=8, blocks=blocks)
    weights = np.random.default_rng(0).normal(size=8)
    weights -= weights.mean()
    wide = frame.pivot_table(index="block", columns="cell", values="y").to_numpy()
    reference = DescrStatsW(wide @ weights)
    estimate = contrast(fit(frame), {f"c{i}": w for i, w in enumerate(weights)})
    low, high = reference.tconfint_mean()
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-9)
    assert estimate.p == pytest.approx(reference.ttest_mean()[1], abs=1e-9)
    assert estimate.df == pytest.approx(blocks - 1)


def cr2(frame: pd.DataFrame, weights: dict[str, float]) -> tuple[float, float]:
    """Standard error and degrees of freedom as Bell & McCaffrey (2002) define them, with the full design matrix."""
    design = pd.get_dummies(frame[["cell", "block"]].astype(str), dtype=float)
    x = design.to_numpy()
    inverse = np.linalg.pinv(x.T @ x)
    hat = x @ inverse @ x.T
    rest = np.eye(len(x)) - hat
    e = rest @ frame["y"].to_numpy()
    names = [str(name) for name in design]
    c = np.array([weights.get(name.removeprefix("cell_"), 0.0) if "cell_" in name else 0.0 for name in names])
    variance, columns = 0.0, []
    for block in frame["block"].unique():
        at = (frame["block"] == block).to_numpy()
        values, vectors = np.linalg.eigh(rest[np.ix_(at, at)])
        root = (vectors * np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-12)), 0)) @ vectors.T
        a = root @ x[at] @ inverse @ c
        variance += (a @ e[at]) ** 2
        columns.append(rest[:, at] @ a)
    crossed = np.array(columns) @ np.array(columns).T
    return math.sqrt(variance), np.trace(crossed) ** 2 / (crossed**2).sum()


@pytest.mark.parametrize(("seed", "blocks", "drop"), [(0, 4, 0), (1, 3, 1), (2, 5, 4), (3, 8, 9)])
def test_effect_with_missing_arms_has_cr2_error(seed: int, blocks: int, drop: int) -> None:
    frame = table(seed, cells=6, blocks=blocks, drop=drop)
    frame["y"] *= 1 + frame["block"]
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=6)
        weights = {f"c{i}": v - values.mean() for i, v in enumerate(values)}
        estimate = contrast(fit(frame), weights)
        se, df = cr2(frame, weights)
        assert estimate.has_interval
        assert (estimate.se, estimate.df) == pytest.approx((se, df), rel=1e-9)


def test_repeated_observations_have_separate_errors() -> None:
    frame = table(0, cells=4, blocks=4)
    frame = pd.concat([frame, frame.iloc[[0, 5]].assign(y=lambda f: f["y"] + 0.7)])
    weights = {"c0": 1.0, "c1": -1.0}
    estimate = contrast(fit(frame), weights)
    assert (estimate.se, estimate.df) == pytest.approx(cr2(frame, weights), rel=1e-9)


def test_by_block_is_mixed_model_with_random_effects() -> None:
    """REML of y = cell + block + block:component: on a complete table it has the error of the t by block."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame([(b, a, c) for b in range(12) for a in (0, 1) for c in (0, 1)], columns=["block", "a", "c"])
    frame["y"] = (
        rng.normal(0, 1, 12)[frame["block"]] + rng.normal(0.5, 0.6, 12)[frame["block"]] * frame["a"]
        + 0.2 * frame["c"] + rng.normal(0, 0.2, len(frame))
    )  # fmt: skip
    frame["cell"] = "a" + frame["a"].astype(str) + "c" + frame["c"].astype(str)
    frame["half"] = frame["a"] - 0.5
    mixed = smf.mixedlm("y ~ half + c", frame, groups="block", re_formula="~half").fit(reml=True)
    weights = {"a1c0": 0.5, "a1c1": 0.5, "a0c0": -0.5, "a0c1": -0.5}
    estimate = contrast(fit(frame), weights)
    assert estimate.value == pytest.approx(mixed.fe_params["half"], rel=1e-3)
    assert estimate.se == pytest.approx(mixed.bse_fe["half"], rel=0.02)


def test_cell_in_single_block_has_no_interval() -> None:
    frame = table(0, cells=4, blocks=4)
    actual = fit(frame[(frame["cell"] != "c3") | (frame["block"] == 0)])
    assert contrast(actual, {"c3": 1.0, "c0": -1.0}).has_value
    assert "too few blocks hold its cells" in contrast(actual, {"c3": 1.0, "c0": -1.0}).reason
    assert contrast(actual, {"c2": 1.0, "c0": -1.0}).has_interval
    assert contrast(actual, {"c3": 1.0, "c0": -1.0}, "pooled").has_interval


def test_hundred_thousand_arms_are_fast() -> None:
    rng = np.random.default_rng(0)
    cell, block = np.divmod(np.arange(100_000), 12_500)
    keep = rng.random(len(cell)) > 0.02
    actual = fit_two_way([f"c{i}" for i in cell[keep]], block[keep].tolist(), rng.normal(size=keep.sum()))
    estimate = contrast(actual, {"c0": 1.0, "c1": -1.0})
    assert estimate.se == pytest.approx(math.sqrt(2 / 12_500), rel=0.05)
    assert estimate.df > 10_000


def test_empty_cell_is_named_and_other_contrasts_stay() -> None:
    frame = table(0, cells=4, blocks=3)
    actual = fit(frame[frame["cell"] != "c2"])
    assert contrast(actual, {"c2": 1.0, "c0": -1.0}).reason == "no finished arm in c2"
    assert contrast(actual, {"c1": 1.0, "c0": -1.0}).has_interval


def test_cells_that_never_share_block_cannot_be_compared() -> None:
    paired_fit = fit_two_way(
        ["a", "b", "a", "b", "c", "d", "c", "d"], [0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 2, 4, 3, 4, 5, 5.5]
    )
    assert contrast(paired_fit, {"a": 1.0, "b": -1.0}).has_value
    assert "never share a block" in contrast(paired_fit, {"a": 1.0, "c": -1.0}).reason
    assert paired_fit.df == 8 - 2 - 4


def test_cells_linked_only_through_third_are_compared() -> None:
    actual = fit_two_way(["a", "b", "b", "c"], [0, 0, 1, 1], [1.0, 2.0, 5.0, 7.0])
    estimate = contrast(actual, {"c": 1.0, "a": -1.0})
    assert estimate.value == pytest.approx(3.0)
    assert not estimate.has_interval


def test_single_block_gives_no_intervals() -> None:
    actual = fit(table(0, cells=4, blocks=1))
    estimate = contrast(actual, {"c1": 1.0, "c0": -1.0})
    assert estimate.has_value
    assert not estimate.has_interval
    assert "one block" in estimate.reason


def test_no_rows_at_all() -> None:
    actual = fit_two_way([], [], [])
    assert (actual.n, actual.cells) == (0, ())
    assert not contrast(actual, {"a": 1.0, "b": -1.0}).has_value


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_two_way(["a", "b"], [0, 0], [1.0, math.nan])


def test_zero_variance_gives_no_certainty() -> None:
    actual = fit_two_way(["a", "b"] * 3, [0, 0, 1, 1, 2, 2], [1.0, 2, 2, 3, 3, 4])
    estimate = contrast(actual, {"b": 1.0, "a": -1.0})
    assert (estimate.value, estimate.se) == pytest.approx((1.0, 0.0))
    assert math.isnan(estimate.p)
    assert not estimate.has_interval
    assert estimate.reason == "no spread between blocks to test against"
    equal = mean_estimate([0.85 - 0.80, 0.95 - 0.90, 0.45 - 0.40], magnitude=0.95)
    assert (equal.se, math.isnan(equal.p)) == (0.0, True)


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1e-300), (0.0, 1e300), (1e9, 1e-3), (-1e9, 1e-3), (0.0, 5e-308)])
def test_no_magnitude_loses_digits(offset: float, unit: float) -> None:
    """Against exact arithmetic: fractions instead of floating-point numbers."""
    rng = np.random.default_rng(0)
    y = offset + unit * np.round(rng.normal(size=12) + np.tile([0.0, 2.0], 6), 3)
    cells, blocks = ["a", "b"] * 6, [i // 2 for i in range(12)]
    exact = [Fraction(float(b)) - Fraction(float(a)) for a, b in zip(y[::2], y[1::2], strict=True)]
    mean = sum(exact) / 6
    variance = sum((x - mean) ** 2 for x in exact) / 5 / 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = contrast(fit_two_way(cells, blocks, y), {"b": 1.0, "a": -1.0})
        one_sample = mean_estimate(y[1::2] - y[::2], magnitude=abs(offset))
    t = float(mean / Fraction(unit)) / math.sqrt(float(variance / Fraction(unit) ** 2))
    assert estimate.value == pytest.approx(float(mean), rel=1e-6)
    assert estimate.p == pytest.approx(2 * stats.t.sf(abs(t), 5), rel=1e-5)
    assert one_sample.p == pytest.approx(estimate.p, rel=1e-4)
    assert estimate.for_next_seed(6).high - estimate.value == pytest.approx(
        math.sqrt(7) * (estimate.high - estimate.value)
    )


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_shares_of_very_small_and_large_values(unit: float) -> None:
    frame = table(3, cells=4, blocks=5)
    frame["y"] += 4 * (frame["cell"] == "c3")
    top, bottom = {"c1": 1.0, "c0": -1.0}, {"c3": 1.0, "c0": -1.0}
    expected = ratio(fit(frame), top, bottom)
    result = ratio(fit(frame.assign(y=unit * frame["y"])), top, bottom)
    assert (result.value, result.low, result.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_shares_of_loss_are_named() -> None:
    frame = table(3, cells=4, blocks=5)
    frame["y"] -= 9 * (frame["cell"] == "c3")
    share = ratio(fit(frame), {"c1": 1.0, "c0": -1.0}, {"c3": 1.0, "c0": -1.0})
    assert share.reason == "the total gain is below zero, so it has no shares"


def test_fieller_bounds_are_ratios_that_t_test_just_rejects() -> None:
    frame = table(3, cells=4, blocks=5)
    frame["y"] += 4 * (frame["cell"] == "c3")
    actual = fit(frame)
    top, bottom = {"c1": 1.0, "c0": -1.0}, {"c3": 1.0, "c0": -1.0}
    share = ratio(actual, top, bottom)
    for bound in (share.low, share.high):
        shifted = {c: top.get(c, 0.0) - bound * bottom.get(c, 0.0) for c in ("c0", "c1", "c3")}
        assert contrast(actual, shifted).p == pytest.approx(0.05, abs=1e-9)
    assert share.low < share.value < share.high


def test_share_is_withheld_unless_gain_is_clear_of_zero() -> None:
    frame = table(0, cells=3, blocks=3)
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    share = ratio(fit(frame), {"c1": 1.0, "c0": -1.0}, {"c2": 1.0, "c0": -1.0})
    assert not share.has_value
    assert share.reason == "the total gain is not clear of zero"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_counts_hypotheses_that_cannot_be_tested() -> None:
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.03)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.08)


def test_mean_estimate_is_t_interval() -> None:
    sample = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 3, np.mean(sample), stats.sem(sample))
    estimate = mean_estimate(sample)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert not mean_estimate([1.0]).has_interval
    assert not mean_estimate([]).has_value
