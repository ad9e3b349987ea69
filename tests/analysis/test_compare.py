"""Two runs, two cells or two groups against each other: the numbers are SciPy's, and what differs is named."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import branchwise as bw
from branchwise.analysis.compare import main
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions

OPTIONS = ImportOptions(components=["ema"], value="loss", direction="minimize")


def table(first_seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    draw, rows = np.random.default_rng(first_seed + 7), []
    for seed, ema in product(range(first_seed, first_seed + 6), (0, 1)):
        rows.append({"ema": ema, "seed": seed, "loss": float(np.exp(shift - 0.2 * ema + draw.normal(0, 0.1)))})
    return pd.DataFrame(rows)


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    tables = {"first": table(), "second": table(shift=0.1).query("seed > 1"), "apart": table(first_seed=50)}
    run_folders = {name: run_from_table(frame, OPTIONS, tmp_path / name) for name, frame in tables.items()}
    run_folders["raw"] = run_from_table(table(), replace(OPTIONS, scale="identity"), tmp_path / "raw")
    run_folders["upwards"] = run_from_table(
        table(), replace(OPTIONS, direction="maximize", scale="log"), tmp_path / "upwards"
    )
    return run_folders


def test_cells_are_compared_within_shared_seeds(runs: dict[str, Path]) -> None:
    result = bw.compare(f"{runs['first']}:base", f"{runs['second']}:full", alpha=0.1)
    base = table().query("ema == 0 and seed > 1").set_index("seed")["loss"]
    full = table(shift=0.1).query("ema == 1 and seed > 1").set_index("seed")["loss"]
    expected = stats.ttest_1samp(np.log(full) - np.log(base), 0)
    interval = expected.confidence_interval(0.9)
    row = result.differences.iloc[0]
    assert (row.p, row.df, row.seeds) == pytest.approx((expected.pvalue, 3, 4), rel=1e-9)
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert result.settings["component.ema"] == ("off", "on")


def test_two_runs_are_compared_in_each_cell_that_both_have(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result = bw.compare(runs["first"], runs["apart"], paired=False)
    for cell, ema in (("base", 0), ("full", 1)):
        samples = [np.log(frame.query(f"ema == {ema}")["loss"]) for frame in (table(first_seed=50), table())]
        row = result.differences.set_index("cell").loc[cell]
        assert row.p == pytest.approx(stats.ttest_ind(*samples, equal_var=False).pvalue, rel=1e-9)
    assert result.differences.p_holm.min() == pytest.approx(min(1.0, 2 * result.differences.p.min()))
    assert main([str(runs["first"]), str(runs["second"])]) == 0
    text = capsys.readouterr().out
    assert "within shared seeds" in text
    assert "Lower is better" in text


def test_two_groups_are_compared_by_welch() -> None:
    frame = table().rename(columns={"ema": "method"})
    for scale, transform in ((None, np.asarray), ("log", np.log)):
        result = bw.compare(frame, group="method", value="loss", scale=scale)
        samples = [transform(frame.loc[frame["method"] == method, "loss"]) for method in (1, 0)]
        row = result.differences.iloc[0]
        assert row.p == pytest.approx(stats.ttest_ind(*samples, equal_var=False).pvalue, rel=1e-9)
        assert row.estimate == pytest.approx(samples[0].mean() - samples[1].mean())
    assert any("6 seeds that both have" in note for note in result.notes)


@pytest.mark.parametrize(
    ("names", "excerpt"),
    [
        (("first", "apart"), "share no seed in base .* --unpaired"),
        (("first", "raw"), "the scale is log against identity"),
        (("first", "upwards"), "the direction is lower against higher"),
        (("first", "first"), "compared with itself"),
    ],
)
def test_what_cannot_be_compared_is_refused(names: tuple[str, str], excerpt: str, runs: dict[str, Path]) -> None:
    with pytest.raises(bw.InputError, match=excerpt):
        bw.compare(*(runs[name] for name in names))


@pytest.mark.parametrize(
    ("arguments", "excerpt"),
    [
        (["first:best", "second"], "best is no cell with a result; there are base, full"),
        (["first"], "takes two runs or cells, not 1"),
        (["first", "second", "--value", "loss"], "--value: is for a table, with --group"),
        (["first", "second", "--alpha", "0"], "must be above 0 and at most 0.5"),
    ],
)
def test_bad_input_is_refused_by_name(
    arguments: list[str], excerpt: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--storage", str(tmp_path)]) == 2
    assert excerpt in capsys.readouterr().err


def test_more_groups_than_two_are_refused() -> None:
    frame: Any = pd.DataFrame({"method": list("aabbcc"), "loss": range(6)})
    with pytest.raises(bw.InputError, match="must have two values, not 3"):
        bw.compare(frame, group="method", value="loss")
