"""Block x component and spreads against textbook analyses of variance, and what is reported for failed arms."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.factors import switches
from branchwise.analysis.declared.inference import ALPHA
from branchwise.analysis.declared.outcomes import VALUE
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.statistics.attribution import analyze_scale, with_worst_values
from branchwise.analysis.statistics.diagnostics.agreement import agreement, agreement_notes
from branchwise.analysis.statistics.findings import analyze_part

COMPONENTS = ("a", "b", "c")
CELLS, GRID = factorial_cells(COMPONENTS), switches(COMPONENTS)


def simulate(
    blocks: int = 5, seed: int = 0, off_sd: float = 0.05, on_sd: float = 0.05, effect_sd: float = 0.0
) -> pd.DataFrame:
    """Component a: effect 0.4 with SD effect_sd over blocks; cells without it scatter with off_sd, with it on_sd."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in range(blocks):
        shift, effect = rng.normal(0, 0.1), rng.normal(0.4, effect_sd)
        for mask, cell in enumerate(CELLS):
            on = mask & 1
            y = 4 - effect * on - 0.1 * (mask >> 1 & 1) + shift + rng.normal(0, on_sd if on else off_sd)
            rows.append({"cell": cell, "block": block, "kind": "cell", "value": math.exp(y), "a": on, "mask": mask})
    return pd.DataFrame(rows)


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
def test_block_by_component_is_analysis_of_variance() -> None:
    frame = simulate(effect_sd=0.1).assign(y=lambda f: np.log(f["value"]))
    rows = agreement(analyze_scale(frame, GRID, VALUE), frame)
    small = smf.ols("y ~ C(cell) + C(block)", frame).fit()
    unadjusted = []
    for i, row in enumerate(rows):
        frame["on"] = frame["mask"] // 2**i % 2
        table = anova_lm(small, smf.ols("y ~ C(cell) + C(block) + C(block):on", frame).fit())
        assert row.varies == pytest.approx(table["F"].iloc[1])
        unadjusted.append(table["Pr(>F)"].iloc[1])
    assert [row.varies_p for row in rows] == pytest.approx(list(multipletests(unadjusted, method="holm")[1]))


def test_spreads_are_residuals_of_each_half() -> None:
    frame = simulate(off_sd=0.3, on_sd=0.03).assign(y=lambda f: np.log(f["value"]))
    row = agreement(analyze_scale(frame, GRID, VALUE), frame)[0]
    matches = [smf.ols("y ~ C(cell) + C(block)", frame[frame["a"] == on]).fit().mse_resid for on in (0, 1)]
    assert (row.off_sd**2, row.on_sd**2) == pytest.approx(matches)
    assert row.spread_p == pytest.approx(3 * 2 * stats.f.sf(matches[0] / matches[1], 12, 12))
    (texts,) = agreement_notes([row], ALPHA)
    assert texts.startswith("a: ")
    assert "cells without it scatter with an SD of" in texts


def test_only_disagreeing_seeds_are_reported() -> None:
    scattered = simulate(blocks=6, effect_sd=0.3)
    rows = agreement(analyze_scale(scattered, GRID, VALUE), scattered)
    (texts,) = agreement_notes(rows, ALPHA)
    assert "times the pooled one" in texts
    assert "its effect differs between blocks" in texts


def test_even_tables_rarely_warn() -> None:
    frames = [simulate(seed=seed) for seed in range(200)]
    rows = [agreement(analyze_scale(frame, GRID, VALUE), frame) for frame in frames]
    assert np.mean([min(row.varies_p for row in each) <= 0.05 for each in rows]) < 0.09
    assert np.mean([min(row.spread_p for row in each) <= 0.05 for each in rows]) < 0.09


@pytest.mark.parametrize("frame", [simulate(blocks=1), simulate()[lambda f: f["cell"] != "a"]])
def test_tables_that_cannot_tell_give_no_numbers(frame: pd.DataFrame) -> None:
    rows = agreement(analyze_scale(frame, GRID, VALUE), frame)
    assert all(math.isnan(row.varies) and math.isnan(row.spread_p) for row in rows)
    assert agreement_notes(rows, ALPHA) == []


def test_failed_arm_gets_worst_residual() -> None:
    frame = simulate(seed=4)
    failed = frame.iloc[[7]]  # full in block 0
    stored = frame.drop(index=7)
    scale = analyze_scale(stored, GRID, VALUE)
    filled = with_worst_values(stored, failed, scale)
    ols = smf.ols("np.log(value) ~ C(cell) + C(block)", stored).fit()
    expected = ols.predict(failed).iloc[0] + ols.resid.max()
    assert math.log(filled["value"].iloc[-1]) == pytest.approx(expected)
    assert len(filled) == len(frame)


def test_findings_show_effects_with_worst_values(make_run: Callable[..., Path]) -> None:
    findings = analyze_part(load_run(make_run(failed={"full-b0": "diverged"}, blocks=5)))
    assert set(findings.with_worst) == {"uncond_branch", "anchor", "curriculum_transfer"}
    for row in findings.headline.rows:
        assert findings.with_worst[row.component].value < row.shapley.value  # full looks worse
    assert analyze_part(load_run(make_run(name="whole", blocks=5))).with_worst == {}


def test_cell_without_results_has_no_table(make_run: Callable[..., Path]) -> None:
    findings = analyze_part(load_run(make_run(failed={f"full-b{b}": "diverged" for b in range(3)})))
    assert not any(estimate.has_value for estimate in findings.with_worst.values())
