"""Runs with declared looks: what each decides, when they end, and what is reported for a run between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from branchwise.analysis.declared.claims import seal
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.statistics.findings import Findings, analyze_part, decisions
from branchwise.analysis.statistics.sequential.boundaries import exact_levels
from branchwise.analysis.verify import checks

LOOKS = Looks(blocks=(4, 5, 6, 7, 8), spending="obrien_fleming")
CLAIMS = ("anchor.shapley > 0", "full.value < base.value")
MakeRun = Callable[..., Path]


def with_looks(folder: Path, looks: Looks = LOOKS, planned: int = 8) -> Path:
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256", None)  # its seal
    plan |= {"blocks": list(range(planned)), "looks": looks.described()}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def findings_of(folder: Path) -> Findings:
    return analyze_part(load_run(with_looks(folder)))


def differences(folder: Path, blocks: int) -> np.ndarray:
    """Anchor's effect by block, of two components: half the sum of both differences."""
    arms = load_run(folder).arms
    v = -np.log(arms[arms["kind"] == "cell"].pivot(index="block", columns="cell", values="value"))
    by_block: np.ndarray = ((v["anchor"] - v["base"] + v["full"] - v["other"]) / 2).to_numpy()
    return by_block[:blocks]


TWO = {"anchor": 0.05, "other": 0.4}


@pytest.mark.parametrize("seed", range(4))
def test_run_ends_when_everything_is_decided(make_run: MakeRun, seed: int) -> None:
    findings = findings_of(make_run(effects=TWO, blocks=8, claims=CLAIMS, sd=0.03, seed=seed, baselines=()))
    looks = findings.looks
    assert looks is not None
    x = differences(findings.run.folder, 8)
    nominal = [stats.ttest_1samp(x[:n], 0).pvalue for n in looks.blocks]
    assert looks.claims[0].nominal == pytest.approx(nominal)
    assert list(looks.claims[0].p) == sorted(looks.claims[0].p, reverse=True)
    last = looks.blocks[-1]
    assert findings.headline.fit.n_blocks == last
    if looks.ended == "decided":
        assert all(hypothesis.decided_after for hypothesis in looks.hypotheses)
        assert max(item.decided_after or 0 for item in looks.hypotheses) == last
        assert {verdict.status for verdict in findings.verdicts} <= {"supported", "refuted"}
    level = exact_levels(LOOKS.blocks, 0.05, "obrien_fleming")[last - 4]
    half = stats.t.isf(level / 2, last - 1) * x[:last].std(ddof=1) / np.sqrt(last)
    repeated = looks.claims[0].repeated
    assert (repeated.high - repeated.low) / 2 == pytest.approx(half, rel=1e-3)


def test_later_blocks_do_not_change_verdicts(make_run: MakeRun) -> None:
    """Decisions of the last look do not depend on later results."""
    entire = findings_of(make_run("whole", effects=TWO, blocks=8, claims=CLAIMS, sd=0.02))
    assert entire.looks is not None
    assert entire.looks.ended == "decided"
    last = entire.looks.blocks[-1]
    assert last < 8
    beyond = [
        f"{cell}-b{block}" for block in range(last, 8) for cell in (*entire.run.cells, *entire.run.outline.baselines)
    ]
    cut = findings_of(make_run("cut", effects=TWO, blocks=8, claims=CLAIMS, sd=0.02, drop=beyond))
    assert [verdict.status for verdict in cut.verdicts] == [item.status for item in entire.verdicts]
    assert cut.looks is not None
    assert cut.looks.hypotheses == entire.looks.hypotheses
    assert cut.run.missing == ()


def test_hopeless_run_ends_early(make_run: MakeRun) -> None:
    stop_reasons = set()
    for seed in range(6):
        effects = {"anchor": 0.0, "other": 0.0}
        looks = findings_of(make_run(f"r{seed}", effects=effects, blocks=8, sd=0.2, seed=seed)).looks
        assert looks is not None
        stop_reasons.add((looks.ended, looks.blocks[-1] < 8))
    assert ("futile", True) in stop_reasons


