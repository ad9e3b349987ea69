"""Both directions on mirrored data give mirrored output: tables, sentences, importances, curves and plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mirror import both, swap

from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.figures import style
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.plots.attribution import attribution_plots
from branchwise.analysis.report.tables import attribution_table, check_tables, effect_tables
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.remeasured.curves import Curve
from branchwise.run_files.columns import Better

CLAIMS = ["uncond_branch.shapley > 0", "anchor.shapley < 0", "equivalent(anchor, 1)", "uncond_branch.share > 50%"]


def test_reports_are_mirrored(make_run: Callable[..., Path]) -> None:
    failed = {"anchor-b1": "failed"}
    down, up = both(make_run(blocks=5, claims=CLAIMS, failed=failed))
    for table in (attribution_table, claims_table):
        assert table([down]).rows == table([up]).rows
        assert [swap(column) for column in table([down]).columns] == list(table([up]).columns)
    for tables in (effect_tables, check_tables):
        assert [table.rows for table in tables(down)] == [table.rows for table in tables(up)]
    assert [swap(answer) for answer in answers(down)] == list(answers(up))
    assert [swap(note) for note in down.notes] == list(up.notes)
    with style():
        plots = [{plot.name: plot.alt for plot in attribution_plots(findings)} for findings in (down, up)]
    assert {name: swap(alt) for name, alt in plots[0].items()} == plots[1]


@pytest.mark.parametrize(("better", "expected"), [("lower", 2.0), ("higher", 3.0)])
def test_best_setting_of_curve_has_best_mean(better: Better, expected: float) -> None:
    points = {x: Estimate(value=value) for x, value in ((1.0, 0.5), (2.0, 0.2), (3.0, 0.9))}
    curve = Curve(others="", metric="m", x=(1, 2, 3), cells={"full": points}, teacher={}, better=better)
    result = curve.best("full")
    assert result is not None
    assert result[0] == expected
