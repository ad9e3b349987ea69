"""Runs with minus their values, of which more is better: what is reported for them is the mirror image."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from branchwise.analysis.records.folder import load_run
from branchwise.analysis.statistics.findings import Findings, analyze_part
from branchwise.run_files.sealing import sealed_json

SWAPPED = {"lowers": "raises", "raises": "lowers", "lower": "higher", "higher": "lower"}


def mirrored(folder: Path) -> Path:
    """A copy of the run with minus its values, of which more is better."""
    copy = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-mirrored")))
    arms = pd.read_parquet(copy / "arms.parquet")
    arms["value_repeats"] = [None if x is None else (-np.asarray(x)).tolist() for x in arms["value_repeats"]]
    arms.assign(value=-arms["value"], teacher_value=-arms["teacher_value"]).to_parquet(copy / "arms.parquet")
    return copy


def declare(folder: Path, better: str) -> Path:
    plan = json.loads((folder / "plan.json").read_text())
    plan.pop("sha256", None)
    for column in plan["columns"]:
        if column["name"] == "value":
            column |= {"better": better, "scale": "identity"}
    (folder / "plan.json").write_bytes(sealed_json(plan))
    return folder


def both(folder: Path) -> tuple[Findings, Findings]:
    other = declare(mirrored(folder), "higher")
    down, up = (analyze_part(load_run(run)) for run in (declare(folder, "lower"), other))
    return down, replace(up, run=replace(up.run, name=down.run.name))


def swap(text: str) -> str:
    return re.sub("|".join(SWAPPED), lambda match: SWAPPED[match[0]], text)
