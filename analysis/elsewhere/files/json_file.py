"""JSON: the runs of W&B's API, plain records as a list, or one record a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from branchwise.analysis.elsewhere.files.content import first_bytes, read_content
from branchwise.analysis.elsewhere.files.exports import recognize_export, wandb_table
from branchwise.analysis.elsewhere.reader import Reader
from branchwise.analysis.elsewhere.run_table import SETTING, RunTable, as_settings, from_records
from branchwise.analysis.records.damage import RunFolderError

SUFFIXES = (".json", ".jsonl", ".ndjson")


def recognizes(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return path.is_file() and (
        any(suffix in SUFFIXES for suffix in suffixes) or first_bytes(path, 512).lstrip()[:1] in (b"{", b"[")
    )


def read(path: Path) -> RunTable:
    content = read_content(path)
    text = content.data.decode("utf-8").lstrip("\ufeff")
    if not text.strip():
        raise RunFolderError(f"{path} is empty")
    runs = _runs(path, text)
    if any(isinstance(run.get("config"), Mapping | str) or isinstance(run.get("summary"), Mapping) for run in runs):
        return wandb_table(runs, content.notes)
    return recognize_export(path, from_records([_flat(run) for run in runs], notes=content.notes))


def _runs(path: Path, text: str) -> list[Mapping[str, Any]]:
    """The runs in a list, in `{"runs": [...]}`, or a line each."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return _lines(path, text)
    runs = content.get("runs", content) if isinstance(content, Mapping) else content
    if isinstance(runs, Mapping) and "\n" not in text.strip():
        runs = [runs]
    if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
        raise RunFolderError(f"{path} is not a list of runs; write [{{...}}, ...], or one {{...}} a line")
    return runs


def _lines(path: Path, text: str) -> list[Mapping[str, Any]]:
    runs: list[Mapping[str, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            run = json.loads(line)
        except json.JSONDecodeError as error:
            what = "is cut off or damaged" if runs else "is not JSON"
            raise RunFolderError(f"{path}, line {number}: {what} ({error.msg}); correct or remove it") from error
        if not isinstance(run, Mapping):
            raise RunFolderError(f"{path}, line {number}: it is not a run; write one {{...}} a line")
        runs.append(run)
    return runs


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """A plain record; null is no value at its top, and the value None in a nested mapping of settings."""
    flat: dict[str, Any] = {}
    for key, value in run.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{name.removeprefix(SETTING)}": item for name, item in as_settings(value).items()}
        else:
            flat[key] = value
    return flat


READER = Reader(
    name="JSON",
    reads="a JSON file of W&B's API or of records, as a list or one a line",
    recognizes=recognizes,
    read=read,
)