def test_no_verdicts_before_first_interim(make_run: MakeRun) -> None:
    findings = findings_of(make_run(effects={"anchor": 1.0, "other": 1.0}, blocks=3, claims=CLAIMS))
    assert {verdict.status for verdict in findings.verdicts} == {"not judged"}
    assert findings.looks is not None
    assert findings.looks.ended == ""
    assert "Not judged: 3 of at most 8 blocks; the first look comes after 4." in findings.notes
    summary = build_report([findings.run.folder])
    assert all("not judged" in answer for answer in summary.answers if answer.startswith(("anchor", "other")))
    stopping = next(check for check in checks(findings.run.folder) if check.name == "stopping rule")
    assert not stopping.holds


def test_between_interims_last_result_counts(make_run: MakeRun) -> None:
    looks = Looks(blocks=(5, 10), spending="quadratic")
    effects, claims = {"anchor": 0.9, "other": 0.06}, ["anchor.shapley > 0", "other.shapley > 0"]
    folder = make_run(effects=effects, blocks=7, claims=claims, sd=0.08)
    findings = analyze_part(load_run(with_looks(folder, looks, 10)))
    assert findings.looks is not None
    assert (findings.looks.blocks, findings.looks.finished, findings.looks.ended) == ((5,), 7, "")
    assert [verdict.status for verdict in findings.verdicts] == ["supported", "not judged"]
    assert findings.verdicts[1].reason == "7 of at most 10 blocks"
    assert findings.headline.fit.n_blocks == 5


def test_block_with_missing_arm_is_unfinished(make_run: MakeRun) -> None:
    findings = findings_of(make_run(effects=TWO, blocks=8, drop=["full-b4"], claims=CLAIMS, sd=0.2))
    assert findings.looks is not None
    assert (findings.looks.blocks, findings.looks.finished) == ((4,), 4)


def test_looks_are_sealed_with_claims(make_run: MakeRun) -> None:
    folder = with_looks(make_run(effects=TWO, blocks=8, claims=["anchor.shapley > 0"]))
    manifest = json.loads((folder / "manifest.json").read_text())
    for looks, claims_modified in ((LOOKS, False), (Looks(blocks=(4, 8), spending="obrien_fleming"), True)):
        claims = seal(["1*shapley(anchor) > 0", looks.canonical])
        (folder / "manifest.json").write_text(json.dumps(manifest | {"claims_sha256": claims}))
        assert analyze_part(load_run(folder)).claims_modified == claims_modified


def test_report_names_looks_and_both_intervals(make_run: MakeRun) -> None:
    folder = with_looks(make_run(effects=TWO, blocks=4, claims=CLAIMS, sd=0.02))
    summary = build_report([folder])
    (table,) = summary.looks
    assert table.columns[3:5] == ("valid at every look", "plain 95%")
    assert [row[0] for row in table.rows] == [*CLAIMS, "anchor.shapley", "other.shapley"]
    assert all(row[1].endswith(" blocks") for row in table.rows)
    page = (folder / "report/index.html").read_text()
    assert 'id="table-looks"' in page
    message = json.loads((folder / "report/ablation.json").read_text())["looks"]
    assert message["ended"] == "decided"
    stopping = next(check for check in checks(folder) if check.name == "stopping rule")
    assert stopping.holds, stopping.message


def test_seeds_added_after_verdict_are_exploratory(make_run: MakeRun) -> None:
    folder = make_run(effects=TWO, blocks=10, claims=CLAIMS, sd=0.02)
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256", None)
    for before, statuses in ((5, {"exploratory"}), (10, {"supported"})):
        extends = {"run": "first", "blocks": before, "components": [], "baselines": []}
        (folder / "plan.json").write_text(json.dumps(plan | {"extends": extends}))
        findings = analyze_part(load_run(folder))
        assert {verdict.status for verdict in findings.verdicts} == statuses
        lines = [note for note in findings.notes if "8.7% of null runs (5 blocks, then 10)" in note]
        assert bool(lines) == (before == 5)


