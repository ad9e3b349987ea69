"""The numbers of a report for programs: ablation.csv and ablation.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from json.encoder import encode_basestring
from math import isfinite, isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.fractions import resolution
from branchwise.analysis.statistics.attribution import Attribution, survivors
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.screening import ranks, ranks_only
from branchwise.analysis.statistics.sequential.looks import LookResults
from branchwise.analysis.statistics.sequential.searched import searched, searched_json

_TABLE = "\ue000table "  # a placeholder for a table until its rows are written
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet knows a formula
HASH = "_sha256"  # how a column's name ends that has the hash of what an arm left


def csv_columns() -> tuple[str, ...]:
    """Return the columns of ablation.csv: promised ones, further intervals, then pooled ones."""
    promised = ("shapley", "shapley_low", "shapley_high", "p_holm", "share", "share_low", "share_high", "leave_one_out",
                "add_one_in")  # fmt: skip
    bounds = tuple(f"{name}_{end}" for name in ("leave_one_out", "add_one_in") for end in ("low", "high"))
    pooled = ("pooled_low", "pooled_high", "pooled_share_low", "pooled_share_high")
    main = ("main_effect", "main_effect_low", "main_effect_high")
    further = (*bounds, "next_seed_low", "next_seed_high", *pooled, *main)
    return (
        "component",
        *promised,
        *(f"raw_{c}" for c in promised),
        *(f"{p}{c}" for p in ("", "raw_") for c in further),
    )


def csv_rows(findings: Findings) -> list[dict[str, Any]]:
    """A row per component; None where a number is unknown."""
    rows = []
    for i, component in enumerate(findings.run.components):
        row: dict[str, Any] = {"component": component}
        scaled = findings.headline if findings.headline.scale != "identity" else None
        for prefix, scale in (("", scaled), ("raw_", findings.raw)):
            row |= {f"{prefix}{key}": value for key, value in _csv_numbers(scale, i).items()}
        rows.append(row)
    return rows


def _csv_numbers(scale: Attribution | None, i: int) -> Mapping[str, float | None]:
    if scale is None:
        return {}
    row = scale.rows[i]
    further = row.effect.for_next_seed(scale.fit.n_blocks)
    numbers = {
        "p_holm": row.p_holm, "pooled_low": row.pooled.low, "pooled_high": row.pooled.high,
        "pooled_share_low": row.pooled_share.low, "pooled_share_high": row.pooled_share.high,
        "next_seed_low": further.low, "next_seed_high": further.high,
    }  # fmt: skip
    for name in ("shapley", "share", "leave_one_out", "add_one_in", "main_effect"):
        estimate: Estimate = getattr(row, name)
        numbers |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: None if isnan(value) else value for key, value in numbers.items()}


def csv_text(analyses: Sequence[Findings]) -> str:
    """ablation.csv; a first column names multiple runs or data sets."""
    lead = (analyses[0].run.label_column,) if len(analyses) > 1 else ()
    rows = [dict.fromkeys(lead, findings.run.label) | row for findings in analyses for row in csv_rows(findings)]
    return csv_frame(pd.DataFrame(rows, columns=[*lead, *csv_columns()]))


def csv_frame(table: pd.DataFrame) -> str:
    """A table as CSV, its texts safe to open in a spreadsheet."""
    safe = table.rename(columns=_no_formula).map(_no_formula)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text


def _no_formula(value: Any) -> Any:
    """A text behind an apostrophe where a spreadsheet would read it as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def findings_json(findings: Findings) -> dict[str, Any]:
    """Return all findings as plain values: numbers, their cell weights, and the cells' arms."""
    run, headline, planned = findings.run, findings.headline, findings.sensitivity
    return {
        "format": 2,
        "name": run.name,
        **({"across": {run.outline.across.name: run.data_set}} if run.outline.across else {}),
        "metric": run.metric,
        "space": run.space,
        "manifest": run.manifest,
        "comparability_key": run.comparability or None,
        "components": csv_rows(findings),
        "model": {
            "formula": f"{_formula(headline)} ~ cell{' + block' if run.inference.paired else ''}",
            "scale": headline.scale, "n": headline.fit.n, "cells": len(headline.fit.cells),
            "blocks": headline.fit.n_blocks, "df": headline.fit.df, "residual_sd": headline.fit.residual_sd,
            "raw_residual_sd": findings.raw.fit.residual_sd, "level": run.inference.level,
            "paired": run.inference.paired, "variance": asdict(findings.variance),
            "effect_sd": asdict(planned.effect_sd) if planned and planned.effect_sd else None,
            "repeats": asdict(findings.repeats) if findings.repeats else None,
            "plan": asdict(planned) if planned else None,
        },
        "contrasts": {scale.scale: _contrasts(scale) for scale in (findings.raw, headline)},
        "outcomes": {scale.outcome.name: _outcome(scale) for scale in findings.outcomes},
        "standings": [asdict(comparison) for comparison in findings.standings],
        "as_good_as_full": findings.noninferior_cells,
        "budgets": {
            budget.outcome: {steps: _outcome(scale) for steps, scale in zip(budget.steps, budget.results, strict=True)}
            for budget in findings.budgets
        },
        "cells": [
            {"cell": row.cell, "levels": row.levels and dict(zip(run.components, row.levels, strict=True)), "n": row.n,
             "mean": row.mean, "sd": row.sd, **row.shown, "change": asdict(row.change), "arms": row.arms,
             "lost": row.failed_arms}
            for row in findings.cells
        ],
        "claims": [_claim(verdict, run.primary.name) for verdict in findings.verdicts],
        "claims_edited": findings.claims_modified,
        "looks": _looks(findings.looks) if findings.looks else None,
        "extends": run.outline.extends,
        "search": searched_json(searched(run.arms, run.design), run.outline.better("value")),
        "screening": screening_json(findings),
        "first_stage": asdict(run.first_stage) if run.first_stage else None,
        "agreement": [asdict(row) for row in findings.agreement],
        "with_worst_in_place": {name: asdict(estimate) for name, estimate in findings.with_worst.items()},
        "arms": _arm_rows(findings),
        "missing": run.missing,
        "unfinished": run.unfinished,
        "warnings": findings.warnings,
        "notes": findings.notes,
    }  # fmt: skip


