"""A run whose cells learned from different teachers shows each of them; a claim means that of the full method."""

import json

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.records.folder import load_run
from branchwise.analysis.records.teachers import value_of_teacher
from branchwise.analysis.report.build import build_report
from branchwise.analysis.statistics.findings import analyse

LONG = ("full", "uncond_branch+curriculum_transfer")  # cells that learn from one teacher, all others from another


def two_teachers(make_run, **options):
    folder = make_run(blocks=5, baselines=(), **options)
    arms = pd.read_parquet(folder / "arms.parquet")
    long = arms["cell"].isin(LONG)
    arms["teacher"] = np.where(long, "aaa", "bbb")
    arms["teacher_value"] = np.where(long, 24.0, 96.0)
    arms.to_parquet(folder / "arms.parquet")
    return folder


def test_each_teacher_has_a_row_named_by_its_cells(make_run):
    folder = two_teachers(make_run)
    build_report([folder])
    rows = {row["cell"]: row["mean"] for row in json.loads((folder / "report/ablation.json").read_text())["cells"]}
    assert rows["teacher"] == 24.0
    assert rows["teacher of base, uncond_branch, anchor and 3 more"] == 96.0
    assert "Students learned from 2 teachers" in (folder / "report/index.html").read_text()


def test_a_claim_means_the_teacher_of_the_full_method(make_run):
    folder = two_teachers(make_run, claims=["full.value - teacher.value > 15", "full.value - teacher.value < 15"])
    run = load_run(folder)
    full = run.results.loc[run.results["cell"] == "full", "value"].mean()
    above, below = analyse(run).verdicts
    assert above.by_block.estimate.value == pytest.approx(full - 24.0)
    assert (above.status, below.status) == ("supported", "refuted")


def test_without_the_full_methods_teacher_there_is_nothing_to_compare_with(make_run):
    arms = pd.read_parquet(two_teachers(make_run) / "arms.parquet")
    assert value_of_teacher(arms, "teacher_value").value == 24.0
    others = arms[~arms["cell"].isin(LONG)].copy()
    assert value_of_teacher(others, "teacher_value").value == 96.0, (
        "where there is one alone, it is the one that is meant"
    )
    others.loc[others["cell"] == "base", ["teacher", "teacher_value"]] = "ccc", 50.0
    assert value_of_teacher(others, "teacher_value") is None


def test_an_earlier_run_has_one_teacher(make_run):
    findings = analyse(load_run(make_run()))
    assert [row.mean for row in findings.cells if row.cell.startswith("teacher")] == [24.0]
    assert not any("teachers" in note for note in findings.notes)
