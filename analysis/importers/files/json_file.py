"""JSON: the runs of W&B's API, plain records as a list, or a record per line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.content import first_bytes, read_content
from branchwise.analysis.importers.files.exports import recognize_export, wandb_table
from branchwise.analysis.importers.run_table import RunTable, as_settings, from_records, joined
from branchwise.analysis.records.damage import RunFolderError

SUFFIXES = (".json", ".jsonl", ".ndjson")
BATCH = 20_000  # runs that are Python objects at a time


def recognizes(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return any(suffix in SUFFIXES for suffix in suffixes) or first_bytes(path, 512).lstrip()[:1] in (b"{", b"[")


def read(path: Path) -> RunTable:
    content = read_content(path)
    batches = []
    for runs in _batches(path, content.data):
        if any(map(_is_wandb_run, runs)):
            all_runs = [run for batch in _batches(path, content.data) for run in batch]
            return wandb_table(all_runs, content.notes)
        batches.append(from_records([_flat(run) for run in runs]))
    return recognize_export(path, joined(batches, notes=content.notes))


def _is_wandb_run(run: Mapping[str, Any]) -> bool:
    return isinstance(run.get("config"), dict | str) or isinstance(run.get("summary"), dict)


def _batches(path: Path, data: bytes) -> Iterator[list[Mapping[str, Any]]]:
    """Yield runs, a few at a time, of a list, of `{"runs": [...]}`, or of a line each."""
    runs = _list(path, data)
    if runs is not None:
        yield runs
        return
    lines = _lines(path, data)
    while batch := list(islice(lines, BATCH)):
        yield batch


def _list(path: Path, data: bytes) -> list[Mapping[str, Any]] | None:
    """The runs of a file with a single JSON value; None for any other file."""
    text = data.decode("utf-8").lstrip("\ufeff")
    if not text.strip():
        raise RunFolderError(f"{path} is empty")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return None
    runs = content.get("runs", content) if isinstance(content, Mapping) else content
    if isinstance(runs, Mapping) and "\n" not in text.strip():
        runs = [runs]
    if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
        raise RunFolderError(f"{path} is not a list of runs; write [{{...}}, ...], or one {{...}} a line")
    return runs


def _lines(path: Path, data: bytes) -> Iterator[Mapping[str, Any]]:
    is_first = True
    for number, raw in enumerate(io.BytesIO(data), start=1):
        line = raw.decode("utf-8").lstrip("\ufeff").strip()
        if not line:
            continue
        try:
            run = json.loads(line)
        except json.JSONDecodeError as error:
            what = "is not JSON" if is_first else "is cut off or damaged"
            raise RunFolderError(f"{path}, line {number}: {what} ({error.msg}); correct or remove it") from error
        if not isinstance(run, dict):
            raise RunFolderError(f"{path}, line {number}: it is not a run; write one {{...}} a line")
        is_first = False
        yield run


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a record; null is no value at its top, but the value None in nested settings."""
    if dict not in map(type, run.values()):
        return dict(run)
    flat: dict[str, Any] = {}
    for key, value in run.items():
        if isinstance(value, dict) and value:
            flat |= as_settings(value, f"{key}.")
        else:
            flat[key] = value
    return flat