def _looks(looks: LookResults) -> dict[str, Any]:
    """The looks as plain values; what a hypothesis tests is told by its name."""
    values = asdict(looks)
    for hypothesis in (*values["claims"], *chain.from_iterable(values["shapley"])):
        del hypothesis["key"]
    return values


def _contrasts(scale: Attribution) -> dict[str, Any]:
    return {
        "shapley": {
            row.component: asdict(row.shapley)
            | {"p_holm": row.p_holm if row.tested == "shapley" else nan, "weights": row.weights}
            for row in scale.rows
        },
        "tested": {
            row.component: {"quantity": row.tested, "p_holm": row.p_holm, "weights": row.tested_weights,
                            **_next_seed(row.effect, scale)}
            for row in scale.rows
        },
        **{
            name: {row.component: asdict(getattr(row, name)) for row in scale.rows}
            for name in ("share", "pooled", "pooled_share", "main_effect", "leave_one_out", "add_one_in")
        },
        "interaction": {":".join(item.members): asdict(item.estimate) for item in scale.interactions},
        "total_gain": {name: asdict(gain) for name, gain in scale.gains.items()},
    }  # fmt: skip


def _next_seed(estimate: Estimate, scale: Attribution) -> dict[str, float]:
    further = estimate.for_next_seed(scale.fit.n_blocks)
    return {"next_seed_low": further.low, "next_seed_high": further.high}


