"""An ablation on multiple data sets: a plan, its arms, a family of hypotheses, and means across data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import branchwise as bw
from branchwise.analysis.__main__ import main as analyze
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report import REPORT_SCHEMA
from branchwise.analysis.report.build import build_report
from branchwise.analysis.statistics.findings import analyze_run
from branchwise.analysis.verify import main as verify
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning.extending import Extension, plan_extended
from branchwise.orchestration.planning.plan import Plan, plan_new, plan_resumed
from branchwise.orchestration.planning.plan_text import describe
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.reuse import reusable_arms
from branchwise.orchestration.run_folder.tables import collect
from branchwise.orchestration.run_folder.teachers import required_teachers
from branchwise.orchestration.space import Space, load_space, parse_space
from branchwise.trainables import surface
from branchwise.trainables.contract import Arm, Result
from branchwise.trainables.runtime.job import record_of
from branchwise.trainables.runtime.storage import Storage, storage_at

SPACE = """\
name: three
trainable: surface
noise: {effect: 0.05}
effects: {x1: 0.3}
design:
  components: {one: {off: {parts.x1: false}}, two: {off: {parts.x2: false}}}
  baselines: [scratch]
  across:
    dataset:
      digits: {noise.residual: 0.02}
      fashion: {noise.residual: 0.03, noise.block: 0.3}
      CIFAR-10: {noise.residual: 0.04}
  blocks: 5
  claims: [one.shapley > 0, two.shapley > 5%, full.value < scratch.value]
"""
UNITS = {"digits": 1.0, "fashion": 50.0, "CIFAR-10": 0.2}  # of values, which no two data sets share


def space_of(*overrides: str, text: str = SPACE) -> Space:
    return parse_space("space.yaml", text.encode(), overrides)


def result_of(arm: Arm) -> Result:
    """Its values in the unit of its data set, and measured as its data set requires."""
    result, on = surface.outcome_of(arm, 1.0, ""), arm.across["dataset"]
    value = UNITS[on] * result.values["value"] * (1.3 if on == "fashion" and not arm.spec.parts.x1 else 1.0)
    measured = json.dumps({"metric": "surface", "reference": on})
    return replace(result, values={**result.values, "value": value, "comparability_key": measured})


def carry_out(space: Space, storage: Storage, lose: Sequence[str] = ()) -> Path:
    """The run folder of a sweep; arms in `lose` have no record."""
    plan = plan_new(space, storage, None)
    write_plan(plan.run, space, plan.cohorts)
    for arm in plan.arms:
        if arm.name not in lose:
            plan.run.write_record(arm.name, record_of(arm, "t0000", result_of(arm)))
    finish(plan, space)
    return Path(plan.run.root)


def finish(plan: Plan, space: Space) -> None:
    collect(plan.run, space, {arm.name: i for i, arm in enumerate(plan.arms)}, ())
    write_manifest(plan.run, space, status="finished", arms=len(plan.arms))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return storage_at(tmp_path_factory.mktemp("across"))


@pytest.fixture(scope="module")
def folder(storage: Storage) -> Path:
    folder = carry_out(space_of(), storage)
    build_report([folder])
    return folder


def test_arms_of_data_sets_share_no_seed(storage: Storage) -> None:
    space = space_of()
    plan = plan_new(space, storage, "planned")
    assert len(plan.arms) == space.design.total() == 5 * 3 * 5
    seeds: dict[str, set[int]] = {}
    for arm in plan.arms:
        seeds.setdefault(arm.across["dataset"], set()).add(arm.seed)
    assert seeds == {"digits": {*range(5)}, "fashion": {*range(1000, 1005)}, "CIFAR-10": {*range(2000, 2005)}}
    first = plan.arms[0]
    assert (first.name, first.patch) == ("digits-full-b0", {"noise.residual": 0.02})
    assert len({arm.name for arm in plan.arms}) == len({arm.spec.model_dump_json() for arm in plan.arms}) * 5
    for cohort in plan.cohorts:
        assert len({(arm.seed, arm.across["dataset"]) for arm in cohort.arms}) == 1
    rows = dict(describe(plan))
    assert rows["arms"] == "75 = (4 cells + 1 baselines (scratch)) x 5 blocks x 3 data sets"
    assert rows["across"] == "dataset; first seeds: digits from 0, fashion from 1000, CIFAR-10 from 2000"
    assert space.resolved() == parse_space("again", space.resolved().encode()).resolved()


def holm(p_values: Sequence[float]) -> list[float]:
    order, adjusted, largest = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def meta(effects: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """REML by a numerical optimiser, Hartung and Knapp's interval, prediction interval with k - 2 df."""

    def deviance(tau2: float) -> float:
        weights = 1 / (errors**2 + tau2)
        mean = weights @ effects / weights.sum()
        return float(-np.log(weights).sum() + np.log(weights.sum()) + weights @ (effects - mean) ** 2)

    tau2 = optimize.minimize_scalar(deviance, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).x
    tau2 = 0.0 if deviance(0.0) <= deviance(tau2) else tau2
    weights, k = 1 / (errors**2 + tau2), len(effects)
    mean = weights @ effects / weights.sum()
    se = np.sqrt(weights @ (effects - mean) ** 2 / (k - 1) / weights.sum())
    half, ahead = stats.t.ppf(0.975, k - 1) * se, stats.t.ppf(0.975, k - 2) * np.sqrt(tau2 + se**2)
    p = 2 * stats.t.sf(abs(mean / se), k - 1)
    return {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "next_low": mean - ahead,
            "next_high": mean + ahead}  # fmt: skip


