"""A run that was remeasured: the measures are read, effects compared, curves drawn, the best named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.records.comparing import IncomparableError, check_comparable
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.records.remeasured import load_remeasured
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.remeasured.tables import best_table, evaluation_table, holds_table
from branchwise.analysis.report.text import mean_sd
from branchwise.analysis.statistics.findings import analyze_part
from branchwise.analysis.statistics.remeasured.effects import Remeasured, under_each_measurement

SWEEP: dict[str, Any] = {"scale": {"low": 1.0, "high": 3.0}, "steps": 20, "space": None}


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root / "tests/data/runs/ablation", tmp_path / "run")
    return tmp_path / "run"


def add(folder: Path, name: str, change: Any, teacher: float = 2.0, is_sweep: bool = False, **settings: Any) -> None:
    """A measure with the values `change(rows)`."""
    location = folder / "measurements" / name
    location.mkdir(parents=True)
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["value"] = change(arms)
    arms["teacher_value"] = teacher
    arms.to_parquet(location / "arms.parquet", index=False)
    measured_values = {
        "settings": {"measured": SWEEP | settings},
        "of_the_sweep": {"measured": SWEEP},
        "as_in_the_sweep": is_sweep,
    }
    (location / "measure.json").write_text(json.dumps(measured_values))


def read(folder: Path) -> Remeasured:
    findings = analyze_part(load_run(folder))
    return under_each_measurement(findings, load_remeasured(findings.run))


def test_unmeasured_run_has_no_measurement_section(folder: Path) -> None:
    measured = read(folder)
    assert measured.effects == ()
    assert holds_table(measured).rows == best_table(measured).rows == ()
    add(folder, "own", lambda arms: arms["value"], is_sweep=True)
    assert read(folder).effects == ()


def test_effects_that_replicate_or_reverse(folder: Path) -> None:
    first = load_run(folder).components[0]

    def reversed_(arms: pd.DataFrame) -> Any:
        """Values in which the first component does harm, by as much as it did good."""
        on = arms[f"component.{first}"].astype("boolean").fillna(False)
        centered = np.log(arms["value"])
        means = centered.groupby(on).transform("mean")
        return np.exp(2 * means.mean() - 2 * means + centered)

    add(folder, "same", lambda arms: 3 * arms["value"], space="other")
    measured = read(folder)
    assert [effect.label for effect in measured.effects] == ["as in the sweep", "space other"]
    assert {measured.agreement(name) for name in measured.run.components} == {"holds"}
    before, after = measured.effects
    for name, row in after.rows.items():
        assert row.shapley.value == pytest.approx(before.rows[name].shapley.value)
    add(folder, "reversed", reversed_, space="third")
    measured = read(folder)
    if measured.effects[0].conclusion(first) == "helps":
        assert measured.agreement(first) == "reverses"
    table = holds_table(measured)
    assert table.title == "Does it hold under another evaluation?"
    assert [row[0] for row in table.rows] == ["as in the sweep", "space other", "space third", "agree?"]


def test_curves_cover_all_measured_settings(folder: Path) -> None:
    for scale in (1.0, 1.5, 2.0):
        for steps in (10, 20):
            add(
                folder, f"m{scale}-{steps}", lambda arms, s=scale, n=steps: arms["value"] * (1 + abs(s - 1.5)) / n,
                teacher=scale, scale=scale, steps=steps,
            )  # fmt: skip
    measured = read(folder)
    assert [axis.name for axis in measured.axes] == ["scale", "steps"]
    by_scale, by_steps = measured.axes
    assert [curve.others for curve in by_scale.curves] == ["steps 10", "steps 20"]
    assert [curve.x for curve in by_steps.curves] == [(10.0, 20.0)] * 3
    (curve, _) = by_scale.curves
    for cell, points in curve.cells.items():
        best = curve.best(cell)
        assert best is not None
        assert best[0] == 1.5
        assert points[1.5].has_interval
    assert curve.teacher == {1.0: 1.0, 1.5: 1.5, 2.0: 2.0}
    table = best_table(measured)
    assert table.rows[0][1].startswith("1.5: ")
    assert table.rows[0][3].startswith("20, edge: ")


def test_report_has_tables_curves_and_numbers(folder: Path, tmp_path: Path) -> None:
    add(folder, "a", lambda arms: arms["value"] * 1.1, scale=1.0)
    add(folder, "b", lambda arms: arms["value"] * 1.2, scale=2.0)
    (folder / "measurements" / "work").mkdir()  # of a process that measures
    summary = build_report([folder], tmp_path / "report")
    assert [table.title for table in summary.measures] == [
        "Does it hold under another evaluation?", "The best setting of each cell",
    ]  # fmt: skip
    page = (tmp_path / "report/index.html").read_text()
    assert "Further evaluations" in page
    assert 'id="measured_scale-caption"' in page
    assert "Does it hold under another evaluation?" in (tmp_path / "report/ablation.md").read_text()
    message = json.loads((tmp_path / "report/ablation.json").read_text())["measures"]
    assert [item["measure"] for item in message] == ["as in the sweep", "scale 1", "scale 2"]


def name_an_evaluation(folder: Path, factor: Any) -> None:
    """The run as if it had measured under an evaluation called `weak`, too."""
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256", None)
    (value,) = [column for column in plan["columns"] if column["name"] == "value"]
    summary = f"{value['about']}, under weak: guidance 1.5"
    plan["columns"] += [{**value, "name": name, "about": summary} for name in ("value(weak)", "teacher_value(weak)")]
    key = {**value, "name": "comparability_key(weak)", "about": "", "dtype": "string", "claimable": False}
    plan["columns"].append(key)
    (folder / "plan.json").write_text(json.dumps(plan))
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["value(weak)"] = arms["value"] * factor(arms)
    arms["teacher_value(weak)"] = 7.0
    arms["comparability_key(weak)"] = json.dumps({"guidance": 1.5})
    arms.to_parquet(folder / "arms.parquet", index=False)
    (folder / "SHA256SUMS").unlink(missing_ok=True)


def test_named_evaluation_needs_no_remeasurement(folder: Path, tmp_path: Path) -> None:
    name_an_evaluation(folder, lambda arms: 3.0)
    measured = read(folder)
    assert [effect.label for effect in measured.effects] == ["as in the sweep", "weak"]
    before, after = measured.effects
    for name, row in after.rows.items():
        assert row.shapley.value == pytest.approx(before.rows[name].shapley.value)
    assert {measured.agreement(name) for name in measured.run.components} == {"holds"}
    by_cell = {row[0]: row[1:] for row in evaluation_table(measured).rows}
    full = load_run(folder).results.query("cell == 'full'")["value"]
    assert by_cell["full"] == tuple(mean_sd(k * full.mean(), k * full.std(ddof=1)) for k in (1, 3))
    assert by_cell["teacher"][1] == "7.00"
    assert "weak: guidance 1.5." in holds_table(measured).note
    build_report([folder], tmp_path / "report")
    assert "Cells under each evaluation" in (tmp_path / "report/index.html").read_text()


def test_runs_with_other_evaluations_are_not_compared(folder: Path, tmp_path: Path) -> None:
    name_an_evaluation(folder, lambda arms: 1.0)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    check_comparable([load_run(folder), load_run(other)])
    arms = pd.read_parquet(other / "arms.parquet")
    arms["comparability_key(weak)"] = json.dumps({"guidance": 2.0})
    arms.to_parquet(other / "arms.parquet", index=False)
    with pytest.raises(IncomparableError, match=r"guidance is 1\.5 against 2\.0"):
        check_comparable([load_run(folder), load_run(other)])
