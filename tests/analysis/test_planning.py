"""Power, detectable effects and blocks against SciPy's noncentral t, and the look-up of an earlier run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from branchwise.analysis.statistics import power

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("k", "blocks", "design"), [(3, 3, "factorial"), (2, 8, "factorial"), (4, 5, "leave_one_out")])
def test_power_is_the_noncentral_t(k, blocks, design):
    effect, sd = 0.05, 0.06
    df = ((k + 1 if design == "leave_one_out" else 2**k) - 1) * (blocks - 1)
    shift = effect / (sd * math.sqrt(power.variance_factor(k, design) / blocks))
    edge = stats.t.ppf(0.975, df)
    expected = stats.nct.sf(edge, df, shift) + stats.nct.cdf(-edge, df, shift)
    assert power.power(effect, sd, k, blocks, design) == pytest.approx(expected, abs=1e-9)


def test_no_effect_is_seen_as_often_as_the_level_says():
    assert power.power(0.0, 0.1, 3, 3) == pytest.approx(0.05)


def test_variance_factor_of_two_components():
    """Shapley of a in {a, b}: half of v(a) - v(base) plus half of v(full) - v(b)."""
    assert power.variance_factor(2, "factorial") == pytest.approx(4 * 0.25)
    assert power.variance_factor(1, "factorial") == pytest.approx(2.0)


@pytest.mark.parametrize("blocks", [2, 3, 5, 20])
def test_smallest_detectable_effect_has_80_percent_power(blocks):
    effect = power.smallest_detectable(0.07, 3, blocks)
    assert power.power(effect, 0.07, 3, blocks) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.2])
def test_blocks_needed_is_the_fewest(effect):
    blocks = power.blocks_needed(effect, 0.06, 3)
    assert power.power(effect, 0.06, 3, blocks) >= 0.8
    assert blocks == 2 or power.power(effect, 0.06, 3, blocks - 1) < 0.8


def test_effects_out_of_reach():
    assert power.blocks_needed(1e-5, 1.0, 3) is None
    assert power.smallest_detectable(0.1, 3, 1) == math.inf


def test_one_component_in_two_blocks_has_a_single_degree_of_freedom():
    assert power.residual_df(1, 2, "factorial") == 1
    assert power.plan(1, 2).detectable > power.plan(1, 3).detectable


def test_sentences():
    told = " ".join(power.describe(power.plan(3, 3, residual_sd=0.06)))
    assert "With 3 seeds, effects of" in told
    assert "one more seed" in told
    assert "10%:" in told
    assert "residual SDs" in power.describe(power.plan(3, 3))[0]
    assert "gives no intervals" in power.describe(power.plan(3, 1, residual_sd=0.06))[0]
    assert "leave-one-out effect" in power.describe(power.plan(3, 3, "leave_one_out"))[0]


@pytest.mark.parametrize("wrong", [(0, 3, None), (3, 0, None), (3, 3, 0.0), (3, 3, math.nan)])
def test_plans_that_make_no_sense_are_refused(wrong):
    components, blocks, sd = wrong
    with pytest.raises(ValueError, match=r"at least one|above 0"):
        power.plan(components, blocks, residual_sd=sd)


def write_report(storage: Path, name: str, space: dict, sd: object, age: int = 0) -> None:
    path = storage / name / "report" / "ablation.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"name": name, "space": space, "model": {"scale": "log", "residual_sd": sd, "df": 14}}))
    os.utime(path, (1e9 - age, 1e9 - age))


def test_earlier_run_with_the_nearest_settings_then_the_newest(tmp_path):
    space = {"trainable": "dash", "data": {"name": "digits"}, "train": {"steps": 400}, "student": {"channels": [8]}}
    write_report(tmp_path, "pilot", space | {"train": {"steps": 50}}, 0.2)
    write_report(tmp_path, "old", space, 0.05, age=100)
    write_report(tmp_path, "new", space, 0.06, age=10)
    write_report(tmp_path, "cifar", space | {"data": {"name": "cifar10"}}, 0.9)
    write_report(tmp_path, "unfinished", space, None)
    (tmp_path / "broken" / "report").mkdir(parents=True)
    (tmp_path / "broken" / "report" / "ablation.json").write_text("{")
    earlier = power.earlier_residual_sd(tmp_path, space)
    assert (earlier.run, earlier.residual_sd, earlier.df, earlier.differs) == ("new", 0.06, 14, ())
    shorter = power.earlier_residual_sd(tmp_path, space | {"train": {"steps": 50}})
    assert shorter.run == "pilot"
    longer = power.earlier_residual_sd(tmp_path, space | {"train": {"steps": 900}})
    assert longer.differs == ("train",)
    assert power.earlier_residual_sd(tmp_path, {"trainable": "surface"}) is None
    assert power.earlier_residual_sd(tmp_path / "nowhere", space) is None


def test_planning_needs_neither_pandas_nor_torch():
    code = ("import sys; from branchwise.analysis.statistics import power; power.plan(3, 3, residual_sd=0.1); "
            "print(sorted({'pandas', 'torch', 'ray', 'scipy.stats', 'matplotlib'} & set(sys.modules)))")  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"