def contrasts_of(arms: pd.DataFrame) -> dict[str, np.ndarray]:
    """By block of a single data set: the Shapley value of each component, and by how much full beats scratch."""
    y = -np.log(arms.pivot_table(index="block", columns="cell", values="value"))
    return {
        "one": ((y["full"] - y["two"] + y["one"] - y["base"]) / 2).to_numpy(),
        "two": ((y["full"] - y["one"] + y["two"] - y["base"]) / 2).to_numpy(),
        "two 5%": ((y["full"] - y["one"] + y["two"] - y["base"]) / 2 + np.log(0.95)).to_numpy(),
        "scratch": (y["full"] - y["scratch"]).to_numpy(),
    }


def test_single_family_matches_manual_numbers(folder: Path) -> None:
    arms = pd.read_parquet(folder / "arms.parquet")
    names = list(UNITS)
    p_values, effects = [], {}
    for name in names:
        by_hand = contrasts_of(arms[arms["across.dataset"] == name])
        p_values += [stats.ttest_1samp(each, 0.0).pvalue for each in by_hand.values()]
        effects[name] = by_hand
    adjusted = np.reshape(holm(p_values), (3, 4))
    analyses = analyze_run(load_run(folder))
    assert [findings.run.label for findings in analyses] == names
    for findings, expected in zip(analyses, adjusted, strict=True):
        by_hand = effects[findings.run.label]
        rows = findings.headline.rows
        assert [row.effect.value for row in rows] == pytest.approx([by_hand["one"].mean(), by_hand["two"].mean()])
        assert [row.effect.se for row in rows] == pytest.approx([stats.sem(by_hand[c]) for c in ("one", "two")])
        assert [row.p_holm for row in rows] == pytest.approx(expected[:2])
        # The first claim is the tested effect of `one`, so it is not counted separately.
        assert [v.test.p_holm for v in findings.verdicts] == pytest.approx([expected[0], expected[2], expected[3]])
        assert findings.sensitivity is not None
        assert findings.sensitivity.hypotheses == 12
    summary = bw.across([folder]).summary.set_index("component")
    for component in ("one", "two"):
        each = np.array([effects[name][component] for name in names])
        expected_row = meta(each.mean(1), stats.sem(each, axis=1))
        for key, value in expected_row.items():
            assert summary.loc[component, key] == pytest.approx(value, rel=1e-5, abs=1e-7), (component, key)


