"""A run folder with a given truth, written as by a sweep."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from branchwise.analysis.report.build import build_report
from branchwise.trainables import load_trainable
from branchwise.trainables.contract import declared
from branchwise.trainables.runtime.storage import Storage

KEY = {"metric": "fd_digits64", "samples": 500, "reference": "digits-train", "extractor": "digits64"}


def names_of_cells(components: Sequence[str]) -> dict[frozenset[str], str]:
    subsets = [frozenset(c) for r in range(len(components) + 1) for c in combinations(components, r)]
    names = {}
    for on in subsets:
        cell_name = "+".join(name for name in components if name in on)
        names[on] = "full" if len(on) == len(components) else cell_name or "base"
    return names


class _Arms:
    def __init__(self, effects: Mapping[str, float], sd: float, block_sd: float, seed: int) -> None:
        self.effects, self.sd, self.block_sd, self.rng = effects, sd, block_sd, np.random.default_rng(seed)

    def rows(self, blocks: int, baselines: Sequence[str], key: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for block in range(blocks):
            shift = self.rng.normal(0, self.block_sd)
            cells = names_of_cells(list(self.effects)).items()
            plan: list[tuple[str, frozenset[str] | None, str]] = [(name, on, "cell") for on, name in cells]
            plan += [(name, None, "baseline") for name in baselines]
            for cell, on, kind in plan:
                gain = sum(self.effects[name] for name in on) if on is not None else 0.2
                log_value = math.log(130) - gain + shift + self.rng.normal(0, self.sd)
                repeats = np.exp(log_value + self.rng.normal(0, 0.01, 3))
                rows.append({
                    "sweep": "demo", "trial": f"t{block}", "arm": f"{cell}-b{block}", "block": block, "seed": block,
                    "kind": kind, "cell": cell, "status": "done", "error": None, "metric": "fd_digits64",
                    **{f"component.{name}": None if on is None else name in on for name in self.effects},
                    "value": float(repeats.mean()), "value_repeats": repeats.tolist(), "kid": 0.1, "rho": 0.9,
                    "cos_delta": 0.8, "gap_mse": 0.02, "relative_gap": 0.3, "teacher": "taught", "teacher_value": 24.0,
                    "inception_score": np.nan, "steps": 400, "train_seconds": 30.0, "eval_seconds": 3.0,
                    "comparability_key": json.dumps(dict(key), sort_keys=True), "student_sha256": "0" * 64,
                })  # fmt: skip
        return rows


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(name, effects={component: log gain}, blocks, sd, drop=arm names, lost={arm: status}, ...) -> folder."""
    return run_maker(tmp_path)


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything in it and its report, shared by the tests that only read it."""
    claims = ["uncond_branch.share > 0.60", "equivalent(anchor, 10%)", "anchor.effect > 0.3"]
    folder = run_maker(tmp_path_factory.mktemp("whole"))(
        blocks=5, evidence=True, claims=[*claims, "full.value - teacher.value < 80"]
    )
    build_report([folder])
    return folder


def run_maker(parent: Path) -> Callable[..., Path]:
    def make(
        name: str = "demo",
        effects: Mapping[str, float] = {"uncond_branch": 0.5, "anchor": 0.02, "curriculum_transfer": 0.12},
        blocks: int = 3,
        sd: float = 0.04,
        block_sd: float = 0.08,
        seed: int = 0,
        drop: Sequence[str] = (),
        failed: Mapping[str, str] = {},
        claims: Sequence[str] = (),
        baselines: Sequence[str] = ("scratch", "composite"),
        kind: str = "factorial",
        key: Mapping[str, Any] = KEY,
        columns: Sequence[str] | None = None,
        evidence: bool = False,
    ) -> Path:
        folder = parent / name
        folder.mkdir()
        components = {component: {"off": {f"{component}_weight": 0}} for component in effects}
        space = {
            "name": name, "trainable": "dash", "data": {"name": "digits"}, "train": {"steps": 400},
            "design": {"kind": kind, "components": components, "baselines": list(baselines), "blocks": blocks,
                       "claims": list(claims)},
        }  # fmt: skip
        (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
        write_plan(folder, list(effects), blocks, baselines, kind)
        rows = _Arms(effects, sd, block_sd, seed).rows(blocks, baselines, key)
        rows = [row for row in rows if row["arm"] not in drop]
        for row in rows:
            if row["arm"] in failed:
                row |= {"status": failed[row["arm"]], "value": math.nan, "value_repeats": None, "error": "nan loss"}
        (folder / "manifest.json").write_text(json.dumps({"format": 2, "name": name, "arms": len(rows) + len(drop)}))
        frame = pd.DataFrame(rows)
        if columns is not None:
            frame = frame[list(columns)]
        frame.to_parquet(folder / "arms.parquet")
        if evidence:
            write_evidence(folder, frame)
        return folder

    return make


def write_plan(folder: Path, components: Sequence[str], blocks: int, baselines: Sequence[str], kind: str) -> None:
    """The plan.json of a design without searches."""
    cells: list[dict[str, Any]] = [
        {"cell": name, "kind": "cell", "patch": {}, "components": {c: c in on for c in components}}
        for on, name in names_of_cells(components).items()
        if components and (kind != "leave_one_out" or len(on) >= len(components) - 1)
    ]
    cells.sort(key=lambda cell: sum(on << i for i, on in enumerate(cell["components"].values())))
    cells += [{"cell": name, "kind": "baseline", "patch": {}, "components": {}} for name in baselines]
    Storage(str(folder)).write_json(
        "plan.json",
        {
            "format": 2,
            "design": kind,
            "components": list(components),
            "factors": [{"name": name} for name in components],
            "outcomes": ["value"],
            "blocks": list(range(blocks)),
            "cells": cells,
            "parts": [
                {"name": "own settings", "kinds": ["cell", "baseline"], "question": "Fixed effects: ..."},
                {"name": "re-tuned", "kinds": ["search", "confirm", "baseline"], "question": "Re-tuned effects: ..."},
            ]
            if kind == "tuned_factorial"
            else [{"name": "", "kinds": ["cell", "baseline"], "question": ""}],
            **declared(load_trainable("dash")),
        },
    )


def write_evidence(folder: Path, arms: pd.DataFrame) -> None:
    """Curves, gaps, guidance and sample grids of each arm."""
    from matplotlib.image import imsave

    rng = np.random.default_rng(0)
    base = arms[["sweep", "arm", "block", "cell"]]
    curves = base.merge(pd.DataFrame({"step": range(0, 400, 20)}), how="cross")
    curves["loss"] = np.exp(-curves["step"] / 200) + rng.uniform(0, 0.05, len(curves))
    curves["loss_imitation"] = curves["loss"] / 2
    curves.to_parquet(folder / "curves.parquet")
    gaps = base.merge(pd.DataFrame({"bin": range(10)}), how="cross")
    gaps["t_low"], gaps["t_high"] = gaps["bin"] * 100, gaps["bin"] * 100 + 100
    gaps["rho"] = 0.7 + 0.05 * gaps["bin"] + rng.normal(0, 0.02, len(gaps))
    gaps["relative_gap"] = 0.4 - 0.03 * gaps["bin"] + rng.uniform(0, 0.02, len(gaps))
    gaps.to_parquet(folder / "gaps.parquet")
    guidance = base.merge(pd.DataFrame({"guidance": [1.0, 1.5, 2.0, 3.0]}), how="cross")
    guidance["value"] = 60 + 20 * (guidance["guidance"] - 1.5) ** 2 + rng.uniform(0, 5, len(guidance))
    guidance.to_parquet(folder / "guidance.parquet")
    for arm in arms.loc[arms["block"] == 0, "arm"]:
        (folder / "students" / arm).mkdir(parents=True)
        imsave(folder / "students" / arm / "samples.png", rng.uniform(0, 1, (32, 64)), cmap="gray")
    teacher = folder.parent / "teachers/taught"
    teacher.mkdir(parents=True)
    imsave(teacher / "samples.png", rng.uniform(0, 1, (32, 64)), cmap="gray")
