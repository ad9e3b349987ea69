"""External runs as a run folder, readable by all commands on run folders."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.factors import ON
from branchwise.analysis.declared.inference import ALPHA
from branchwise.analysis.importers.arrange import Arranged, arrange
from branchwise.analysis.importers.options import BETTER, ImportOptions, read_alpha
from branchwise.analysis.importers.run_table import RunTable
from branchwise.analysis.importers.sources import table_of
from branchwise.analysis.records.damage import RunFolderError, read_json
from branchwise.analysis.records.folder import load_run
from branchwise.run_files import schemas
from branchwise.run_files.columns import Column
from branchwise.run_files.layout import ARMS_TABLE, FORMAT, MANIFEST, PLAN, SPACE, staged_folder
from branchwise.run_files.schemas import MAX_TEXT
from branchwise.run_files.sealing import SUMS, sealed_json, sha256, sha256_of, sums

TABLE = f"{ARMS_TABLE}.parquet"


def run_from_table(runs: pd.DataFrame | RunTable | str | Path, options: ImportOptions, out: Path | str) -> Path:
    """Write `runs`, a table or its path, as the run folder `out`; return it.

    A later call replaces the folder. Raises RunFolderError, and writes no file, when the runs are no ablation, a claim
    cannot be read, or `out` holds something else.
    """
    table, source = table_of(runs)
    read_alpha(options.alpha)
    arranged = arrange(table, options, source)
    _refuse_long(arranged, options, source)
    folder = Path(out).resolve()
    try:
        _refuse_others(folder)
        with staged_folder(folder) as staging:
            _write(staging, folder.name, arranged, options, source)
            run = load_run(staging)
            for claim in options.claims:
                try:
                    parse_claim(claim, run.vocabulary)
                except ValueError as error:
                    raise RunFolderError(f"--claim: {error}") from error
    except OSError as error:
        raise RunFolderError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return folder


def _refuse_long(arranged: Arranged, options: ImportOptions, source: str) -> None:
    texts = {options.value: "column", **{factor.name: "column" for factor in arranged.factors}}
    texts |= {level: f"a value of {factor.name[:40]}" for factor in arranged.factors for level in factor.levels}
    for text, what in texts.items():
        if len(text) > MAX_TEXT:
            raise RunFolderError(f"{source}: {what}: {text[:40]}... is too long a name; at most {MAX_TEXT} characters")


def _refuse_others(folder: Path) -> None:
    """Refuse a folder of anything but external runs; raise RunFolderError or OSError."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / SPACE).is_file():
        raise RunFolderError(f"{folder} exists and is not a run folder: choose another with --out")
    if "source" not in (read_json(folder, MANIFEST, schemas.Manifest) or {}):
        raise RunFolderError(f"{folder} is the folder of a sweep: choose another with --out")


def _write(folder: Path, name: str, arranged: Arranged, options: ImportOptions, source: str) -> None:
    arms = arranged.arms.assign(
        sweep=name,
        trial=None,
        kind="cell",
        metric=options.value,
        comparability_key=json.dumps({"metric": options.value}),
    )
    arms.to_parquet(folder / TABLE, index=False)
    space = yaml.safe_dump(_space(name, arranged, options), sort_keys=False, allow_unicode=True)
    (folder / SPACE).write_text(space, encoding="utf-8")
    plan = _plan(arranged, options) | {"space_sha256": sha256(space.encode())}
    (folder / PLAN).write_bytes(sealed_json(plan))
    manifest = {
        "format": FORMAT,
        "name": name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "finished",
        "source": source,
        "claims_after_the_runs": bool(options.claims),
        "notes": [f"Effects are on the {arranged.unit.scale} scale: {arranged.unit.reason}.", *arranged.notes],
    }
    (folder / MANIFEST).write_bytes(sealed_json(manifest))
    (folder / SUMS).write_bytes(sums({TABLE: sha256_of(folder / TABLE)}))


def _space(name: str, arranged: Arranged, options: ImportOptions) -> dict[str, Any]:
    """The space of a sweep with such runs, for readers and for the analysis."""
    components = {factor.name: {"levels": list(factor.levels)} for factor in arranged.factors}
    design = {"kind": "elsewhere", "components": components, "blocks": int(arranged.arms["block"].nunique())}
    rules = ({} if options.paired else {"paired": False}) | ({"alpha": options.alpha} if options.alpha != ALPHA else {})
    claims = {"claims": list(options.claims)} if options.claims else {}
    return {"name": name, "design": design | rules | claims}


def _plan(arranged: Arranged, options: ImportOptions) -> dict[str, Any]:
    names = [factor.name for factor in arranged.factors]
    columns = [f"component.{name}" for name in names]
    cells = arranged.arms.drop_duplicates("cell").set_index("cell")[columns]
    # The order of the table: what is at its reference first, then level by level.
    ranks = {
        cell: [_rank(factor.levels, row[f"component.{factor.name}"]) for factor in reversed(arranged.factors)]
        for cell, row in cells.iterrows()
    }
    ordered = sorted(cells.index, key=ranks.__getitem__)
    value = Column(
        name="value", about=options.value, better=BETTER[options.direction], scale=arranged.unit.scale,
        range=arranged.unit.range, declared=options.scale is not None,
    )  # fmt: skip
    return {
        "format": FORMAT,
        "design": "elsewhere",
        "components": names,
        "factors": [factor.described() for factor in arranged.factors],
        "outcomes": ["value"],
        "blocks": sorted(int(block) for block in arranged.arms["block"].unique()),
        "cells": [
            {"cell": cell, "kind": "cell", "components": {n: _plain(cells.loc[cell, f"component.{n}"]) for n in names}}
            for cell in ordered
        ],
        "parts": [{"kinds": ["cell"], "name": "", "question": ""}],
        "columns": [asdict(value)],
        "lines": [],
        "paired": options.paired,
        "alpha": options.alpha,
    }


def _rank(levels: tuple[str, ...], level: Any) -> int:
    return int(level == ON or level is True) if not isinstance(level, str) else levels.index(level)


def _plain(level: Any) -> Any:
    return level if isinstance(level, str) else bool(level)