def test_report_shows_data_sets_and_their_mean(folder: Path) -> None:
    document = json.loads((folder / "report/ablation.json").read_text())
    jsonschema.validate(document, json.loads(REPORT_SCHEMA.read_text()))
    assert [run["across"] for run in document["runs"]] == [{"dataset": name} for name in UNITS]
    assert list(document["across"]["across"]) == list(UNITS)
    assert {cell["n"] for run in document["runs"] for cell in run["cells"]} == {5}
    effects = pd.read_csv(folder / "report/effects.csv")
    assert list(effects["dataset"].unique()) == list(UNITS)
    assert list(pd.read_csv(folder / "report/ablation.csv")["dataset"]) == [name for name in UNITS for _ in range(2)]
    page = (folder / "report/index.html").read_text()
    assert page.count('id="table-across"') == page.count('<figure id="across"') == 1
    assert "<title>three" in page
    text = (folder / "report/ablation.md").read_text()
    assert "all claims and tested effects of all data sets together" in text
    assert "next data set" in text


def test_python_names_data_set_of_each_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = bw.load(folder)
    assert study.name == "three"
    for table, rows in ((study.effects, 6), (study.claims, 9), (study.cells, 15)):
        assert list(table["dataset"].unique()) == list(UNITS)
        assert len(table) == rows
    assert len(study.arms) == 75
    assert "Across data sets" in repr(study)
    assert study.plot("effects").axes
    with pytest.raises(bw.InputError, match="is on several data sets; allowed is 'effects'"):
        study.plot("cells")
    assert analyze([str(folder), "--claim", "two.effect > 0", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["exploratory"]) == 3
    assert verify([str(folder), "--require", "one.shapley > 0"]) == 0
    assert "on each of digits, fashion, CIFAR-10, as planned" in capsys.readouterr().out.replace("\n", "")


def test_unfinished_data_set_prevents_verdicts(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    space = space_of()
    folder = carry_out(space, storage, lose=["fashion-two-b4", "CIFAR-10-base-b0", "CIFAR-10-base-b1"])
    analyses = analyze_run(load_run(folder))
    assert {verdict.status for findings in analyses for verdict in findings.verdicts} == {"not judged"}
    assert analyses[0].warnings[0].startswith("Not judged: 4 of 5 blocks on fashion, 3 of 5 blocks on CIFAR-10")
    assert "across" not in json.loads((build_report([folder]).folder / "ablation.json").read_text())
    resumed = plan_resumed(storage, "three", trust=True)
    assert sorted(arm.name for cohort in resumed.cohorts for arm in cohort.arms) == [
        "CIFAR-10-base-b0", "CIFAR-10-base-b1", "fashion-two-b4"
    ]  # fmt: skip


def test_two_data_sets_give_no_mean(tmp_path: Path) -> None:
    text = SPACE.replace("      CIFAR-10: {noise.residual: 0.04}\n", "")
    summary = build_report([carry_out(space_of(text=text), storage_at(tmp_path))])
    assert summary.across[0].columns == ("component", "digits", "fashion")
    assert summary.notes[0] == "Two data sets say nothing about a third: a mean over data sets needs three or more."


def test_values_of_data_sets_are_never_put_together(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="on several data sets, whose values no other run is compared with"):
        build_report([folder, folder], tmp_path / "out")
    with pytest.raises(bw.InputError, match="whose values are compared with no others"):
        bw.compare(folder, folder)
    arms = pd.read_parquet(folder / "arms.parquet")
    arms.loc[0, "comparability_key"] = json.dumps({"metric": "surface", "reference": "other"})
    other = tmp_path / "three"
    other.mkdir()
    for name in ("space.yaml", "plan.json", "manifest.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    arms.to_parquet(other / "arms.parquet")
    with pytest.raises(ValueError, match="measured differently"):
        build_report([other])
    arms.assign(**{"across.dataset": "mnist"}).to_parquet(other / "arms.parquet")
    with pytest.raises(RunFolderError, match=r"across.dataset: 'mnist' must be one of digits, fashion, CIFAR-10"):
        analyze_run(load_run(other))


def test_data_sets_are_sealed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "three"
    other.mkdir()
    for name in ("space.yaml", "manifest.json", "arms.parquet"):
        (other / name).write_bytes((folder / name).read_bytes())
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256")
    plan["across"]["levels"] = ["CIFAR-10", "digits", "fashion"]
    (other / "plan.json").write_text(json.dumps(plan))
    assert not any(findings.claims_modified for findings in analyze_run(load_run(folder)))
    assert all(findings.claims_modified for findings in analyze_run(load_run(other)))


def test_arms_of_single_data_set_runs_are_reused(storage: Storage) -> None:
    alone = space_of("name=alone", "design.across=null", "noise.residual=0.02")
    plan = plan_new(alone, storage, None)
    write_plan(plan.run, alone, plan.cohorts)
    for arm in plan.arms:
        plan.run.write_record(arm.name, record_of(arm, "t0000", surface.outcome_of(arm, 1.0, "")))
    finish(plan, alone)
    space = space_of()
    arms = plan_new(space, storage, "again").arms
    reused = reusable_arms(space, storage, arms, ["alone"])
    assert [item.arm.name for item in reused] == [arm.name for arm in arms if arm.across["dataset"] == "digits"]


def test_each_data_set_has_separate_teacher() -> None:
    text = SPACE.replace("noise: {effect: 0.05}", "teacher: {steps: 10}").replace(
        "fashion: {noise.residual: 0.03", "fashion: {teacher.steps: 20, noise.residual: 0.03"
    )
    space = space_of(text=text)
    assert [teacher.spec.teacher.steps for teacher in required_teachers(space)] == [10, 20]
    by_data_set = {(arm.across["dataset"], arm.teacher) for arm in space.design.arms(space.method, {})}
    assert len(by_data_set) == 3
    assert len({teacher for _, teacher in by_data_set}) == 2


REFUSED = [
    ("design.across={dataset: [a, b]}", "there is no setting dataset; .* name the settings of each: dataset: {a:"),
    ("design.across={noise.residual: [0.1]}", "1 data sets; 2 to 50 are allowed"),
    ("design.across={}", "across"),
    ("design.across={a: {x: {noise.block: 1}}, b: {y: {noise.block: 2}}}", "across"),
    ("design.across={noise.residual: [0.1, 0.1]}", "0.1 and 0.1 have one name"),
    ("design.across={d: {a: {noise.block: 1}, A: {noise.block: 2}}}", "a and A have one name"),
    ("design.across={d: {a: {noise.block: 1}, b: {noise.block: 1.0}}}", "a and b have the same settings"),
    ("design.across={d: {a/b: {noise.block: 1}, b: {noise.block: 2}}}", "'a/b' is no name of a data set"),
    ("design.across={d: {a: {noise.block: -1}, b: {noise.block: 2}}}", "design.across.d.a: noise.block"),
    ("design.across={d: {a: {}, b: {noise.block: 2}}}", "design.across.d.a"),
    ("design.across={parts.x1: [true, false]}", "parts.x1 is what one sets; a setting belongs to the data sets or"),
    ("design.across={objective: [dash, scratch]}", "objective is what scratch sets"),
    ("design.across=[a, b]", "design.across"),
    ("design.blocks={first: 4, max: 6}", "design.across: not allowed with looks"),
    ("published={source: a paper, values: {full: 1.0}}", "published: not allowed with design.across"),
    ("design.blocks=1001", "with design.across at most 1000 are allowed"),
    ("design.components={one: {off: {noise.effect: 0.05}}}", "equals the current value"),
]


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_what_cannot_be_crossed_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space_of(override)


def test_other_designs_refuse_data_sets(root: Path) -> None:
    for file in ("surface_search.yaml", "surface_tuned.yaml"):
        with pytest.raises(UserError, match=r"design.across: not allowed with design.kind \w+; it is with factorial"):
            load_space(root / "tests/data" / file, ["design.across={noise.block: [0.1, 0.2]}"])
    leave_one_out = space_of("design.kind=leave_one_out", "design.claims=[]")
    assert leave_one_out.design.total() == (3 + 1) * 5 * 3


def test_run_on_data_sets_cannot_be_extended_or_remeasured(storage: Storage, folder: Path) -> None:
    with pytest.raises(UserError, match="a run on several data sets cannot grow; run its space again"):
        plan_extended(storage, Extension(name=folder.name, blocks=8), None, trust=True)
