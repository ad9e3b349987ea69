"""The report, from run folders with a known truth and from poor ones."""

from __future__ import annotations

import csv

import pytest

from analysis.report import build_report


def test_report_of_a_whole_run(make_run):
    folder = make_run(
        evidence=True,
        claims=[
            "uncond_branch.share > 0.60",
            "equivalent(anchor, 10%)",
            "anchor.effect > 0.3",
            "full.value - teacher.value < 80",
        ],
    )
    summary = build_report([folder])
    assert all(path.is_file() for path in summary.paths)
    rows = {row["component"]: row for row in csv.DictReader((folder / "report" / "ablation.csv").open())}
    assert float(rows["uncond_branch"]["shapley_low"]) < 0.5 < float(rows["uncond_branch"]["shapley_high"])
    assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1, abs=1e-12)
