"""Unpaired comparisons, fixed values and other levels: the numbers are SciPy's."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import branchwise as bw
from branchwise.analysis.__main__ import main
from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.records.comparing import IncomparableError, check_inference
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.statistics.findings import Findings, analyze_part
from branchwise.analysis.statistics.model import contrast, fit_two_way, ratio
from branchwise.analysis.statistics.power import seeds_needed

OPTIONS = ImportOptions(components=["method"], value="loss", direction="minimize", paired=False)


def groups(seeds: bool = True, sizes: tuple[int, int] = (5, 9)) -> pd.DataFrame:
    draw, rows = np.random.default_rng(3), []
    for method, (number, mean, sd) in {"old": (sizes[0], 3.30, 0.004), "new": (sizes[1], 3.28, 0.02)}.items():
        rows += [{"method": method, "seed": i, "loss": draw.normal(mean, sd)} for i in range(number)]
    frame = pd.DataFrame(rows)
    return frame if seeds else frame.drop(columns="seed")


def grid(seeds: int = 6) -> pd.DataFrame:
    """A factorial with large seed effects."""
    draw, rows = np.random.default_rng(5), []
    for seed in range(seeds):
        shift = draw.normal(0, 0.2)
        for ema, aug in product((0, 1), (0, 1)):
            y = 0.3 - 0.2 * ema - 0.1 * aug + shift + draw.normal(0, 0.05 + 0.1 * ema)
            rows.append({"ema": ema, "aug": aug, "seed": seed, "loss": np.exp(y)})
    return pd.DataFrame(rows).drop(index=[3, 11])  # unequal numbers of runs


def findings(runs: Any, tmp_path: Path, **changes: Any) -> Findings:
    return analyze_part(load_run(run_from_table(runs, replace(OPTIONS, **changes), tmp_path / "made")))


@pytest.mark.parametrize("scale", ["identity", "log"])
def test_two_groups_have_numbers_of_welch(scale: str, tmp_path: Path) -> None:
    frame = groups()
    result = findings(frame, tmp_path, reference={"method": "old"}, scale=scale, alpha=0.01)
    old, new = (frame.loc[frame["method"] == name, "loss"] for name in ("old", "new"))
    if scale == "log":
        old, new = np.log(old), np.log(new)
    expected = stats.ttest_ind(old, new, equal_var=False)
    interval = expected.confidence_interval(0.99)
    effect = result.headline.rows[0].effect
    assert (effect.p, effect.df) == pytest.approx((expected.pvalue, expected.df), rel=1e-9)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_factorial_contrast_has_satterthwaite_df(tmp_path: Path) -> None:
    frame = grid()
    result = findings(frame, tmp_path, components=["ema", "aug"], claims=["ema.effect > 0", "full.value < base.value"])
    samples = {key: np.log(rows["loss"]) for key, rows in frame.groupby(["ema", "aug"])}
    parts = {key: sample.var(ddof=1) / len(sample) / 4 for key, sample in samples.items()}
    value = -sum((0.5 if ema else -0.5) * sample.mean() for (ema, _), sample in samples.items())
    total = sum(parts.values())
    df = total**2 / sum(part**2 / (len(samples[key]) - 1) for key, part in parts.items())
    p = 2 * stats.t.sf(abs(value) / np.sqrt(total), df)
    row = result.headline.rows[0]
    for estimate in (row.main_effect, row.shapley, result.verdicts[0].test.estimate):
        assert (estimate.value, estimate.se, estimate.df) == pytest.approx((value, np.sqrt(total), df), rel=1e-9)
    assert row.effect.p == pytest.approx(p, rel=1e-9)
    ratio_test = stats.ttest_ind(samples[1, 1], samples[0, 0], equal_var=False)
    assert result.verdicts[1].test.p == pytest.approx(ratio_test.pvalue, rel=1e-9)


def test_overlapping_seeds_tell_what_pairing_would_give(tmp_path: Path) -> None:
    frame = grid().query("seed not in (0, 2)")  # complete blocks
    options = {"components": ["ema", "aug"], "claims": []}
    paired = findings(frame, tmp_path, **options, paired=True).headline.rows[0].effect
    result = findings(frame, tmp_path, **options)
    unpaired = result.headline.rows[0].effect
    wider = (unpaired.high - unpaired.low) / (paired.high - paired.low)
    note = next(note for note in result.notes if note.startswith("ema: on the 4 seeds that its cells share"))
    assert f"{wider:.2g} times as wide as the paired one" in note


def test_runs_without_seeds_are_independent(tmp_path: Path) -> None:
    with_seeds = findings(groups(), tmp_path, reference={"method": "old"})
    without = findings(groups(seeds=False), tmp_path, reference={"method": "old"})
    assert with_seeds.headline.rows[0].effect == without.headline.rows[0].effect
    assert any("no column of seeds" in note for note in without.notes)
    assert not any("its cells share" in note for note in without.notes)


@pytest.mark.parametrize(
    ("change", "options", "excerpt"),
    [
        (lambda frame: frame[(frame["method"] == "new") | (frame["seed"] == 0)], {}, "cell base has one run"),
        (lambda frame: frame.replace({"seed": {1: 0}}), {}, "are the same cell and block"),
        (lambda frame: frame, {"alpha": 0.0}, "must be above 0 and at most 0.5"),
        (lambda frame: frame, {"alpha": float("nan")}, "must be above 0 and at most 0.5"),
        (lambda frame: frame, {"block": "sed"}, "has no column sed"),
        (lambda frame: frame, {"components": [], "claims": []}, "or a claim on a fixed value"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: Any, options: Any, excerpt: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=excerpt):
        findings(change(groups()), tmp_path, **{"reference": {"method": "old"}, **options})
    assert not (tmp_path / "made").exists()


def test_fixed_value_is_tested_by_t_test(tmp_path: Path) -> None:
    frame = groups().query("method == 'new'")[["seed", "loss"]]
    claims = ["full.value < 3.285", "full.value < 3.285, one-sided"]
    for scale, transform in (("identity", np.asarray), ("log", np.log)):
        result = findings(frame, tmp_path, components=[], paired=True, scale=scale, alpha=0.01, claims=claims)
        two, first = (verdict.test for verdict in result.verdicts)
        values, bound = transform(frame["loss"]), float(transform(3.285))
        assert two.p == pytest.approx(stats.ttest_1samp(values, bound).pvalue, rel=1e-9)
        assert first.p == pytest.approx(stats.ttest_1samp(values, bound, alternative="less").pvalue, rel=1e-9)
        limit = stats.ttest_1samp(values, bound, alternative="less").confidence_interval(0.99).high
        assert first.limit == pytest.approx(limit if scale == "identity" else np.exp(limit), rel=1e-9)
        assert [verdict.status for verdict in result.verdicts] == ["not shown", "not shown"]
        (note,) = [note for note in result.notes if note.startswith("Seeds that would decide")]
        assert f"{claims[1]}: {result.verdicts[1].seeds_to_decide}, " in note


def test_one_sided_claim_is_never_refuted(tmp_path: Path) -> None:
    claims = ["full.value > 3.4", "full.value > 3.4, one-sided"]
    result = findings(groups(), tmp_path, reference={"method": "old"}, claims=claims)
    assert [verdict.status for verdict in result.verdicts] == ["refuted", "not shown"]
    assert result.verdicts[1].test.p > 0.5
    assert result.verdicts[0].claim.canonical != result.verdicts[1].claim.canonical


def test_as_many_seeds_as_are_needed_have_80_per_cent_power() -> None:
    values = np.array([0.2, 0.5, 0.1, -0.1, 0.4])
    p = stats.ttest_1samp(values, 0).pvalue
    number = seeds_needed(p, 4, 5, 0.05)
    assert number is not None
    shift = values.mean() / values.std(ddof=1)
    power = [stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift * np.sqrt(n)) for n in (number - 1, number)]
    assert power[0] < 0.8 <= power[1]
    unlikely = seeds_needed(0.9, 4, 5, 0.05)
    assert unlikely is None or unlikely > 100
    assert seeds_needed(1e-12, 500, 400, 0.05) == 401  # where SciPy has no noncentral t


def test_equal_runs_are_no_certainty(tmp_path: Path) -> None:
    frame = groups().assign(loss=lambda rows: np.where(rows["method"] == "old", 0.5, 0.25))
    effect = findings(frame, tmp_path, reference={"method": "old"}).headline.rows[0].effect
    assert np.isnan(effect.p)
    assert effect.reason


def test_extreme_values_keep_their_digits() -> None:
    sample = np.random.default_rng(0).normal(size=10)
    for unit, shift in ((1e-300, 0.0), (1e300, 0.0), (1e-3, 1e9)):
        y = shift + unit * sample
        fit = fit_two_way(["a"] * 5 + ["b"] * 5, [0] * 10, y, inference=Inference(paired=False))
        result = contrast(fit, {"a": 1.0, "b": -1.0})
        exact = (y - shift) / unit
        assert result.p == pytest.approx(stats.ttest_ind(exact[:5], exact[5:], equal_var=False).pvalue, rel=1e-6)
    assert ratio(fit, {"a": 1.0, "b": -1.0}, {"a": 1.0, "b": -1.0}).reason


def test_report_states_unpaired_and_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups().to_csv(tmp_path / "runs.csv", index=False)
    options = ["--components", "method", "--value", "loss", "--direction", "minimize", "--reference", "method=old"]
    claim = ["--claim", "full.value < 3.28, one-sided"]
    assert main([str(tmp_path / "runs.csv"), *options, *claim, "--unpaired", "--alpha", "0.1"]) == 0
    folder = tmp_path / "runs-ablation"
    report = json.loads((folder / "report/ablation.json").read_text())
    page = (folder / "report/index.html").read_text()
    assert report["model"]["paired"] is False
    assert report["model"]["level"] == 0.9
    for text in (page, capsys.readouterr().out, (folder / "report/ablation.md").read_text()):
        assert "by unpaired runs" in text
        assert "95%" not in text
        assert "90%" in text
    assert "by block" not in page
    assert main([str(folder), "--alpha", "0.1"]) == 2
    assert main([str(tmp_path / "runs.csv"), *options, "--alpha", "5"]) == 2
    assert "--alpha 5.0: must be above 0" in capsys.readouterr().err


def test_python_api_has_same_rules(tmp_path: Path) -> None:
    analyze = partial(
        bw.analyze, groups(), components=["method"], value="loss", direction="minimize", reference={"method": "old"}
    )
    study = analyze(paired=False, alpha=0.01)
    assert study._findings.run.inference == Inference(paired=False, alpha=0.01)
    with pytest.raises(bw.InputError, match="alpha"):
        analyze(alpha=1)


def test_report_requires_equal_levels(tmp_path: Path) -> None:
    runs = [findings(groups(), tmp_path, reference={"method": "old"}, alpha=alpha).run for alpha in (0.05, 0.01)]
    with pytest.raises(IncomparableError, match=r"alpha 0\.05, unpaired against alpha 0\.01"):
        check_inference(runs)
