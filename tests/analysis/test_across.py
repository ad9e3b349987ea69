"""Effects over data sets: the numbers are those of metafor and pimeta, and two data sets give no mean."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import branchwise as bw
from branchwise.analysis.__main__ import main
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.statistics.comparisons.random_effects import random_effects

# Trials of the BCG vaccine (Colditz et al. 1994): cases and others, treated and control.
BCG = np.array(
    [[4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
     [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232],
     [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]], dtype=float
)  # fmt: skip
# Systolic blood pressure (Riley et al. 2011): effects and their standard errors.
SBP = (
    [0.0, 0.1, -0.4, -0.8, -0.63, 0.22, -0.34, -0.51, 0.03, -0.81],
    [0.42347717, 0.21939179, 0.02551067, 0.19898325, 0.30102594, 0.30102594, 0.07142988, 0.10204269, 0.12245123,
     0.30102594],
)  # fmt: skip
OPTIONS = ImportOptions(components=["ema", "aug"], value="loss", direction="minimize")


def table(seed: int, effect: float) -> pd.DataFrame:
    draw, rows = np.random.default_rng(seed), []
    for block, ema, aug in product(range(5), (0, 1), (0, 1)):
        y = 1 - effect * ema - 0.1 * aug + draw.normal(0, 0.08)
        rows.append({"ema": ema, "aug": aug, "seed": block, "loss": float(np.exp(y))})
    return pd.DataFrame(rows)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [run_from_table(table(i, effect), OPTIONS, tmp_path / f"set{i}") for i, effect in enumerate((0.1, 0.3, 0.5))]


def test_bcg_trials_have_numbers_of_metafor() -> None:
    a, b, c, d = BCG.T
    effects = np.log(a / (a + b) / (c / (c + d)))
    errors = np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    match = random_effects(effects.tolist(), errors.tolist())
    numbers = (match.tau2, match.mean.value, match.se, match.mean.se, match.mean.low, match.mean.high, match.mean.p,
               match.low, match.high, match.i2, match.q)  # fmt: skip
    published = (0.3132, -0.7145, 0.1798, 0.18079, -1.1084, -0.3206, 0.00192, -2.0091, 0.5800, 0.9222, 152.2330)
    assert numbers == pytest.approx(published, abs=5.1e-5)
    assert (match.mean.df, match.k) == (12, 13)
    assert match.q_p == pytest.approx(stats.chi2.sf(match.q, 12))


def test_blood_pressures_have_numbers_of_pimeta() -> None:
    result = random_effects(*SBP)
    assert result.mean.value == pytest.approx(-0.3287403, abs=2e-6)
    assert (result.low, result.high) == pytest.approx((-0.9886995, 0.3312188), abs=5e-5)
    assert result.tau2 == pytest.approx(0.06995102, abs=1e-5)  # pimeta's iteration stops early
    effects, variances = np.array(SBP[0]), np.array(SBP[1]) ** 2

    def likelihood(tau2: float) -> float:
        weights = 1 / (variances + tau2)
        mean = weights @ effects / weights.sum()
        return float(np.log(weights).sum() - np.log(weights.sum()) - weights @ (effects - mean) ** 2)

    assert likelihood(result.tau2) > max(likelihood(0.06995102), likelihood(0.0), likelihood(result.tau2 + 1e-6))


def test_tau_is_never_below_zero_and_units_play_no_part() -> None:
    equal = random_effects([0.30, 0.31, 0.29, 0.30], [0.1, 0.2, 0.1, 0.1])
    assert (equal.tau2, equal.i2) == (0.0, 0.0)
    for unit in (1e-150, 1e150):
        scaled = random_effects([unit * y for y in SBP[0]], [unit * se for se in SBP[1]])
        assert scaled.mean.low / unit == pytest.approx(random_effects(*SBP).mean.low, rel=1e-9)
    assert random_effects([0.3, 0.3, 0.3], [0.1, 0.1, 0.1]).mean.value == pytest.approx(0.3)
    assert (
        random_effects([0.3, nan, 0.2, 0.1], [0.1, 0.1, nan, 0.1]).reason == "two data sets say nothing about a third"
    )


def test_runs_are_combined_by_component(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = bw.across(runs)
    studies = [bw.load(run)._findings.headline.rows[0].shapley for run in runs]
    expected = random_effects([study.value for study in studies], [item.se for item in studies])
    assert result.combined["ema"] == expected
    out = tmp_path / "out"
    assert main([*map(str, runs), "--across", "--out", str(out)]) == 0
    assert "Next data set: 95% prediction interval" in " ".join(capsys.readouterr().out.split())
    assert json.loads((out / "across.json").read_text())["combined"]["ema"]["tau2"] == pytest.approx(expected.tau2)
    assert "<svg" in (out / "index.html").read_text()
    assert main([*map(str, runs[:2]), "--across"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Two data sets say nothing about a third" in text
    assert "prediction interval" not in text


@pytest.mark.parametrize(
    ("change", "excerpt"),
    [
        ({"scale": "identity"}, "the scale is log against identity"),
        ({"direction": "maximize", "scale": "log"}, "the direction is lower against higher"),
        ({"alpha": 0.01}, r"the alpha is 0\.05 against 0\.01"),
    ],
)
def test_effects_of_other_kinds_are_refused(
    change: dict[str, Any], excerpt: str, runs: list[Path], tmp_path: Path
) -> None:
    other = run_from_table(table(9, 0.2), replace(OPTIONS, **change), tmp_path / "other")
    with pytest.raises(bw.InputError, match=excerpt):
        bw.across([*runs, other])


def test_what_cannot_be_combined_is_refused(runs: list[Path], tmp_path: Path) -> None:
    renamed = table(9, 0.2).rename(columns={"ema": "mixup", "aug": "decay"})
    other = run_from_table(renamed, replace(OPTIONS, components=["mixup", "decay"]), tmp_path / "other")
    for given, excerpt in (([runs[0], other], "no component is in every run"), ([runs[0]], "two runs or more"),
                         ([runs[0], runs[0]], "named twice")):  # fmt: skip
        with pytest.raises(bw.InputError, match=excerpt):
            bw.across(given)