def extended(folder: Path, before: Findings, blocks: int, **added: list[str]) -> Findings:
    """The run in `folder`, an extension of the run in `before`."""
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256", None)
    extends = {"run": before.run.name, "blocks": blocks, "decided": decisions(before), **added}
    (folder / "plan.json").write_text(json.dumps(plan | {"extends": extends}))
    return analyze_part(load_run(folder))


def test_growing_never_makes_p_less_strict(make_run: MakeRun) -> None:
    claims = [*CLAIMS, "other.shapley > 0.3", "other.share > 0.2"]
    before = analyze_part(load_run(make_run("first", effects=TWO, blocks=5, sd=0.1, claims=claims)))
    was = {row.component: row.p_holm for row in before.headline.rows}
    assert was["anchor"] > before.headline.rows[0].effect.p
    after = extended(make_run("second", effects=TWO, blocks=5, sd=0.1), before, 5, baselines=["scratch"])
    assert {row.component: row.p_holm for row in after.headline.rows} == was
    grown = extended(make_run("third", effects=TWO, blocks=10, sd=0.01, claims=claims), before, 5)
    for row in grown.headline.rows:
        assert row.p_holm >= was[row.component] > row.effect.p
    for verdict, old in zip(grown.verdicts, before.verdicts, strict=True):
        assert verdict.test.p_holm >= old.test.p_holm
        assert verdict.reason == f"{old.status} before the extension, in first"
    summary = build_report([after.run.folder])
    assert [row[0] for row in summary.decided[0].rows] == [*claims, "anchor.shapley", "other.shapley"]
    numbers = json.loads((after.run.folder / "report" / "ablation.json").read_text())
    assert {row["component"]: row["p_holm"] for row in numbers["components"]} == was
    lines = [answer for answer in answers(after) if answer.startswith(("anchor", "other"))]
    assert len(lines) == 2
    assert all("decided before the extension, in first" in item and "not tested again" in item for item in lines)


def test_effect_that_new_arms_change_has_no_p(make_run: MakeRun) -> None:
    before = analyze_part(load_run(make_run("first", effects=TWO, blocks=5, sd=0.05)))
    folder = make_run("second", effects=TWO | {"more": 0.3}, blocks=5, sd=0.05, claims=["more.shapley > 0"])
    after = extended(folder, before, 5, components=["more"])
    p = {row.component: row.p_holm for row in after.headline.rows}
    assert np.isnan(p["anchor"])
    assert np.isnan(p["other"])
    assert p["more"] == next(row.effect.p for row in after.headline.rows if row.component == "more")
    assert [verdict.status for verdict in after.verdicts] == ["supported"]


def test_report_names_arms_cut_by_limits(make_run: MakeRun) -> None:
    folder = make_run(effects=TWO, blocks=5, drop=[f"{cell}-b4" for cell in ("full", "other")])
    space = (folder / "space.yaml").read_text()
    (folder / "space.yaml").write_text(space + "limits: {hours: 2, failures: 3}\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    spent = {"hours": 0.5, "gpu_hours": 0.0, "cost": 0.0, "failures": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"spent": spent}))
    assert "Limits: the run has taken 0.5 of 2 h." in analyze_part(load_run(folder)).notes
    limit = "limits.failures: 3 arms failed, and no arm starts after 3 failures"
    (folder / "manifest.json").write_text(json.dumps(manifest | {"spent": spent, "limit": limit}))
    note = f"Ended at a limit: {limit}. The run has taken 0.5 of 2 h."
    assert note in build_report([folder]).notes
    assert note in (folder / "report" / "index.html").read_text()
    assert json.loads((folder / "report" / "ablation.json").read_text())["manifest"]["limit"] == limit
