"""Power, detectable effects and blocks against SciPy's noncentral t, and the search for an earlier run."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from branchwise.analysis.declared.contrasts import headline_effect
from branchwise.analysis.declared.factors import Factor, Grid
from branchwise.analysis.statistics import power
from branchwise.analysis.statistics.power import EffectSD, Repeats

ROOT = Path(__file__).parents[2]
EARLIER_SD = EffectSD(run="earlier", sd=0.06, df=14)


def factorial_of(components: int) -> power.ComponentTests:
    factors = tuple(Factor(name=name) for name in "abcdef"[:components])
    grid = Grid(factors=factors, planned=frozenset(itertools.product(("on", "off"), repeat=components)))
    return summary_of(grid)


def summary_of(grid: Grid) -> power.ComponentTests:
    effects = [headline_effect(grid, i) for i in range(len(grid.factors))]
    result = power.summarize_tests([(effect, weights) for effect, weights in effects if effect is not None])
    assert result is not None
    return result


SHAPLEY = factorial_of(3)
TESTED_EFFECT = power.ComponentTests(effect="leave_one_out", components=3, variance=2.0)


@pytest.mark.parametrize(("blocks", "hypotheses"), [(3, 1), (5, 4), (8, 6)])
def test_power_is_noncentral_t(blocks: int, hypotheses: int) -> None:
    effect, sd = 0.05, 0.06
    edge = stats.t.ppf(1 - 0.025 / hypotheses, blocks - 1)
    shift = effect / (sd / math.sqrt(blocks))
    expected = stats.nct.sf(edge, blocks - 1, shift) + stats.nct.cdf(-edge, blocks - 1, shift)
    assert power.power(effect, sd, blocks, hypotheses) == pytest.approx(expected, abs=1e-9)


def test_power_is_that_of_test_that_decides() -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(0.1, 0.06, (20_000, 5))
    result = (stats.ttest_1samp(effects, 0, axis=1).pvalue < 0.05 / 4).mean()
    assert power.power(0.1, 0.06, 5, 4) == pytest.approx(result, abs=0.01)


def test_null_effects_reject_at_nominal_rate() -> None:
    assert power.power(0.0, 0.1, 3) == pytest.approx(0.05)
    assert power.power(0.0, 0.1, 3, 5) == pytest.approx(0.01)


@pytest.mark.parametrize("shift", [0.5, 3, 10, 40, 400])
@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_power_is_number_however_large_effect(blocks: int, shift: float) -> None:
    assert 0 < power.power(shift, 1.0, blocks, 4) <= 1


def test_variance_factor_of_two_components() -> None:
    """Shapley of a in {a, b}: half of v(a) - v(base) plus half of v(full) - v(b)."""
    assert factorial_of(2).variance == pytest.approx(4 * 0.25)
    assert factorial_of(1).variance == pytest.approx(2.0)


def test_plans_follow_what_excluded_designs_test() -> None:
    """Four components, the full method and the cells with one or two components: no leave-one-out or add-one-in effect,
    and main effects over three pairs of cells."""
    factors = tuple(Factor(name=name) for name in "abcd")
    cells = frozenset(item for item in itertools.product(("on", "off"), repeat=4) if item.count("on") in (1, 2, 4))
    grid = Grid(factors=factors, planned=cells)
    result = summary_of(grid)
    assert (result.effect, result.components) == ("main_effect", 4)
    assert result.variance == pytest.approx(6 / 9)
    mixed = power.summarize_tests(
        [("leave_one_out", {"full": 1.0, "b": -1.0}), ("main_effect", {"full": 0.5, "b": -0.5})]
    )
    assert mixed == power.ComponentTests(effect="mixed", components=2, variance=1.25)
    assert "interval of an effect" in power.describe(power.sensitivity(mixed, 5))[1]
    assert power.summarize_tests([]) is None


@pytest.mark.parametrize("blocks", [2, 3, 5, 20])
def test_smallest_detectable_effect_has_80_percent_power(blocks: int) -> None:
    effect = power.smallest_detectable(0.07, blocks, 3)
    assert power.power(effect, 0.07, blocks, 3) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.2])
def test_blocks_needed_is_fewest(effect: float) -> None:
    blocks = power.blocks_needed(effect, 0.06, 3)
    assert blocks is not None
    assert power.power(effect, 0.06, blocks, 3) >= 0.8
    assert blocks == 2 or power.power(effect, 0.06, blocks - 1, 3) < 0.8


def test_effects_out_of_reach() -> None:
    assert power.blocks_needed(1e-5, 1.0) is None
    assert power.smallest_detectable(0.1, 1) == math.inf


@pytest.mark.parametrize(("blocks", "expected"), [(3, 1.64), (5, 0.87)])
def test_half_width_is_mean_over_runs(blocks: int, expected: float) -> None:
    """Of a Shapley value of three components, in residual SDs."""
    planned = power.sensitivity(SHAPLEY, blocks)
    assert planned.half_width == pytest.approx(expected, abs=0.005)
    sd = math.sqrt(SHAPLEY.variance)
    sample = np.random.default_rng(1).normal(0, sd, (50_000, blocks)).std(axis=1, ddof=1)
    half = stats.t.ppf(0.975, blocks - 1) * sample.mean() / math.sqrt(blocks)
    assert planned.half_width == pytest.approx(half, rel=0.01)


def test_stated_power_is_accurate() -> None:
    """The SD of a pilot is uncertain: of the 80% that it promises, two thirds remain over pilots of five blocks."""
    rng = np.random.default_rng(0)
    for df in (4, 14):
        promised = []
        for sd in np.sqrt(rng.chisquare(df, 200) / df):
            blocks = power.blocks_needed(0.8, float(sd), 4)
            assert blocks is not None
            promised.append(power.power(0.8, 1.0, blocks, 4))
        assert np.mean(promised) > (0.6 if df == 4 else 0.7)


@pytest.mark.parametrize(("df", "expected"), [(4, 0.66), (14, 0.76)])
def test_plan_states_average_power(df: int, expected: float) -> None:
    """Simulated pilots: the SD that each finds, the effect that it calls detectable, and the power at the true SD."""
    sds = np.sqrt(np.random.default_rng(3).chisquare(df, 2000) / df)
    ratio = power.smallest_detectable(1.0, 6, 4)
    result = np.mean([power.power(ratio * float(sd), 1.0, 6, 4) for sd in sds])
    planned = power.sensitivity(SHAPLEY, 6, effect_sd=EffectSD(run="pilot", sd=0.06, df=df), claims=1)
    assert power.average_power(planned) == pytest.approx(result, abs=0.015)
    assert power.average_power(planned) == pytest.approx(expected, abs=0.03)
    assert f"{power.average_power(planned):.0%} on average" in power.describe(planned)[-1]


def test_claims_take_their_share_of_level() -> None:
    assert power.sensitivity(SHAPLEY, 5, claims=3).detectable > power.sensitivity(SHAPLEY, 5).detectable


def test_sentences() -> None:
    message = " ".join(power.describe(power.sensitivity(SHAPLEY, 5, effect_sd=EARLIER_SD, claims=1)))
    assert "With 5 seeds, effects of" in message
    assert "shared by 4 hypotheses" in message
    assert "one more seed" in message
    assert "10%:" in message
    assert "upper" not in message
    unknown = " ".join(power.describe(power.sensitivity(SHAPLEY, 3)))
    assert "residual SDs" in unknown
    assert "%:" not in unknown
    assert "gives no intervals" in power.describe(power.sensitivity(SHAPLEY, 1, effect_sd=EARLIER_SD))[0]
    assert "leave-one-out effect" in power.describe(power.sensitivity(TESTED_EFFECT, 3))[0]
    priced = power.describe(power.sensitivity(SHAPLEY, 5), Repeats(now=2, seconds=1.5, narrower=0.08))[-1]
    assert "4 times instead of 2" in priced
    assert "1.5 s more an arm" in priced
    assert "8%" in priced


def test_plans_omit_useless_lines() -> None:
    """An SD of a single block difference, and effects beyond 100%, are no numbers to plan with."""
    few = power.describe(power.sensitivity(SHAPLEY, 3, effect_sd=EffectSD(run="r", sd=12.0, df=1)))
    assert few == ["Too few blocks to plan from: an SD between blocks takes 5 or more."]
    wide = power.describe(power.sensitivity(SHAPLEY, 5, effect_sd=EffectSD(run="r", sd=1.5, df=4)))
    assert "no effect below 100% is detectable" in wide[0]
    assert "Seeds needed to detect a change of 100%:" in wide[1]
    assert len(wide) == 2
    huge = power.describe(power.sensitivity(SHAPLEY, 5, effect_sd=EffectSD(run="r", sd=1e6, df=4)))
    assert "e+" not in " ".join(huge[1:])


@pytest.mark.parametrize("wrong", [(0, 3, None), (3, 0, None), (3, 3, 0.0), (3, 3, math.nan)])
def test_plans_that_make_no_sense_are_refused(wrong: tuple[int, int, float | None]) -> None:
    components, blocks, sd = wrong
    with pytest.raises(ValueError, match=r"at least one|above 0"):
        power.sensitivity(
            power.ComponentTests(effect="shapley", components=components, variance=1),
            blocks,
            effect_sd=None if sd is None else EffectSD(run="", sd=sd, df=9),
        )


def write_report(
    storage: Path, name: str, space: Mapping[str, Any], sd: float | None, age: int = 0, df: float = 4
) -> None:
    path = storage / name / "report" / "ablation.json"
    path.parent.mkdir(parents=True)
    model = {"scale": "log", "effect_sd": {"run": name, "sd": sd, "df": df}}
    path.write_text(json.dumps({"name": name, "space": space, "model": model}))
    os.utime(path, (1e9 - age, 1e9 - age))


def test_noise_is_from_newest_run_with_same_settings(tmp_path: Path) -> None:
    space = {"trainable": "dash", "data": {"name": "digits"}, "train": {"steps": 400}, "student": {"channels": [8]}}
    write_report(tmp_path, "old", space, 0.05, age=100)
    write_report(tmp_path, "new", space, 0.06, age=10)
    write_report(tmp_path, "cifar", space | {"data": {"name": "cifar10"}}, 0.9)
    write_report(tmp_path, "unfinished", space, None)
    (tmp_path / "broken" / "report").mkdir(parents=True)
    (tmp_path / "broken" / "report" / "ablation.json").write_text("{")
    assert power.earlier_noise(tmp_path, space) == (EffectSD(run="new", sd=0.06, df=4), None)
    assert power.earlier_noise(tmp_path, {"trainable": "surface"}) == (None, None)
    assert power.earlier_noise(tmp_path / "nowhere", space) == (None, None)


def test_noise_of_other_lengths_or_few_blocks_is_ignored(tmp_path: Path) -> None:
    space = {"trainable": "dash", "data": {"name": "digits"}, "train": {"steps": 400}}
    write_report(tmp_path, "smoke", space | {"train": {"steps": 30}}, 0.01)
    write_report(tmp_path, "few", space, 0.01, df=2)
    assert power.earlier_noise(tmp_path, space) == (None, None)


def test_planning_needs_neither_pandas_nor_torch() -> None:
    code = """import sys
from branchwise.analysis.statistics import power
of = power.ComponentTests(effect="shapley", components=3, variance=1.0)
power.sensitivity(of, 3, effect_sd=power.EffectSD(run="", sd=0.1, df=4))
print(sorted({"pandas", "torch", "ray", "scipy.stats", "matplotlib"} & set(sys.modules)))"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"
