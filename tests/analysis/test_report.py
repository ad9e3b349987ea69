"""The report, from run folders with a given truth and from poor ones."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.records.comparing import IncomparableError
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.numbers import csv_rows
from branchwise.analysis.statistics.findings import analyze_part

CLAIMS = ["uncond_branch.share > 0.60", "equivalent(anchor, 10%)", "anchor.effect > 0.3"]
PROMISED = ["shapley", "shapley_low", "shapley_high", "p_holm", "share", "share_low", "share_high", "leave_one_out",
            "add_one_in"]  # fmt: skip
COMPONENTS = ("uncond_branch", "anchor", "curriculum_transfer")


def rows(folder: Path, name: str = "report") -> dict[str, dict[str, str]]:
    with (folder / name / "ablation.csv").open(newline="") as file:
        return {row["component"]: row for row in csv.DictReader(file)}


def test_numbers_of_complete_run(full_run: Path) -> None:
    table = rows(full_run)
    columns = list(table["anchor"])
    assert columns[:19] == ["component", *PROMISED, *(f"raw_{c}" for c in PROMISED)]
    for component, truth in zip(COMPONENTS, (0.5, 0.02, 0.12), strict=True):
        row = {key: float(value) for key, value in table[component].items() if key != "component"}
        assert row["shapley_low"] < truth < row["shapley_high"]
        assert row["shapley_low"] < row["shapley"] < row["shapley_high"]
        assert row["leave_one_out_low"] < row["leave_one_out"] < row["leave_one_out_high"]
        assert abs(row["raw_shapley"]) > 1  # in units of the metric
    for column in ("share", "raw_share"):
        assert sum(float(row[column]) for row in table.values()) == pytest.approx(1, abs=1e-12)


def test_csv_agrees_with_computation_by_hand(full_run: Path) -> None:
    arms = pd.read_parquet(full_run / "arms.parquet")
    v = -np.log(arms.pivot_table(index="block", columns="cell", values="value")).mean()
    weights = {"anchor": (1 / 3, "base"), "uncond_branch+anchor": (1 / 6, "uncond_branch"),
               "anchor+curriculum_transfer": (1 / 6, "curriculum_transfer"),
               "full": (1 / 3, "uncond_branch+curriculum_transfer")}  # fmt: skip
    expected = sum(weight * (v[on] - v[off]) for on, (weight, off) in weights.items())
    assert float(rows(full_run)["anchor"]["shapley"]) == pytest.approx(expected, abs=1e-9)


def test_numbers_link_to_their_arms(full_run: Path) -> None:
    report = json.loads((full_run / "report" / "ablation.json").read_text())
    cells = {row["cell"]: row for row in report["cells"]}
    shapley = report["contrasts"]["log"]["shapley"]["anchor"]
    arms = {row["arm"]: row["value"] for row in report["arms"]}
    repeated = sum(w * np.mean([-math.log(arms[a]) for a in cells[c]["arms"]]) for c, w in shapley["weights"].items())
    assert shapley["value"] == pytest.approx(repeated, abs=1e-12)
    assert [claim["verdict"] for claim in report["claims"]] == ["supported", "supported", "refuted", "supported"]
    assert report["model"]["df"] == 28
    assert report["comparability_key"]["metric"] == "fd_digits64"


def test_margin_is_printed_on_effect_scale(full_run: Path) -> None:
    rows_by_claim = {row[0]: row for row in build_report([full_run]).claims.rows}
    row = next(row for claim, row in rows_by_claim.items() if "equivalent(anchor, 10%)" in claim)
    assert "claimed within -10.0% to 9.1%" in row[2]  # 1.1 times worse, 1.1 times better


def test_plots_are_saved_as_png_and_svg(full_run: Path) -> None:
    names = {"attribution", "waterfall", "cells", "interactions", "calibration", "training", "guidance", "samples",
             "standings"}  # fmt: skip
    for end in ("png", "svg"):
        assert {path.stem for path in (full_run / "report").glob(f"*.{end}")} == names


def test_reports_are_equal_for_equal_inputs(full_run: Path) -> None:
    before = {path.name: path.read_bytes() for path in (full_run / "report").iterdir()}
    build_report([full_run])
    assert {path.name: path.read_bytes() for path in (full_run / "report").iterdir()} == before


def test_page_is_self_contained(full_run: Path) -> None:
    page = (full_run / "report" / "index.html").read_text()
    loaded = re.sub(r"<a [^>]*>", "", page)  # links load no files
    outside = re.findall(r"""(?:src|href|xlink:href)=["'](?!data:|#)([^"']+)""", loaded)
    assert outside == []
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert page.count("<svg") == 9
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.index("What each component is worth</caption>") < page.index("Evidence</h2>")


def test_distance_records_sample_count(full_run: Path) -> None:
    for name in ("index.html", "ablation.md"):
        assert "fd_digits64 on 500 samples" in (full_run / "report" / name).read_text()


def test_texts_of_run_are_escaped(make_run: Callable[..., Path]) -> None:
    folder = make_run(failed={"anchor-b0": "failed"})
    arms = pd.read_parquet(folder / "arms.parquet")
    arms.loc[arms["arm"] == "anchor-b0", "error"] = "<script>alert(1)</script>"
    arms.to_parquet(folder / "arms.parquet")
    build_report([folder])
    page = (folder / "report" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_markdown(full_run: Path) -> None:
    markdown = (full_run / "report" / "ablation.md").read_text()
    assert "| uncond_branch |" in markdown
    assert "±" in markdown


def test_failed_and_missing_arms_are_named(make_run: Callable[..., Path]) -> None:
    folder = make_run(drop=["anchor-b0", "scratch-b2"], failed={"base-b1": "diverged", "full-b2": "failed"})
    summary = build_report([folder])
    notes = " ".join(summary.notes)
    for entry in ("anchor-b0, scratch-b2", "1 arm diverged: base-b1", "1 arm failed: full-b2", "failed in base, full"):
        assert entry in notes
    row = rows(folder)["uncond_branch"]
    assert float(row["shapley_low"]) < 0.5 < float(row["shapley_high"])
    page = (folder / "report" / "index.html").read_text()
    assert "base-b1" in page


def test_empty_cell_names_missing_contrasts(make_run: Callable[..., Path]) -> None:
    folder = make_run(drop=[f"anchor-b{b}" for b in range(3)], claims=CLAIMS)
    summary = build_report([folder])
    notes = " ".join(summary.notes)
    assert "Without a finished arm in anchor these cannot be estimated: shapley of uncond_branch" in notes
    assert "leave-one-out" not in notes
    row = rows(folder)["anchor"]
    assert row["shapley"] == row["share"] == row["add_one_in"] == ""
    assert float(row["leave_one_out"])
    assert [row[1] for row in summary.claims.rows] == ["not judged: 0 of 3 blocks"] * 3


def test_single_block_has_no_intervals(make_run: Callable[..., Path]) -> None:
    folder = make_run(blocks=1)
    summary = build_report([folder])
    row = rows(folder)["uncond_branch"]
    assert float(row["shapley"])
    assert row["shapley_low"] == row["share"] == row["p_holm"] == ""
    assert "at least two blocks" in " ".join(summary.notes)


def test_no_arm_yet(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    (folder / "arms.parquet").unlink()
    (folder / "manifest.json").unlink()
    summary = build_report([folder])
    assert "No arm has finished" in summary.notes[0]
    assert [row["shapley"] for row in rows(folder).values()] == [""] * 3


def test_all_arms_failed(make_run: Callable[..., Path]) -> None:
    folder = make_run(blocks=1, baselines=())
    arms = pd.read_parquet(folder / "arms.parquet").assign(status="diverged", value=math.nan)
    arms.to_parquet(folder / "arms.parquet")
    assert "8 arms diverged" in " ".join(build_report([folder]).notes)


def test_single_component(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={"anchor": 0.3}, blocks=4, baselines=())
    build_report([folder])
    row = rows(folder)["anchor"]
    assert float(row["share"]) == 1.0
    assert row["shapley"] == row["leave_one_out"] == row["add_one_in"]


def test_six_components(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={f"part{i}": 0.1 * i for i in range(6)}, blocks=2, baselines=())
    build_report([folder])
    assert sum(float(row["share"]) for row in rows(folder).values()) == pytest.approx(1, abs=1e-12)


def test_no_components(make_run: Callable[..., Path]) -> None:
    folder = make_run(effects={}, blocks=2)
    summary = build_report([folder])
    assert "no components" in " ".join(summary.notes)
    assert rows(folder) == {}


def test_leave_one_out_design(make_run: Callable[..., Path]) -> None:
    keep = {"full", "anchor+curriculum_transfer", "uncond_branch+curriculum_transfer", "uncond_branch+anchor"}
    folder = make_run(kind="leave_one_out", claims=["anchor.leave_one_out > 0"])
    arms = pd.read_parquet(folder / "arms.parquet")
    arms[arms["cell"].isin(keep)].to_parquet(folder / "arms.parquet")
    summary = build_report([folder])
    row = rows(folder)["uncond_branch"]
    assert float(row["leave_one_out_low"]) < 0.5 < float(row["leave_one_out_high"])
    assert row["shapley"] == ""
    assert "too few cells for Shapley values" in " ".join(summary.notes)
    assert analyze_part(load_run(folder)).run.missing == tuple(
        f"{name}-b{block}" for block in range(3) for name in ("scratch", "composite")
    )


def test_trainable_with_few_columns(make_run: Callable[..., Path]) -> None:
    columns = ["arm", "block", "kind", "cell", "status", "value"]
    folder = make_run(columns=columns, claims=["full.value < teacher.value", "anchor.share < 0.5"])
    summary = build_report([folder])
    assert [row[1] for row in summary.claims.rows] == ["not shown", "supported"]
    assert float(rows(folder)["uncond_branch"]["shapley"]) == pytest.approx(0.5, abs=0.1)


def test_values_that_have_no_log(make_run: Callable[..., Path]) -> None:
    folder = make_run(claims=["anchor.effect > 0"])
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["value"] -= 80
    arms.to_parquet(folder / "arms.parquet")
    summary = build_report([folder])
    assert "where the log scale has no value" in " ".join(summary.notes)
    row = rows(folder)["uncond_branch"]
    assert row["shapley"] == ""
    assert float(row["raw_shapley"]) > 30


def test_cells_named_in_another_order_are_same_cells(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    before = csv_rows(analyze_part(load_run(folder)))
    arms = pd.read_parquet(folder / "arms.parquet")
    arms["cell"] = arms["cell"].map(lambda cell: "+".join(reversed(cell.split("+"))))
    arms.to_parquet(folder / "arms.parquet")
    assert csv_rows(analyze_part(load_run(folder))) == before


def test_baseline_does_not_touch_components(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    before = csv_rows(analyze_part(load_run(folder)))
    arms = pd.read_parquet(folder / "arms.parquet")
    arms.loc[arms["arm"] == "scratch-b0", "value"] = 9000.0
    arms.to_parquet(folder / "arms.parquet")
    assert csv_rows(analyze_part(load_run(folder))) == before


def test_incomparable_values_are_refused(make_run: Callable[..., Path], tmp_path: Path) -> None:
    key = {"metric": "fd_digits64", "samples": 1000, "reference": "digits-train", "extractor": "digits64"}
    first, second = make_run("first"), make_run("second", key=key)
    with pytest.raises(IncomparableError, match="samples is 500 against 1000"):
        build_report([first, second], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    arms = pd.read_parquet(first / "arms.parquet")
    arms.loc[3, "comparability_key"] = json.dumps({"metric": "fd_digits64", "samples": 500})
    arms.to_parquet(first / "arms.parquet")
    with pytest.raises(IncomparableError, match="extractor is 'digits64' against None; reference is"):
        build_report([first])
    assert not (first / "report").exists()


def test_multiple_runs_in_report(make_run: Callable[..., Path], tmp_path: Path) -> None:
    first, second = make_run("first"), make_run("second", blocks=4, seed=3)
    summary = build_report([first, second], tmp_path / "both")
    with (tmp_path / "both" / "ablation.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == ["first"] * 3 + ["second"] * 3
    assert len(summary.cells) == 2
    page = (tmp_path / "both" / "index.html").read_text()
    assert "Settings that differ" in page
    assert "design.blocks" in page
    assert len(json.loads((tmp_path / "both" / "ablation.json").read_text())["runs"]) == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    with pytest.raises(RunFolderError, match="--out"):
        build_report([first, second])


def test_report_replaces_only_report(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="not a report"):
        build_report([folder], precious)
    assert (precious / "thesis.txt").read_text() == "years of work"
    build_report([folder])
    (folder / "report" / "stale.png").write_bytes(b"")
    build_report([folder])
    assert not (folder / "report" / "stale.png").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_failure_leaves_old_report_and_no_debris(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run()
    build_report([folder])
    before = {path.name: path.read_bytes() for path in (folder / "report").iterdir()}

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("branchwise.analysis.report.build.write", full_disk)
    with pytest.raises(RunFolderError, match="the report cannot be written: no space left on device"):
        build_report([folder])
    assert {path.name: path.read_bytes() for path in (folder / "report").iterdir()} == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_unreadable_claim_is_reported(make_run: Callable[..., Path]) -> None:
    folder = make_run(claims=["anchor.shre > 1"])
    assert "Not judged: claim 'anchor.shre > 1': shre is no quantity" in " ".join(build_report([folder]).notes)


def test_folder_without_plan_is_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    (folder / "plan.json").unlink()
    with pytest.raises(RunFolderError, match=r"demo is not a run folder: it has no plan\.json"):
        load_run(folder)
