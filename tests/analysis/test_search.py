"""Searches: tried and confirmed results are separate, and so are fixed and re-tuned effects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mirror import both, swap
from scipy import stats

from branchwise.analysis.records.folder import load_run, parts
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.figures import style
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.search import best_table, importance_table, importances, slices, unbeaten
from branchwise.analysis.statistics.findings import analyze_part

SPACE: dict[str, dict[str, Any]] = {
    "anchor_weight": {"log_uniform": [0.01, 1.0], "when": {}},
    "curriculum": {"choice": ["transfer", "uniform"], "when": {}},
    "student.channels": {"choice": [[8, 12], [12, 16]], "when": {}},
}


def as_search(folder: Path, better: float, **design: object) -> None:
    """Makes the run in `folder` a search of 30 arms in which the anchor weight decides, confirmed on 3 seeds."""
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["design"] = {"kind": "search", "space": SPACE, "blocks": 3, **design}
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    first = pd.read_parquet(folder / "arms.parquet").iloc[:1]
    rng = np.random.default_rng(0)
    searched = pd.concat([first] * 30, ignore_index=True)
    weights = np.exp(rng.uniform(math.log(0.01), 0, 30))
    searched = searched.assign(
        kind="search", cell="search", arm=[f"search-{i:04d}" for i in range(30)], value=10 + weights,
        student_params=1 / weights,
    )  # fmt: skip
    searched["hp.anchor_weight"] = weights
    searched["hp.curriculum"] = rng.choice(["transfer", "uniform"], 30)
    searched["hp.student.channels"] = [[8, 12] if x else [12, 16] for x in rng.integers(0, 2, 30)]
    rows = [
        {
            "kind": "confirm", "cell": cell, "block": b, "arm": f"{cell}-b{b}", "hp.anchor_weight": weight,
            "value": value * math.exp(0.02 * rng.normal()),
        }
        for b in range(3)
        for cell, value, weight in (("own", 11.0, 0.5), ("best", 11.0 * better, 0.01))
    ]  # fmt: skip
    confirmed = pd.concat([searched.iloc[:6].drop(columns=list(rows[0])), pd.DataFrame(rows)], axis=1)
    stopped = searched.iloc[:2].assign(arm=["search-0100", "search-0101"], status="stopped", value=math.nan)
    pd.concat([searched, stopped, confirmed], ignore_index=True).to_parquet(folder / "arms.parquet")


def test_search_result_is_confirmed_on_fresh_seeds(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=0.7)
    summary = build_report([folder])
    (answer,) = summary.answers
    assert answer.startswith("best (anchor_weight 0.01")
    assert "lowers fd_digits64 by" in answer
    assert "on 3 fresh seeds" in answer
    page = (folder / "report/index.html").read_text()
    assert page.index("Evidence") < page.index("What the search tried") < page.index("Best arms of the search")
    assert (folder / "report/slices.svg").is_file()
    assert not (folder / "report/front.svg").exists()
    assert "2 searched arms were stopped at a rung" in " ".join(summary.notes)
    assert analyze_part(load_run(folder)).headline.fit.n == 6, "searched arms are no results"


def test_search_without_improvement_is_reported(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=1.0)
    summary = build_report([folder])
    assert summary.answers[0] == "The search found no settings that are distinguishably better than the space's own."
    assert "not distinguishable from" in summary.answers[1]


def test_settings_that_were_lucky_are_called_so(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=1.3)
    summary = build_report([folder])
    assert summary.answers[0].startswith("The search found no settings")
    assert "raises fd_digits64 by" in summary.answers[1]


def test_decisive_setting_ranks_first(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=1.0)
    arms = load_run(folder).arms
    arms = arms[(arms["kind"] == "search") & (arms["status"] == "done")]
    result = importances(arms, SPACE)
    assert set(result) == set(SPACE)
    assert next(iter(result)) == "anchor_weight"
    assert sum(result.values()) == pytest.approx(1)
    assert importances(arms.iloc[:9], SPACE) == {}


def test_front_is_drawn_for_multiple_objectives(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=1.0, objectives=["value", "student_params"])
    build_report([folder])
    assert (folder / "report/front.svg").is_file()
    assert best_table(load_run(folder)).columns[:3] == ("arm", "fd_digits64", "student_params")


def test_arm_that_another_beats_in_all_is_not_on_front() -> None:
    values = np.array([[1.0, 5.0], [2.0, 2.0], [2.0, 3.0], [1.0, 5.0], [3.0, 1.0]])
    assert unbeaten(values).tolist() == [True, True, False, True, True]


def test_fixed_and_retuned_effects_are_compared(make_run: Callable[..., Path]) -> None:
    folder = make_run(kind="tuned_factorial", claims=["anchor.effect > 0.3"])
    arms = pd.read_parquet(folder / "arms.parquet")
    cells = arms[arms["kind"] == "cell"]
    tuned = cells.assign(kind="confirm", arm=cells["arm"].str.replace("-b", "-tuned-b"), value=cells["value"] * 0.8)
    tuned.loc[tuned["cell"] == "base", "value"] *= 0.8  # what tuning makes of base is not what it makes of the others
    searched = tuned.assign(
        kind="search", arm=tuned["arm"] + "-search", value=1.0, comparability_key='{"samples": 50}', block=0
    )
    pd.concat([arms, tuned, searched]).to_parquet(folder / "arms.parquet")
    defaults, retuned = map(analyze_part, parts(load_run(folder)))
    assert defaults.headline.fit.n == retuned.headline.fit.n == 24
    assert defaults.headline.gains["base"].value - retuned.headline.gains["base"].value == pytest.approx(-math.log(0.8))
    assert not defaults.run.missing
    assert not retuned.run.missing
    summary = build_report([folder])
    assert {row[0] for row in summary.claims.rows} == {"demo, own settings", "demo, re-tuned"}
    assert any(answer.startswith("demo, re-tuned: ") for answer in summary.answers)
    assert "no row yet" not in " ".join(summary.notes)
    page = (folder / "report/index.html").read_text()
    assert "Fixed effects:" in page
    assert "Re-tuned effects:" in page
    assert page.count("What the search tried</h2>") == 1


def test_tuned_cell_without_arm_is_missing(make_run: Callable[..., Path]) -> None:
    folder = make_run(kind="tuned_factorial", baselines=())
    arms = pd.read_parquet(folder / "arms.parquet")
    searched = arms[arms["block"] == 0].assign(kind="search", arm=lambda rows: rows["arm"] + "-search")
    arms = arms[arms["arm"] != "base-b0"]
    pd.concat([arms, arms.assign(kind="confirm", arm=arms["arm"] + "-tuned"), searched]).to_parquet(
        folder / "arms.parquet"
    )
    defaults, retuned = parts(load_run(folder))
    assert defaults.missing == retuned.missing == ("base-b0",)


def test_searches_are_mirrored(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    as_search(folder, better=0.7)
    down, up = both(folder)
    best = [best_table(findings.run) for findings in (down, up)]
    assert [row[0] for row in best[0].rows] == [row[0] for row in best[1].rows]
    values = [findings.run.arms.set_index("arm")["value"] for findings in (down, up)]
    assert values[0][best[0].rows[0][0]] == values[0][values[0].index.str.startswith("search")].min()
    assert values[1][best[1].rows[0][0]] == values[1][values[1].index.str.startswith("search")].max()
    assert importance_table(down.run).rows == importance_table(up.run).rows
    assert [swap(answer) for answer in answers(down)] == list(answers(up))
    with style():
        assert slices(up.run) is not None


def over_seeds(folder: Path, seeds: int, scheduler: str) -> pd.DataFrame:
    """Rewrite the search in `folder` to 20 configurations on so many seeds: 4 stopped early, one with a failed arm."""
    as_search(folder, better=0.7, seeds=seeds, scheduler=scheduler)
    arms = pd.read_parquet(folder / "arms.parquet")
    first = arms[arms["kind"] == "search"].iloc[:20]
    rng = np.random.default_rng(1)
    rows = []
    for number, (_, row) in enumerate(first.iterrows()):
        for i in range(2 if number < 4 else seeds):
            value = row["value"] + rng.normal(0, 0.1)
            rows.append(row.to_dict() | {"arm": f"{row['arm']}-s{i}", "seed": i, "block": i, "value": value})
    searched = pd.DataFrame(rows)
    failed = searched["arm"] == "search-0010-s1"
    searched.loc[failed, "status"], searched.loc[failed, "value"] = "failed", math.nan
    pd.concat([searched, arms[arms["kind"] != "search"]], ignore_index=True).to_parquet(folder / "arms.parquet")
    return searched


def test_configurations_are_ranked_by_mean_over_seeds(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    searched = over_seeds(folder, 4, "race")
    summary = build_report([folder])
    complete = searched.groupby("hp.anchor_weight").filter(lambda g: len(g) == 4 and g["value"].notna().all())
    values = complete.groupby("hp.anchor_weight")["value"]
    best = values.get_group(values.mean().idxmin()).to_numpy()
    half = stats.t.ppf(0.975, 3) * best.std(ddof=1) / 2
    row = best_table(load_run(folder)).rows[0]
    assert row[1] == f"{best.mean():.3g} [{best.mean() - half:.3g}, {best.mean() + half:.3g}]"
    numbers = json.loads((folder / "report" / "ablation.json").read_text())["search"]
    counts = {key: numbers[key] for key in ("seeds", "configurations", "stopped_early", "failed", "looks", "level")}
    assert counts == {
        "seeds": 4, "configurations": 20, "stopped_early": 4, "failed": 1, "looks": [2, 3], "level": 0.1
    }  # fmt: skip
    assert numbers["best"]["mean"] == pytest.approx(best.mean())
    assert numbers["best"]["high"] == pytest.approx(best.mean() + half)
    notes = " ".join(summary.notes)
    assert "The best of many is optimistic" in notes
    assert "4 of 20 configurations were stopped early" in notes
    assert "after 2, 3 of 4 seeds (2 looks, each by a paired t-test at 10%, one-sided, not corrected" in notes
    assert "Best configurations of the search" in (folder / "report/index.html").read_text()


def test_search_without_race_names_no_looks(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, baselines=())
    over_seeds(folder, 2, "none")
    notes = " ".join(build_report([folder]).notes)
    assert "The best of many is optimistic" in notes
    assert "stopped early" not in notes
