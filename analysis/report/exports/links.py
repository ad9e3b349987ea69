"""Links of a page to the settings, record, model and log of each arm, next to the report."""

from __future__ import annotations

import os
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import quote

from branchwise.analysis.records.run import Run
from branchwise.analysis.report.text import number

FOLDERS = {"space.yaml": "its settings", "plan.json": "what was laid out", "students": "the students",
           "logs": "the logs"}  # fmt: skip


def folder_links(run: Run, target: Path) -> dict[str, str]:
    """Return links from the page in `target` to existing files of the run folder, by purpose."""
    return {folder: link for name, folder in FOLDERS.items() if (link := _link(run, target, name))}


def arm_rows(run: Run, target: Path, limit: int) -> list[dict[str, Any]]:
    """Return the first `limit` arms with settings in which they differ, and links to files."""
    arms = run.arms.sort_values(["block", "arm"]).head(limit)
    settings = [str(column) for column in arms.columns if str(column).startswith("hp.")]
    rows = []
    for arm in arms.astype(object).to_dict("records"):
        name = str(arm["arm"])
        rows.append(
            {key: arm.get(key) for key in ("arm", "cell", "block", "seed", "status", "value", "error")}
            | {
                "settings": ", ".join(f"{key[3:]} {_printable(arm[key])}" for key in settings if not _absent(arm[key])),
                "record": _link(run, target, f"arms/{name}.json"),
                "student": _link(run, target, f"students/{name}"),
                "log": _link(run, target, f"logs/{arm.get('trial')}.txt"),
            }
        )
    return rows


def _printable(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def _link(run: Run, target: Path, name: str) -> str:
    """Relative path from the page to a file or folder of the run; empty where that is missing."""
    path = run.folder / name
    if not path.exists():
        return ""
    return quote(os.path.relpath(path, target), safe="/+=") + ("/" if path.is_dir() else "")
