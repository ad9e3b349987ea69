"""A paper's files: tables in the chosen style, figures, and tidy numbers that agree with the report."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from branchwise.analysis.__main__ import main
from branchwise.analysis.report.text import NumberStyle, mean_sd, number_style, rounded, with_interval
from branchwise.analysis.statistics.model import Estimate


@pytest.fixture(scope="module")
def paper(full_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper") / "files"
    assert main([str(full_run), "--paper", str(out), "--digits", "3", "--columns", "cells=seeds,fd_digits64"]) == 0
    return out


@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [(0.8423, 0.0203, "0.842 ± 0.020"), (123.4, 17.0, "123 ± 17"), (0.95, 0.0041, "0.9500 ± 0.0041"),
     (-0.001, 0.2, "0.00 ± 0.20"), (5.0, float("nan"), "5.00"), (float("nan"), 1.0, "–")],  # noqa: RUF001
)  # fmt: skip
def test_means_are_rounded_by_their_sd(mean: float, sd: float, expected: str) -> None:
    assert mean_sd(mean, sd) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [((-11.0, -21.0, -0.3), "-11.0 [-21.0, -0.3]"), ((11.0, 0.02, 22.0), "11.00 [0.02, 22.00]"),
     ((11.0, 0.0, 22.0), "11 [0, 22]"), ((1.0, 1e-9, 2.0), "1.00 [0.00, 2.00]")],
)  # fmt: skip
def test_bounds_keep_their_sign(numbers: tuple[float, float, float], expected: str) -> None:
    value, low, high = numbers
    assert with_interval(Estimate(value=value, se=1.0, df=4, low=low, high=high, p=0.1)) == expected


def test_small_percentages_keep_two_digits_of_their_half_width() -> None:
    assert rounded(-0.0113, -0.0321, 0.0094, min_decimals=1) == ("-0.011", "-0.032", "0.009")
    assert rounded(76.91, 63.08, 85.53, min_decimals=1) == ("76.9", "63.1", "85.5")


def test_style_ends_with_its_context() -> None:
    with number_style(NumberStyle(digits=4)):
        assert mean_sd(0.8423, 0.0203) == "0.84230 ± 0.02030"
    assert mean_sd(0.8423, 0.0203) == "0.842 ± 0.020"


def test_paper_has_tables_figures_and_numbers(paper: Path) -> None:
    names = {path.name for path in paper.iterdir()}
    assert {"table-cells.tex", "table-attribution.tex", "effects.csv", "cells.csv", "arms.csv", "claims.csv"} <= names
    assert (paper / "attribution.pdf").read_bytes().startswith(b"%PDF")
    cells = (paper / "table-cells.tex").read_text()
    assert r"cell & seeds & " in cells
    assert re.search(r"\d+\.\d+ \$\\pm\$ \d", cells)
    assert "“" not in "".join(path.read_text() for path in paper.glob("*.tex"))


def test_tidy_numbers_are_those_of_report(full_run: Path, paper: Path) -> None:
    report = json.loads((full_run / "report/ablation.json").read_text())
    runs: list[dict[str, Any]] = report.get("runs", [report])
    effects = pd.read_csv(paper / "effects.csv")
    shapley = effects[(effects.outcome == "value") & (effects.quantity == "shapley")].set_index("component")
    share = effects[(effects.outcome == "value") & (effects.quantity == "share")].set_index("component")
    for row in runs[0]["components"]:
        assert shapley.loc[row["component"], "p_holm"] == pytest.approx(row["p_holm"])
        if row["share"] is not None:
            assert share.loc[row["component"], "low"] == pytest.approx(row["share_low"])
    assert (paper / "effects.csv").read_bytes() == (full_run / "report/effects.csv").read_bytes()
    empty = [name for name in effects if effects[name].isna().all()]
    assert not empty
    arms = pd.read_csv(io.BytesIO((paper / "arms.csv").read_bytes()))
    assert len(arms) == len(runs[0]["arms"])


def test_paper_replaces_only_its_files(full_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    assert main([str(full_run), "--paper", str(out)]) == 0
    (out / "notes.tex").write_text("mine")
    before = (out / "branchwise-paper.txt").read_text()
    (out / "branchwise-paper.txt").write_text(f"{before}\ntable-gone.tex")
    (out / "table-gone.tex").touch()
    assert main([str(full_run), "--paper", str(out)]) == 0
    assert (out / "notes.tex").read_text() == "mine"
    assert not (out / "table-gone.tex").exists()
    assert (out / "branchwise-paper.txt").read_text() == before
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--digits", "3"], "--digits: only used with --paper"),
        (["--scale", "log"], "--scale: only used with --components and --value"),
        (["--paper", "OUT", "--digits", "0"], "--digits 0: must be from 1 to 4"),
        (["--paper", "OUT", "--columns", "cells"], "--columns cells: must be TABLE=COLUMN,COLUMN"),
        (["--paper", "OUT", "--columns", "cels=seeds"], "--columns cels=...: no such table; this run has claims"),
        (["--paper", "OUT", "--columns", "cells=sedes"], "--columns cells: sedes is not a column; allowed are"),
        (["--paper", "OUT", "--out", "x"], "--out: not used with --paper"),
        (["--claim", "full.vale < 1"], "vale is no quantity; did you mean value?"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    full_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "paper"
    assert main([str(full_run), *(str(out) if option == "OUT" else option for option in options)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_claims_after_run_are_exploratory(full_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = "full.value < 1.5 * base.value"
    assert main([str(full_run), "--out", str(tmp_path / "report"), "--claim", claim]) == 0
    output = capsys.readouterr().out
    assert "Exploratory claims, written after the run" in output
    assert "exploratory" in output.partition("Exploratory claims")[2]
    sealed = json.loads((tmp_path / "report/ablation.json").read_text())["claims"]
    assert claim not in [row["text"] for row in sealed]