def screening_json(findings: Findings) -> dict[str, Any] | None:
    """Return a fraction's contrasts with their aliases, and the survivors for a follow-up."""
    grid, scale = findings.run.grid, findings.headline
    if not grid.is_fraction:
        return None
    sizes = dict(zip(grid.components, ranks([row.effect for row in scale.rows]), strict=True))
    mains = [row for row in scale.fraction if row.contrast.component]
    return {
        "runs": len(grid.planned),
        "combinations": 2 ** len(grid.factors),
        "resolution": resolution(grid),
        "judged": not ranks_only(scale.fit, grid),
        "main_effects": [
            {"component": row.contrast.component, "rank": sizes[row.contrast.component],
             "cannot_be_told_from": [":".join(triple) for triple in row.contrast.triples]}
            for row in mains
        ],
        "interactions": [
            {"sum_of": [":".join(pair) for pair in row.contrast.pairs], "estimate": asdict(row.interaction)}
            for row in scale.fraction if row.contrast.pairs
        ],
        "survivors": survivors(scale.rows, findings.run.inference.alpha),
    }  # fmt: skip


def _claim(verdict: Verdict, primary: str) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "text": claim.text, "canonical": claim.canonical, "verdict": verdict.status, "scale": claim.subject,
        "outcome": claim.outcome or primary, "relation": claim.relation,
        **asdict(verdict.test), "reason": verdict.test.reason or verdict.reason, "weights": verdict.weights,
        "one_sided": claim.one_sided, "seeds_to_decide": verdict.seeds_to_decide,
    }  # fmt: skip


def _outcome(scale: Attribution) -> dict[str, Any]:
    return {
        "better": scale.outcome.better,
        "range": scale.outcome.range,
        "scale": scale.scale,
        **_contrasts(scale),
        "levels": [asdict(row) for row in scale.levels],
    }


def _formula(scale: Attribution) -> str:
    name = scale.outcome.name
    inside = name if scale.scale == "identity" else f"{scale.scale}({name})"
    return inside if scale.outcome.better == "higher" else f"-{inside}"


def _arm_rows(findings: Findings) -> pd.DataFrame:
    columns = ("sweep", "arm", "block", "seed", "kind", "cell", "status", "error", "value")
    arms = findings.run.arms
    hashes = [str(name) for name in arms if str(name).endswith(HASH)]
    return arms[[c for c in (*columns, *hashes) if c in arms]]


def to_json(value: Any) -> str:
    """Return JSON in which non-finite numbers are null, and tables are lists, a row per line."""
    tables: list[str] = []
    text = json.dumps(_plain(value, tables), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for i, table in enumerate(tables):
        text = text.replace(f'"{_TABLE}{i}"', table, 1)
    return text


def _rows(table: pd.DataFrame) -> str:
    """A table as a JSON list, by column and distinct value, for tables of a million rows."""
    columns = []
    for name in table:
        is_number = table[name].dtype in (np.dtype(np.float64), np.dtype(np.int64))
        codes, distinct = pd.factorize(table[name].to_numpy(dtype=None if is_number else object))
        start = f"{json.dumps(str(name))}: "
        cells = [start + text for text in (*_texts(distinct.tolist()), "null")]  # code -1: no value
        columns.append(np.array(cells, dtype=object)[codes])
    return "[\n  {" + "},\n  {".join(map(", ".join, zip(*columns, strict=True))) + "}\n ]" if len(table) else "[]"


def _texts(values: list[Any]) -> list[str]:
    """Each value as JSON; without type checks where all are texts or all are numbers."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return list(map(encode_basestring, values))
    if kinds <= {float, int}:
        return [repr(value) if isfinite(value) else "null" for value in values]
    return [json.dumps(_plain(value, []), ensure_ascii=False, allow_nan=False) for value in values]


def _plain(value: Any, tables: list[str]) -> Any:
    if isinstance(value, pd.DataFrame):
        tables.append(_rows(value))
        return f"{_TABLE}{len(tables) - 1}"
    if isinstance(value, Mapping):
        return {str(key): _plain(item, tables) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, tables) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    item = getattr(value, "item", None)  # NumPy scalars
    return _plain(item(), tables) if item else str(value)
