"""Verdicts need a p-value, a finished plan and the metric's unit; components without effect are reported first."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from branchwise.analysis.declared.contrasts import headline_effect
from branchwise.analysis.declared.factors import Factor, Grid, combinations
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.tables import attribution_table
from branchwise.analysis.report.terminal import show
from branchwise.analysis.statistics.findings import Findings, analyze_part
from branchwise.analysis.verify import checks
from branchwise.analysis.verify import verdicts as required
from branchwise.run_files.sealing import sealed_json

Values = dict[tuple[bool, bool], list[float]]


def write_run(folder: Path, values: Values, claims: Sequence[str] = (), **column: object) -> Path:
    """A finished run of components a and b: values by their levels, one per block."""
    folder.mkdir()
    names = {(False, False): "base", (True, False): "a", (False, True): "b", (True, True): "full"}
    rows = [
        {"arm": f"{names[on]}-b{block}", "cell": names[on], "block": block, "seed": block, "kind": "cell",
         "status": "done", "metric": "accuracy", "value": value, "component.a": on[0], "component.b": on[1]}
        for on, of in values.items()
        for block, value in enumerate(of)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "arms.parquet")
    declared = {
        "name": "value",
        "about": "",
        "better": "higher",
        "shown": False,
        "unit": "",
        "scale": "logit",
        **column,
    }
    plan = {
        "components": ["a", "b"], "factors": [{"name": "a"}, {"name": "b"}], "outcomes": ["value"],
        "blocks": list(range(len(values[True, True]))), "columns": [declared], "lines": [],
        "cells": [{"cell": name, "kind": "cell", "components": {"a": on[0], "b": on[1]}} for on, name in names.items()],
        "parts": [{"kinds": ["cell"], "name": "", "question": ""}],
    }  # fmt: skip
    (folder / "plan.json").write_bytes(sealed_json(plan))
    (folder / "space.yaml").write_text(yaml.safe_dump({"name": "run", "design": {"claims": list(claims)}}))
    return folder


def findings_of(folder: Path, values: Values, claims: Sequence[str] = (), **column: object) -> Findings:
    return analyze_part(load_run(write_run(folder, values, claims, **column)))


ACCURACIES = {
    (False, False): [0.70, 0.73, 0.71, 0.745, 0.72],
    (True, False): [0.80, 0.84, 0.805, 0.82, 0.815],
    (False, True): [0.705, 0.735, 0.70, 0.75, 0.725],
    (True, True): [0.81, 0.83, 0.83, 0.84, 0.82],
}


def test_perfect_accuracy_keeps_scale_and_claims(tmp_path: Path) -> None:
    perfect = ACCURACIES | {(True, True): [0.81, 0.83, 1.0, 0.84, 0.82]}
    claims = ["a.shapley > 0", "a.shapley < 0", "b.shapley > 0", "b.shapley < 0", "a.shapley > 3 points"]
    findings = findings_of(tmp_path / "run", perfect, claims)
    assert findings.headline.scale == "logit"
    assert any("on the boundary" in note and "full-b2" in note for note in findings.notes)
    up, down, b_up, b_down, points = findings.verdicts
    assert (up.status, down.status) in {("supported", "refuted"), ("not shown", "not shown")}
    assert up.test.p == down.test.p == findings.headline.rows[0].shapley.p
    assert (b_up.status, b_down.status) == ("not shown", "not shown")
    assert not math.isnan(points.test.p)


def test_claim_without_p_value_is_hidden(tmp_path: Path) -> None:
    """A percentage of values that have no log scale: not refuted both ways by the p of another scale."""
    losses = {key: [1 - value for value in of] for key, of in ACCURACIES.items()}
    losses[True, True] = [0.0, 0.0, 0.0, 0.0, -0.1]
    claims = ["a.shapley > 5%", "a.shapley < 5%", "a.shapley > 0"]
    findings = findings_of(tmp_path / "run", losses, claims, better="lower", scale="log")
    assert findings.headline.scale == "identity"
    assert [v.status for v in findings.verdicts[:2]] == ["not shown", "not shown"]
    assert "not on the log scale" in findings.verdicts[0].test.reason
    assert all(math.isnan(v.test.p_holm) for v in findings.verdicts[:2])
    assert not math.isnan(findings.verdicts[2].test.p)


def test_values_outside_range_are_no_rate(tmp_path: Path) -> None:
    """An accuracy of 71.59 that is parsed as a fraction: printed in its unit, with the declaration to add."""
    result = findings_of(tmp_path / "run", {on: [100 * x for x in of] for on, of in ACCURACIES.items()}, scale="logit")
    assert result.headline.scale == "identity"
    assert any("declare it, such as [0, 100]" in note for note in result.notes)
    assert attribution_table([result]).rows[0][1].startswith("9.9 [")
    assert "points" not in attribution_table([result]).rows[0][1]


@pytest.mark.parametrize("unit", [1, 100])
def test_claims_speak_unit_of_tables(tmp_path: Path, unit: float) -> None:
    """The table has about 10 points, whether accuracy is a fraction or in per cent; claims in points agree with it."""
    values = {on: [unit * x for x in of] for on, of in ACCURACIES.items()}
    claims = ["a.shapley > 8 points", "a.shapley > 12 points", f"a.shapley > {0.08 * unit}"]
    findings = findings_of(tmp_path / "run", values, claims, range=[0, unit])
    effect = [np.mean(ACCURACIES[True, b]) - np.mean(ACCURACIES[False, b]) for b in (False, True)]
    visible = attribution_table([findings]).rows[0][1]
    assert visible.startswith(f"{100 * np.mean(effect):.1f}")
    assert " points " in visible
    assert [v.status for v in findings.verdicts] == ["supported", "refuted"]
    assert any("has no unit: effects on this rate are in points" in note for note in findings.notes)
    assert "claimed above 8.00 points" in claims_table([findings]).rows[0][2]


def test_unfinished_plan_is_not_tested(make_run: Callable[..., Path]) -> None:
    drop = [f"{cell}-b{b}" for b in (3, 4) for cell in ("full", "anchor")]
    findings = analyze_part(load_run(make_run(blocks=5, drop=drop, claims=["uncond_branch.shapley > 0"])))
    (verdict,) = findings.verdicts
    assert (verdict.status, verdict.reason) == ("not judged", "3 of 5 blocks")
    assert claims_table([findings]).rows[0][1] == "not judged: 3 of 5 blocks"
    assert math.isnan(verdict.test.p_holm)
    assert all(math.isnan(row.p_holm) for row in findings.headline.rows)
    assert findings.warnings == ("Not judged: 3 of 5 blocks of the plan are finished.",)
    folder, printed = findings.run.folder, io.StringIO()
    show(build_report([folder]), Console(file=printed, width=200))
    page = (folder / "report" / "index.html").read_text()
    for text in (printed.getvalue(), page):
        assert "not judged: 3 of 5 blocks" in text
        assert "Not judged: 3 of 5 blocks of the plan are finished." in text
        assert "no worse than the full method's" not in text
    numbers = json.loads((folder / "report" / "ablation.json").read_text())
    assert [(number["verdict"], number["reason"], number["p_holm"]) for number in numbers["claims"]] == [
        ("not judged", "3 of 5 blocks", None)
    ]
    assert (numbers["unfinished"], {row["p_holm"] for row in numbers["components"]}) == ("3 of 5 blocks", {None})
    (stopping,) = [check for check in checks(folder) if check.name == "stopping rule"]
    assert (stopping.holds, stopping.message[:29]) == (False, "not judged: 3 of 5 blocks; 4 ")
    assert [item.message for item in required(folder, [])] == ["not judged: 3 of 5 blocks"]
    complete = analyze_part(load_run(make_run("whole", blocks=5, claims=["uncond_branch.shapley > 0"])))
    assert complete.verdicts[0].status == "supported"
    harmful = analyze_part(
        load_run(make_run("harmful", effects={"a": 0.5, "b": -0.4}, blocks=5, drop=["full-b3", "a-b4"]))
    )
    better, worse = (text for text in answers(harmful) if "so far" in text)
    assert re.match(r"a: so far better by \d.*%.*; not judged: ", better)
    assert re.match(r"b: so far worse by \d[^-]*%; not judged: ", worse)


def test_failed_arms_count_against_claims(make_run: Callable[..., Path]) -> None:
    """A claim that is supported only where the failed arms are omitted is not shown."""
    failed = {f"full-b{b}": "diverged" for b in (1, 3)}
    claims = ["full.value < base.value", "uncond_branch.leave_one_out > 0"]
    folder = make_run(
        blocks=5, sd=0.3, effects={"uncond_branch": 0.5, "anchor": 0.1}, failed=failed, claims=claims, seed=3
    )
    findings = analyze_part(load_run(folder))
    for verdict in findings.verdicts:
        assert verdict.status != "supported" or verdict.test.p <= 0.05
    stored = analyze_part(
        load_run(make_run("none_lost", blocks=5, sd=0.3, effects={"uncond_branch": 0.5, "anchor": 0.1}, seed=3))
    )
    assert len(stored.with_worst) == 0
    assert set(findings.with_worst) == {"uncond_branch", "anchor"}


def test_ineffective_components_are_reported_first(tmp_path: Path) -> None:
    constant = {on: [0.8 + 0.05 * on[0]] * 4 for on in ACCURACIES}
    summary = build_report([write_run(tmp_path / "run", constant, ["a.shapley > 0"])])
    assert "the seed changes nothing" in summary.warnings[0]
    assert summary.warnings[1].startswith("b changes nothing")
    assert len(summary.warnings) == 2
    assert summary.claims.rows[0][1] == "not shown"
    page = (tmp_path / "run/report/index.html").read_text()
    assert page.index("the seed changes nothing") < page.index("<table")


def test_family_holds_what_design_can_estimate(make_run: Callable[..., Path]) -> None:
    """A leave-one-out run tests its leave-one-out effects, adjusted, without a share for Shapley values."""
    effects = {"uncond_branch": 0.5, "anchor": 0.02, "curriculum_transfer": 0.12}
    folder = make_run(blocks=5, kind="leave_one_out", effects=effects, claims=["full.value < scratch.value"])
    findings = analyze_part(load_run(folder))
    rows = findings.headline.rows
    assert {row.tested for row in rows} == {"leave_one_out"}
    p = [*(row.leave_one_out.p for row in rows), findings.verdicts[0].test.p]
    smallest = int(np.argmin(p))
    adjusted = [*(row.p_holm for row in rows), findings.verdicts[0].test.p_holm]
    assert adjusted[smallest] == pytest.approx(4 * p[smallest])
    assert findings.sensitivity is not None
    assert findings.sensitivity.hypotheses == 4


def test_excluded_design_tests_remaining_arms() -> None:
    factors = (Factor(name="a"), Factor(name="b"))
    complete = frozenset(combinations(factors))
    grid = Grid(factors=factors, planned=complete - {("off", "off")})
    assert [headline_effect(grid, i)[0] for i in range(2)] == ["leave_one_out", "leave_one_out"]
    assert headline_effect(Grid(factors=factors, planned=complete), 0)[0] == "shapley"
    assert headline_effect(Grid(factors=factors, planned=frozenset({("on", "on")})), 0) == (None, {})
