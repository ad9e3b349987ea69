"""Variance components against the textbook, and the sentences on weak tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.factors import switches
from branchwise.analysis.declared.outcomes import VALUE
from branchwise.analysis.statistics.attribution import analyze_scale
from branchwise.analysis.statistics.diagnostics.variance import components_of_variance, variance_notes

COMPONENTS = ("a", "b")
CELLS, GRID = factorial_cells(COMPONENTS), switches(COMPONENTS)


def simulate(
    blocks: int, sd: float, block_sd: float, sampling_sd: float = 0.0, repeats: int = 3, seed: int = 0
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for block in range(blocks):
        shift = rng.normal(0, block_sd)
        for i, cell in enumerate(CELLS):
            y = 4 - 0.2 * i + shift + rng.normal(0, sd)
            values = np.exp(y + rng.normal(0, sampling_sd, repeats)) if sampling_sd else None
            value = math.exp(y) if values is None else float(values.mean())
            rows.append({"cell": cell, "block": block, "kind": "cell", "value": value, "value_repeats": values})
    return pd.DataFrame(rows)


def test_balanced_table_is_anova_of_textbook() -> None:
    frame = simulate(6, 0.05, 0.1)
    wide = np.log(frame.pivot_table(index="block", columns="cell", values="value").to_numpy())
    b, c = wide.shape
    residual = wide - wide.mean(0) - wide.mean(1, keepdims=True) + wide.mean()
    ms_residual = (residual**2).sum() / ((b - 1) * (c - 1))
    ms_block = c * ((wide.mean(1) - wide.mean()) ** 2).sum() / (b - 1)
    result = components_of_variance(analyze_scale(frame, GRID, VALUE), frame)
    assert result.residual == pytest.approx(math.sqrt(ms_residual))
    assert result.block == pytest.approx(math.sqrt((ms_block - ms_residual) / c))
    assert result.intra_block == pytest.approx((ms_block - ms_residual) / (ms_block + (c - 1) * ms_residual))


@pytest.mark.parametrize("drop", [0, 40])
def test_components_are_recovered_from_large_table(drop: int) -> None:
    frame = simulate(600, 0.05, 0.10, sampling_sd=0.06, seed=1)
    frame = frame.drop(index=np.random.default_rng(2).choice(len(frame), drop, replace=False).tolist())
    result = components_of_variance(analyze_scale(frame, GRID, VALUE), frame)
    sampling = 0.06 / math.sqrt(3)
    assert result.sampling == pytest.approx(sampling, rel=0.05)
    assert result.residual == pytest.approx(math.hypot(0.05, sampling), rel=0.05)
    assert result.block == pytest.approx(0.10, rel=0.07)
    assert result.training == pytest.approx(math.hypot(0.05, 0.10), rel=0.07)


def test_what_run_cannot_tell_is_nan() -> None:
    frame = simulate(1, 0.05, 0.1)
    result = components_of_variance(analyze_scale(frame, GRID, VALUE), frame)
    assert all(map(math.isnan, (result.residual, result.block, result.sampling, result.training, result.intra_block)))


def warnings_for(frame: pd.DataFrame, failed: Sequence[str] = ()) -> str:
    scale = analyze_scale(frame, GRID, VALUE)
    return " ".join(variance_notes(scale, components_of_variance(scale, frame), failed))


def test_flags() -> None:
    assert warnings_for(simulate(6, 0.01, 0.05)) == ""
    assert "no interval" in warnings_for(simulate(1, 0.01, 0.05)).lower()
    assert "Only 2 blocks: intervals have 1 degree of freedom" in warnings_for(simulate(2, 0.01, 0.05))
    assert "Only 4 blocks: intervals have 3 degrees of freedom" in warnings_for(simulate(4, 0.01, 0.05))
    assert "Sampling noise is more than half" in warnings_for(simulate(6, 0.005, 0.005, sampling_sd=0.1, repeats=2))
    assert "failed in a" in warnings_for(simulate(6, 0.01, 0.05), failed=["a"])
    assert "not clear of zero" in warnings_for(simulate(3, 3.0, 0.05))


def test_negative_intra_block_correlation_is_reported() -> None:
    frame = simulate(6, 0.05, 0.0)
    y = np.log(frame["value"])
    frame["value"] = np.exp(y - y.groupby(frame["block"]).transform("mean"))
    assert "did not help here" in warnings_for(frame)
