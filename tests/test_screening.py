"""A screening from its space to its report, and its follow-up: on the surface, with a given truth, without Ray."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from scipy import stats

import branchwise as bw
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report import REPORT_SCHEMA
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.screening.tables import stages_table
from branchwise.analysis.statistics.findings import Findings, analyze_part
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning.follow_up import follow_up_space
from branchwise.orchestration.planning.plan import plan_new
from branchwise.orchestration.planning.plan_text import describe
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.tables import collect
from branchwise.orchestration.space import Space, load_space, parse_space
from branchwise.trainables import surface
from branchwise.trainables.runtime.job import record_of
from branchwise.trainables.runtime.storage import Storage, storage_at

THREE = "{a: {parts.x1: false}, b: {parts.x1: true}, c: {noise.block: 2}}"
TEN = ", ".join(f"c{i}: {{off: {{parts.x{i}: false}}}}" for i in range(1, 11))
SCREENING = f"""\
name: ten
trainable: surface
effects: {{x1: 0.2, x2: 0.2, x3: -0.2, "x1:x2": 0.1}}
design: {{kind: screening, components: {{{TEN}}}}}
"""


def space_of(*overrides: str) -> Space:
    return parse_space("space.yaml", SCREENING.encode(), overrides)


def carry_out(space: Space, storage: Storage, lose: Sequence[str] = ()) -> Path:
    """The run folder of a sweep; arms in `lose` have no record."""
    plan = plan_new(space, storage, None)
    write_plan(plan.run, space, plan.cohorts)
    for arm in plan.arms:
        if arm.name not in lose:
            plan.run.write_record(arm.name, record_of(arm, "t0000", surface.outcome_of(arm, 1.0, "")))
    collect(plan.run, space, {arm.name: i for i, arm in enumerate(plan.arms)}, ())
    write_manifest(plan.run, space, status="finished", arms=len(plan.arms))
    return Path(plan.run.root)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return storage_at(tmp_path_factory.mktemp("screening"))


@pytest.fixture(scope="module")
def screened(storage: Storage) -> Path:
    folder = carry_out(space_of("design.claims=[c1.effect > 5%, c4.effect > 0]"), storage)
    build_report([folder])
    return folder


@pytest.fixture(scope="module")
def findings(screened: Path) -> Findings:
    return analyze_part(load_run(screened))


def test_main_effects_are_those_of_numpy_and_scipy(findings: Findings) -> None:
    arms = findings.run.arms
    adjusted: dict[str, float] = {}
    for row in findings.headline.rows:
        on = arms[f"component.{row.component}"].astype(bool)
        y = -np.log(arms["value"])
        by_block = [y[on & (arms["block"] == b)].mean() - y[~on & (arms["block"] == b)].mean() for b in range(5)]
        test = stats.ttest_1samp(by_block, 0)
        low, high = test.confidence_interval()
        assert row.main_effect.value == pytest.approx(np.mean(by_block))
        assert (row.main_effect.low, row.main_effect.high) == pytest.approx((low, high))
        adjusted[row.component] = float(test.pvalue)
    # Holm over ten components and the claim that is no test of a main effect against zero.
    claim = next(verdict for verdict in findings.verdicts if verdict.claim.text.startswith("c1"))
    ordered = sorted([*adjusted.values(), claim.test.p])
    holm = np.maximum.accumulate([min(1.0, (11 - i) * p) for i, p in enumerate(ordered)])
    for row in findings.headline.rows:
        assert row.p_holm == pytest.approx(float(holm[ordered.index(adjusted[row.component])]))
        assert not row.shapley.has_value
        assert not row.share.has_value


def test_active_components_survive_screening(findings: Findings) -> None:
    significant = {row.component for row in findings.headline.rows if row.p_holm <= 0.05}
    assert {"c1", "c2", "c3"} <= significant
    assert findings.headline.rows[2].effect.value < 0, "x3 harms"
    statuses = {verdict.claim.text: verdict.status for verdict in findings.verdicts}
    assert statuses == {"c1.effect > 5%": "supported", "c4.effect > 0": "not shown"}
    assert not findings.headline.interactions


def test_chain_is_sum_of_its_interactions(findings: Findings) -> None:
    (chain,) = [row for row in findings.headline.fraction if ("c1", "c2") in row.contrast.pairs]
    assert chain.contrast.pairs == (("c1", "c2"), ("c9", "c10"))
    assert chain.interaction.low < 0.1 < chain.interaction.high


def test_report_names_aliased_effects(screened: Path) -> None:
    report = screened / "report"
    text = (report / "ablation.md").read_text()
    assert "c1:c2 + c9:c10" in text
    assert {"half_normal.svg", "attribution.svg", "chains"} - {path.name for path in report.iterdir()} == {"chains"}
    assert "a ranking, not a test" in (report / "half_normal.svg").read_text()
    page = (report / "index.html").read_text()
    assert 'id="half_normal"' in page
    assert "a fraction of resolution IV" in page
    assert "Shapley values and shares are not known" in page
    content = json.loads((report / "ablation.json").read_text())
    jsonschema.validate(content, json.loads(REPORT_SCHEMA.read_text()))
    assert content["screening"]["judged"]
    assert content["screening"]["runs"] == 32
    assert {"c1", "c2", "c3"} <= set(content["screening"]["survivors"])
    assert content["contrasts"]["log"]["main_effect"]["c1"]["p"] < 0.01
    assert content["contrasts"]["log"]["shapley"]["c1"]["value"] is None


def test_fewer_than_five_blocks_rank_only(tmp_path: Path) -> None:
    folder = carry_out(space_of("design.blocks=4"), storage_at(tmp_path))
    build_report([folder])
    content = json.loads((folder / "report/ablation.json").read_text())
    assert not content["screening"]["judged"]
    assert content["screening"]["survivors"] == []
    for row in content["contrasts"]["log"]["main_effect"].values():
        assert row["value"] is not None
        assert row["p"] is None
        assert row["low"] is None
    assert sorted(row["rank"] for row in content["screening"]["main_effects"])[:3] == [1, 2, 3]
    text = (folder / "report/ablation.md").read_text()
    assert "Ranking only: no component is judged from 4 blocks" in (folder / "report/index.html").read_text()
    assert "ranked only" in text
    assert "survives" not in text
    with pytest.raises(UserError, match=r"with --survivors \(by size: "):
        follow_up_space(storage_at(tmp_path), "ten")
    chosen = follow_up_space(storage_at(tmp_path), "ten", ["c2", "c1"])
    assert chosen.design.component_names() == ("c1", "c2")
    assert chosen.design.blocks == 5


def test_plan_states_aliases_and_verdicts() -> None:
    space = space_of()
    plan = plan_new(space, storage_at(Path("/nonexistent")), None)
    rows = list(describe(plan))
    content = "\n".join(text for _, text in rows)
    assert "160 = (32 cells) x 5 blocks" in content
    assert "32 of 1,024 combinations, resolution IV" in content
    assert "c1:c2 cannot be told from c9:c10" in content
    assert "Holm over the 10 components" in content
    assert space.design.outline(space.method)["aliases"][0] == "c1:c2 + c9:c10"
    assert (
        "none: 3 blocks rank" in dict(describe(plan_new(space_of("design.blocks=3"), plan.storage, None)))["verdicts"]
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["design.claims=[c1.shapley > 0]"], ["shapley", "a fraction", "effect"]),
        (["design.claims=[c1.share > 10%]"], ["share", "a fraction"]),
        (["design.claims=['interaction(c1, c2) > 0']"], ["interaction", "a fraction"]),
        (["design.claims=[c1.leave_one_out > 0]"], ["without_c1"]),
        (["design.claims=[c1.effect > 0]", "design.blocks=4"], ["4 blocks", "at least 5"]),
        (["design.exclude=[{c1: 'off'}]"], ["design.exclude", "screening"]),
        ([f"design.components.c1={{reference: a, levels: {THREE}}}"], ["c1", "3 levels"]),
        (["design.kind=factorial"], ["10 components", "at most 6", "screening 4 to 20"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_screening_cannot_do_is_refused(overrides: list[str], expected: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        space_of(*overrides)
    assert all(part in str(refusal.value) for part in expected)


def test_bad_component_counts_are_refused() -> None:
    parts = [f"c{i}: {{off: {{parts.x{1 + i % 20}: false}}}}" for i in range(21)]
    for some, expected in ((parts[:3], "at least 4"), (parts, "21 components; at most 20")):
        text = f"name: s\ntrainable: surface\ndesign: {{kind: screening, components: {{{', '.join(some)}}}}}\n"
        with pytest.raises(UserError, match=expected):
            parse_space("space.yaml", text.encode())


@pytest.mark.parametrize("others", ["full", "off"])
def test_follow_up_is_factorial_of_survivors_on_fresh_seeds(storage: Storage, screened: Path, others: str) -> None:
    assert screened.name == "ten"
    space = follow_up_space(storage, "ten", ["c1", "c3"], "off" if others == "off" else "full")
    arms = space.design.arms(space.method, {})
    assert len(arms) == 4 * 5
    assert {arm.seed for arm in arms} == {5, 6, 7, 8, 9}
    parts = {arm.cell: arm.spec.parts.model_dump() for arm in arms}
    constants = [parts["full"][f"x{i}"] for i in (2, *range(4, 11))]
    assert constants == [others == "full"] * 8
    assert parts["full"]["x1"]
    assert not parts["base"]["x3"]
    assert parse_space("space.yaml", space.resolved().encode()) == space


def test_two_stages_in_report(storage: Storage, screened: Path) -> None:
    space = follow_up_space(storage, screened.name, ["c1", "c3", "c5"], overrides=["design.claims=[c1.shapley > 0]"])
    folder = carry_out(space, storage)
    build_report([folder])
    text = (folder / "report/ablation.md").read_text()
    stages = text[text.index("## The two stages") :].split("\n\n")[1]
    rows = {line.split("|")[1].strip(): line for line in stages.splitlines()[2:]}
    assert set(rows) == {f"c{i}" for i in range(1, 11)}
    assert "confirmed" in rows["c1"]
    assert "not shown" in rows["c5"]
    assert "held full" in rows["c2"]
    assert "not confirmed" in rows["c2"]
    assert "Only the fresh seeds confirm" in text
    content = json.loads((folder / "report/ablation.json").read_text())
    jsonschema.validate(content, json.loads(REPORT_SCHEMA.read_text()))
    assert content["first_stage"]["run"] == "ten"
    assert content["first_stage"]["seeds"] == [0, 1, 2, 3, 4]
    assert content["claims"][0]["verdict"] == "supported"
    assert content["screening"] is None
    assert verdicts(analyze_part(load_run(folder)))["c1"] == "confirmed"
    mirrored = copy.deepcopy(load_run(folder))
    for effect in mirrored.space["design"]["follow_up_of"]["effects"].values():
        effect["value"] = -effect["value"]
    opposite = verdicts(analyze_part(mirrored))
    assert (opposite["c1"], opposite["c5"], opposite["c2"]) == ("reversed", "not shown", "not confirmed")


def verdicts(findings: Findings) -> dict[str, str]:
    """The results on fresh seeds, by component."""
    return {str(row[0]): str(row[-1]) for row in stages_table(findings).rows}


def test_follow_up_refusals(storage: Storage, screened: Path, tmp_path: Path) -> None:
    name = screened.name
    refusals: list[tuple[tuple[Any, ...], str]] = [
        (("absent",), "no such run"),
        ((name, ["c1", "cx"]), "cx is no component"),
        ((name, [f"c{i}" for i in range(1, 7)]), "at most 5"),
        ((name, ["c1", "c1"]), "different"),
        ((name, ["c1"], "full", ["design.first_seed=2"]), "used seed 2; a follow-up takes fresh ones, from 5 on"),
        ((name, ["c1"], "full", ["design.components.c99={off: {parts.x11: false}}"]), "c99: not screened"),
    ]
    for arguments, expected in refusals:
        with pytest.raises(UserError, match=expected):
            follow_up_space(storage, *arguments)
    short = carry_out(space_of(), storage_at(tmp_path), lose=["full-b0"])
    with pytest.raises(UserError, match="1 of its arms are missing; resume it first"):
        follow_up_space(storage_at(tmp_path), short.name)
    other = "name: other\ntrainable: surface\ndesign: {components: {c1: {off: {parts.x1: false}}}}\n"
    carry_out(parse_space("space.yaml", other.encode()), storage_at(tmp_path))
    with pytest.raises(UserError, match="a run of kind factorial; only a screening has a follow-up"):
        follow_up_space(storage_at(tmp_path), "other")


def test_follow_up_from_python_has_same_messages(tmp_path: Path) -> None:
    with pytest.raises(bw.InputError, match="run absent: no such run"):
        bw.follow_up("absent", storage=tmp_path)
    with pytest.raises(bw.InputError, match="others: 'half' is not allowed"):
        bw.follow_up("absent", others="half", storage=tmp_path)


def test_claim_is_untested_with_four_blocks(tmp_path: Path) -> None:
    space = space_of("faults={diverge: [2]}", "design.claims=[c1.effect > 5%]")
    findings = analyze_part(load_run(carry_out(space, storage_at(tmp_path))))
    (claim,) = findings.verdicts
    assert claim.status == "not shown"
    assert "4 blocks rank" in claim.test.reason
    assert all(np.isnan(row.p_holm) for row in findings.headline.rows)


def test_parts_of_surface_that_do_not_exist_are_refused() -> None:
    for wrong in ("{x21: 1.0}", "{'x1:x1': 1.0}"):
        with pytest.raises(UserError, match="allowed are x1 to x20"):
            space_of(f"effects={wrong}")


def test_failed_run_keeps_estimable_effects(tmp_path: Path) -> None:
    first = carry_out(space_of(), storage_at(tmp_path / "one"), lose=["full-b0"])
    rows = analyze_part(load_run(first)).headline.rows
    assert all(row.effect.has_value for row in rows)
    missing = carry_out(space_of(), storage_at(tmp_path / "all"), lose=[f"full-b{b}" for b in range(5)])
    findings = analyze_part(load_run(missing))
    assert not any(row.effect.has_value for row in findings.headline.rows)
    assert any("Without a finished arm in full no main effect" in note for note in findings.notes)
    build_report([missing])


@pytest.mark.parametrize("kind", ["leave_one_out", "add_one_in"])
def test_single_factor_design_with_many_components(kind: str, tmp_path: Path) -> None:
    """Twelve of the parts; the family is the twelve effects that the design estimates, and no Shapley value."""
    components = {f"part_{i}": {"off": {f"parts.x{i}": False}} for i in range(1, 13)}
    design = {"kind": kind, "components": components, "blocks": 5, "claims": [f"part_1.{kind} > 0"]}
    tree = {"name": "many", "trainable": "surface", "effects": {"x1": 0.2}, "design": design}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(tree))
    folder = carry_out(load_space(tmp_path / "space.yaml"), storage_at(tmp_path / "runs"))
    findings = analyze_part(load_run(folder))
    (first, *others) = findings.headline.rows
    assert first.tested == kind
    assert first.p_holm == pytest.approx(12 * first.effect.p)
    assert findings.verdicts[0].status == "supported"
    arms = findings.run.arms
    y = arms.assign(y=-np.log(arms["value"])).pivot_table(index="block", columns="cell", values="y")
    pair = ("full", "without_part_1") if kind == "leave_one_out" else ("part_1", "base")
    assert first.effect.p == pytest.approx(float(stats.ttest_rel(y[pair[0]], y[pair[1]]).pvalue))
    assert all(row.effect.has_value for row in others)
    build_report([folder])
    assert (folder / "report/attribution.svg").is_file()


def test_fifty_components_plan_in_no_time() -> None:
    from branchwise.analysis.declared.factors import Factor, Grid
    from branchwise.orchestration.designs.leave_one_out import AddOneIn, LeaveOneOut

    components = {f"c{i}": {"off": {"x": i}} for i in range(50)}
    for kind, design, cells in (("leave_one_out", LeaveOneOut, 51), ("add_one_in", AddOneIn, 52)):
        created = design.model_validate({"kind": kind, "components": components})
        names = [cell.cell for cell in created.component_cells()]
        assert len(names) == len(set(names)) == cells
        assert created.grid().corners == ()
        assert not created.grid().is_fraction
    assert not Grid(factors=tuple(Factor(name=f"c{i}") for i in range(50)), planned=frozenset()).is_complete
