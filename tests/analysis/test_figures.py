"""Plots fit for a paper: readable axes, a style per cell, few curves a panel, samples tile by tile."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from branchwise.analysis.declared.factors import Factor, cell_of, combinations
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.figures import SINGLE_COLUMN, TWO_COLUMNS, log_y, new_figure, style
from branchwise.analysis.report.plots import evidence
from branchwise.analysis.report.plots.axes import percent_ticks, span
from branchwise.analysis.report.plots.palette import cell_color, cell_title, in_order
from branchwise.analysis.report.plots.samples import SampleGrid, read_grid, sample_rows
from branchwise.analysis.statistics.findings import analyze_part
from branchwise.analysis.statistics.model import Estimate
from branchwise.run_files.columns import Better, Column

BRANCH = Factor(name="branch", label="Second branch")
DOSE = Factor(name="dose", levels=("none", "low", "paper"), reference="none", full="paper", doses=(0.0, 0.03, 0.1),
              label="Anchor weight")  # fmt: skip
KIND = Factor(name="kind", levels=("plain", "learned"), reference="plain", full="learned")
FACTORS = (BRANCH, DOSE, KIND)
EFFECTS = {"on": 0.5, "low": 0.05, "paper": 0.2, "learned": 0.1}


@pytest.fixture(scope="module")
def leveled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of factors with levels, with two outcomes, values along the way and a floor, and its report."""
    folder = tmp_path_factory.mktemp("leveled") / "leveled"
    folder.mkdir()
    names = [factor.name for factor in FACTORS]
    cells = [dict(zip(names, levels, strict=True)) for levels in combinations(FACTORS)]
    states = [{name: {"on": True, "off": False}.get(level, level) for name, level in item.items()} for item in cells]
    rng, rows, along = np.random.default_rng(0), [], []
    for block in range(5):
        shift = rng.normal(0, 0.1)
        for levels, state in zip(cells, states, strict=True):
            gain = sum(EFFECTS.get(level, 0.0) for level in levels.values())
            cell = cell_of(FACTORS, levels)
            arm_values = {"arm": f"{cell}-b{block}", "block": block, "cell": cell}
            rows.append(arm_values | {
                "kind": "cell", "seed": block, "status": "done", "metric": "fd_digits64", "steps": 400,
                "value": math.exp(-gain + shift + rng.normal(0, 0.04)),
                "accuracy": 1 / (1 + math.exp(-1 - gain + rng.normal(0, 0.04))),
                "teacher_value": 0.2, "floor_halves": 0.05, **{f"component.{k}": v for k, v in state.items()},
            })  # fmt: skip
            for step, part in ((100, 0.4), (200, 0.8)):
                along.append(
                    arm_values | {"step": step, "value": 2 * math.exp(-part * gain + shift + rng.normal(0, 0.05))}
                )
    pd.DataFrame(rows).to_parquet(folder / "arms.parquet")
    pd.DataFrame(along).to_parquet(folder / "budgets.parquet")
    space = {"name": "leveled", "design": {"components": {name: {} for name in names}, "claims": ["dose.trend > 0"]}}
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    columns = [asdict(column) for column in (
        Column(name="value", better="lower"), Column(name="accuracy", better="higher", scale="logit"),
        Column(name="floor_halves", about="real images, two halves"),
    )]  # fmt: skip
    plan = {
        "format": 2, "design": "factorial", "components": names, "factors": [entry.described() for entry in FACTORS],
        "outcomes": ["value", "accuracy"], "blocks": list(range(5)), "columns": columns, "lines": [],
        "parts": [{"name": "", "kinds": ["cell"], "question": ""}],
        "cells": [{"cell": cell_of(FACTORS, levels), "kind": "cell", "patch": {}, "components": state}
                  for levels, state in zip(cells, states, strict=True)],
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    build_report([folder])
    return folder


def svg_texts(file: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())


def test_levels_doses_budgets_and_outcomes_are_drawn(leveled: Path) -> None:
    names = {path.stem for path in (leveled / "report").glob("*.svg")}
    assert {"levels", "budget_effects", "outcomes", "attribution", "cells", "interactions"} <= names
    levels = svg_texts(leveled / "report/levels.svg")
    assert {"0", "0.03", "0.1", "plain", "learned", "Anchor weight"} <= set(levels)
    assert any(text.startswith("trend p") for text in levels)
    assert {"100", "200", "400", "training steps", "Second branch"} <= set(
        svg_texts(leveled / "report/budget_effects.svg")
    )
    outcomes = svg_texts(leveled / "report/outcomes.svg")
    assert {"primary outcome", "lowers fd_digits64 by (log scale)", "raises accuracy by (points)"} <= set(outcomes)


def test_outcome_is_tested_after_primary(leveled: Path, tmp_path: Path) -> None:
    def p_values(folder: Path) -> dict[str, set[str]]:
        lines = (folder / "report/ablation.md").read_text().split("## By outcome")[1].split("## ")[0].splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
        return {name: {row[-1] for row in rows if row[0] == name} for name in ("fd_digits64", "accuracy")}

    assert "not tested" not in p_values(leveled)["fd_digits64"] | p_values(leveled)["accuracy"]
    noise = shutil.copytree(leveled, tmp_path / "leveled", ignore=shutil.ignore_patterns("report"))
    arms = pd.read_parquet(noise / "arms.parquet")
    arms["value"] = np.random.default_rng(1).lognormal(0, 0.1, len(arms))
    arms.to_parquet(noise / "arms.parquet")
    build_report([noise])
    values = p_values(noise)
    assert values["accuracy"] == {"not tested"}, "though its effects are plain: a test was not promised"
    assert "not tested" not in values["fd_digits64"]


def test_components_are_called_by_their_labels(leveled: Path) -> None:
    page = (leveled / "report/index.html").read_text()
    assert ">Second branch<" in page
    assert "Second branch: lowers fd_digits64 by" in page
    assert "Second branch" in (leveled / "report/ablation.md").read_text()
    assert {"component", "branch"} <= set((leveled / "report/ablation.csv").read_text().replace("\n", ",").split(","))
    assert "Second branch + Anchor weight: low" in (leveled / "report/table-cells.tex").read_text()


def test_cells_show_teacher_and_floor(leveled: Path) -> None:
    assert {"teacher", "real images, two halves"} <= set(svg_texts(leveled / "report/cells.svg"))


def test_effects_are_in_percent_and_interactions_have_intervals(full_run: Path) -> None:
    for name in ("attribution", "interactions", "standings", "cells"):
        texts = svg_texts(full_run / f"report/{name}.svg")
        assert sum(text.endswith("%") for text in texts) >= 3, texts
        assert any("lowers fd_digits64 by (log scale)" in text for text in texts)
    findings = analyze_part(load_run(full_run))
    drawn = (full_run / "report/interactions.svg").read_text()
    # A line and a mark for each of 3 main effects and 4 interactions.
    assert len(findings.headline.interactions) == 4
    assert drawn.count("stroke-width: 1.5") >= 7


def test_plots_span_single_or_double_column(full_run: Path, leveled: Path) -> None:
    for file in [*(full_run / "report").glob("*.svg"), *(leveled / "report").glob("*.svg")]:
        width = float(ElementTree.parse(file).getroot().attrib["width"].removesuffix("pt")) / 72
        assert SINGLE_COLUMN - 0.1 <= width <= TWO_COLUMNS + 0.1, file


@given(st.floats(-3, 2), st.floats(0.05, 4), st.sampled_from(["lower", "higher"]))
def test_percent_ticks_are_round_and_spaced(low: float, width: float, better: Better) -> None:
    ticks = percent_ticks(Outcome(better=better), low, low + width)
    assert len(ticks) <= 8
    for (effect, label), (following, _) in pairwise([*ticks, (math.inf, "")]):
        assert following - effect >= width / 7
        ratio = 1 - math.exp(-effect) if better == "lower" else math.exp(effect) - 1
        assert float(label.rstrip("%").replace("\N{MINUS SIGN}", "-")) == pytest.approx(100 * ratio, rel=0.01, abs=1e-9)


@given(st.floats(-4, 4), st.floats(0.01, 4))
def test_log_axes_have_enough_labels(start: float, decades: float) -> None:
    with style():
        _, (axes,) = new_figure(3, 2)
        axes.plot([0, 1], [10**start, 10 ** (start + decades)])
        log_y(axes)
        low, high = axes.get_ylim()
        ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert 3 <= len(ticks) <= 14


def test_infinite_interval_keeps_axis_range() -> None:
    low, high = span([Estimate(value=0.1, low=-50.0, high=50.0), Estimate(value=0.2, low=0.1, high=0.3)])
    assert -1 < low < 0 < 0.3 < high < 1


def test_cells_have_distinct_stable_colors(full_run: Path) -> None:
    run = load_run(full_run)
    order = in_order(run)
    assert order[:2] == ["base", "uncond_branch"]
    assert order[-3:] == ["full", "scratch", "composite"]
    assert len({cell_color(run, cell) for cell in order}) == len(order) == 10


def test_cells_as_text(leveled: Path) -> None:
    run = load_run(leveled)
    assert cell_title(run, "branch+dose=low") == "Second branch + Anchor weight:\nlow"
    assert cell_title(run, "full") == "full"


def test_panels_hold_five_curves_and_all_cells_appear(full_run: Path) -> None:
    run = load_run(full_run)
    with style():
        plots = evidence.line_plots(run)
    assert len(plots) == 3
    for plot in plots:
        legends = [axes.get_legend_handles_labels()[1] for axes in plot.figure.axes]
        assert all(len(axes.lines) <= 6 for axes in plot.figure.axes)  # four cells, the full method in grey, a level
        assert all(1 <= len(labels) <= 4 for labels in legends)
        assert {label for labels in legends for label in labels} == {cell_title(run, cell) for cell in in_order(run)}


def test_losses_with_different_terms_have_separate_axes(full_run: Path) -> None:
    drawn = next(lines for lines in load_run(full_run).outline.plots if lines.name == "training")
    assert "loss" not in [column.name for column in drawn.y]


def picture(path: Path, tiles: int, tile: int = 8, description: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    described = PngInfo()
    described.add_text("Tile", f"{tile}x{tile}")
    described.add_text("Description", description)
    pixels = np.repeat(np.arange(tiles, dtype=np.uint8), tile)[None].repeat(tile, axis=0)
    Image.fromarray(pixels).save(path, pnginfo=described)


def test_sample_tiles_follow_real_images_and_teacher(make_run: Callable[..., Path]) -> None:
    folder = make_run(blocks=2)
    for arm in pd.read_parquet(folder / "arms.parquet")["arm"]:
        picture(folder / f"students/{arm}/samples.png", tiles=10)
    picture(folder.parent / "teachers/abc/samples.png", tiles=10, description="seed 0")
    picture(folder.parent / "teachers/abc/real.png", tiles=10)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"teachers": [{"key": "abc", "cells": ["full"]}]}))
    grid = read_grid(folder / "students/full-b0/samples.png")
    assert isinstance(grid, SampleGrid)
    assert grid.tiles.shape == (10, 8, 8, 3)
    assert [int(tile[0, 0, 0]) for tile in grid.tiles] == list(range(10))
    with style():
        plot = sample_rows(load_run(folder))
    assert plot is not None
    assert "<image" in plot.svg
    names = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    assert names[:3] == ["real images", "teacher", "base"]
    assert "teacher: seed 0" in plot.alt


def test_pictures_for_readme(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "docs/pictures.py"), str(root / "tests/data/runs/ablation"), "--out"]
    first = subprocess.run([*command, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    names = {f"{name}-{theme}.svg" for name in ("board", "attribution") for theme in ("light", "dark")}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    for name in ("board", "attribution"):
        light, dark = ((tmp_path / f"a/{name}-{theme}.svg").read_text() for theme in ("light", "dark"))
        ElementTree.fromstring(light)
        assert "#222222" in light
        assert "#222222" not in dark
        assert "<text" not in light
    assert first.stdout.count("prefers-color-scheme: dark") == 2
    assert "uncond_branch.share &gt; 0.60: not shown" in first.stdout
    subprocess.run([*command, str(tmp_path / "b")], capture_output=True, check=True)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
