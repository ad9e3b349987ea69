"""A run with cells that learned from different teachers shows each of them; a claim means that of the full method."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.records.folder import load_run
from branchwise.analysis.records.teachers import value_of_teacher
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.statistics.findings import analyze_part

LONG = ("full", "uncond_branch+curriculum_transfer")  # cells that learn from the same teacher, all others from another


def two_teachers(make_run: Callable[..., Path], **options: object) -> Path:
    folder = make_run(blocks=5, baselines=(), **options)
    arms = pd.read_parquet(folder / "arms.parquet")
    long = arms["cell"].isin(LONG)
    arms["teacher"] = np.where(long, "aaa", "bbb")
    arms["teacher_value"] = np.where(long, 24.0, 96.0)
    arms.to_parquet(folder / "arms.parquet")
    return folder


def test_each_teacher_has_row_named_by_its_cells(make_run: Callable[..., Path]) -> None:
    folder = two_teachers(make_run)
    build_report([folder])
    rows = {row["cell"]: row["mean"] for row in json.loads((folder / "report/ablation.json").read_text())["cells"]}
    assert rows["teacher"] == 24.0
    assert rows["teacher of base, uncond_branch, anchor and 3 more"] == 96.0
    assert "Students learned from 2 teachers" in (folder / "report/index.html").read_text()


def test_claim_means_teacher_of_full_method(make_run: Callable[..., Path]) -> None:
    folder = two_teachers(make_run, claims=["full.value - teacher.value > 15", "full.value - teacher.value < 15"])
    run = load_run(folder)
    full = run.results.loc[run.results["cell"] == "full", "value"].mean()
    above, below = analyze_part(run).verdicts
    assert above.test.estimate.value == pytest.approx(full - 24.0)
    assert (above.status, below.status) == ("supported", "refuted")


def test_comparison_needs_full_methods_teacher(make_run: Callable[..., Path]) -> None:
    arms = pd.read_parquet(two_teachers(make_run) / "arms.parquet")
    shared = value_of_teacher(arms, "teacher_value")
    assert shared is not None
    assert shared.value == 24.0
    others = arms[~arms["cell"].isin(LONG)].copy()
    only = value_of_teacher(others, "teacher_value")
    assert only is not None
    assert only.value == 96.0, "where there is one alone, it is the one that is meant"
    others.loc[others["cell"] == "base", ["teacher", "teacher_value"]] = "ccc", 50.0
    assert value_of_teacher(others, "teacher_value") is None


def test_run_with_single_teacher_has_single_row(make_run: Callable[..., Path]) -> None:
    findings = analyze_part(load_run(make_run()))
    assert [row.mean for row in findings.cells if row.cell.startswith("teacher")] == [24.0]
    assert not any("teachers" in note for note in findings.notes)


def a_teacher_for_each_block(make_run: Callable[..., Path], values: Sequence[float], **options: object) -> Path:
    folder = make_run(blocks=5, baselines=(), **options)
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["teacher"] = arms["block"].map(lambda block: f"teacher-{block}")
    arms["teacher_value"] = arms["block"].map(dict(enumerate(values)))
    arms.to_parquet(folder / "arms.parquet")
    return folder


def test_teachers_of_blocks_form_single_row(make_run: Callable[..., Path]) -> None:
    values = [20.0, 22.0, 24.0, 26.0, 28.0]
    findings = analyze_part(load_run(a_teacher_for_each_block(make_run, values)))
    (row,) = [row for row in findings.cells if row.cell.startswith("teacher")]
    assert (row.cell, row.n, row.mean) == ("teacher", 5, 24.0)
    assert row.sd == pytest.approx(np.std(values, ddof=1))
    assert any("intervals cover other teachers as well as other seeds" in note for note in findings.notes)
    assert not any("Students learned from" in note for note in findings.notes)


def test_claim_compares_with_teacher_of_each_block(make_run: Callable[..., Path]) -> None:
    values = [20.0, 22.0, 24.0, 26.0, 28.0]
    folder = a_teacher_for_each_block(make_run, values, claims=["full.value > 2 * teacher.value"])
    run = load_run(folder)
    full = run.results[run.results["cell"] == "full"].set_index("block")["value"]
    logs = np.log(full / pd.Series(values))
    (verdict,) = analyze_part(run).verdicts
    assert verdict.test.estimate.value == pytest.approx(np.exp(logs.mean()))
    assert verdict.test.estimate.se == pytest.approx(logs.std(ddof=1) / np.sqrt(5))


def test_shared_teacher_is_reported(make_run: Callable[..., Path]) -> None:
    notes = analyze_part(load_run(make_run(blocks=3))).notes
    assert any("All blocks learned from one teacher" in note for note in notes)


def test_single_teacher_note_needs_single_teacher(make_run: Callable[..., Path]) -> None:
    claims = ["full.value < 2 * teacher.value"]
    first = make_run(blocks=5, claims=claims)
    each = make_run(name="each", blocks=5, claims=claims)
    arms = pd.read_parquet(each / "arms.parquet")
    arms["teacher"] = [f"t{block}" for block in arms["block"]]
    arms["teacher_value"] = 24.0 + arms["block"]
    arms.to_parquet(each / "arms.parquet")
    notes = [claims_table([analyze_part(load_run(folder))]).note for folder in (first, each)]
    assert ["One teacher is one teacher" in note for note in notes] == [True, False]


def test_scratch_is_no_distillation_only_with_a_teacher(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    assert analyze_part(load_run(folder)).standings[0].role.startswith("no distillation")
    arms = pd.read_parquet(folder / "arms.parquet")
    arms.assign(teacher=None, teacher_value=np.nan).to_parquet(folder / "arms.parquet")
    roles = {item.against: item.role for item in analyze_part(load_run(folder)).standings}
    assert sorted(roles) == ["composite", "scratch"]
    assert set(roles.values()) == {"a baseline", "the best baseline, picked from 2"}
