"""Tidy tables of a run's results: one row per effect, cell, arm and claim, as DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import pandas as pd

from branchwise.analysis.report.wording import in_unit, natural
from branchwise.analysis.statistics.attribution import ComponentRow, ScaleResult
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

QUANTITIES = ("shapley", "main_effect", "leave_one_out", "add_one_in")
EFFECTS = ("outcome", "component", "quantity", "tested", "effect", "low", "high", "unit", "next_seed_low",
           "next_seed_high", "p", "p_holm", "share", "share_low", "share_high")  # fmt: skip
CLAIMS = ("claim", "verdict", "estimate", "low", "high", "p", "p_holm", "reason")


def effects(findings: Findings) -> pd.DataFrame:
    """One row per outcome, component and quantity that the design can estimate.

    Positive effects are improvements. `tested`: whether the effect is the one that is tested against zero; it alone has
    `p_holm`, and `share` of the total gain. `next_seed_low` and `next_seed_high`: prediction interval for one further
    seed.
    """
    rows = [
        row
        for i, scale in enumerate(findings.outcomes)
        for tested, displayed in zip(scale.rows, natural(findings, i).rows, strict=True)
        for row in _effect_rows(scale, natural(findings, i), tested, displayed)
    ]
    return pd.DataFrame(rows, columns=list(EFFECTS))


def _effect_rows(
    scale: ScaleResult, displayed_scale: ScaleResult, row: ComponentRow, displayed: ComponentRow
) -> Iterator[Mapping[str, Any]]:
    for quantity in QUANTITIES:
        estimate: Estimate = getattr(displayed, quantity)
        if isnan(estimate.value):
            continue
        tested = quantity == row.tested
        effect, low, high, unit = in_unit(estimate, displayed_scale)
        _, next_low, next_high, _ = in_unit(estimate.for_next_seed(scale.fit.n_blocks), displayed_scale)
        yield {
            "outcome": scale.outcome.name, "component": row.component, "quantity": quantity, "tested": tested,
            "effect": effect, "low": low, "high": high, "unit": unit,
            "next_seed_low": next_low, "next_seed_high": next_high, "p": getattr(row, quantity).p,
            **({"p_holm": row.p_holm, "share": row.share.value, "share_low": row.share.low,
                "share_high": row.share.high} if tested else {}),
        }  # fmt: skip


def cells(findings: Findings) -> pd.DataFrame:
    """One row per cell, baseline and teacher: its level of each component, n, mean, sd and further columns."""
    components = findings.run.components
    rows = []
    for row in findings.cells:
        levels = dict(zip(components, row.levels or [None] * len(components), strict=True))
        rows.append({"cell": row.cell, **levels, "n": row.n, "mean": row.mean, "sd": row.sd, **row.shown})
    return pd.DataFrame(rows)


def arms(findings: Findings) -> pd.DataFrame:
    """One row per arm, failed ones included, with every column that holds something."""
    table: pd.DataFrame = findings.run.arms.dropna(axis="columns", how="all")
    return table


def claims(findings: Findings) -> pd.DataFrame:
    """One row per claim: its verdict and the estimate behind it."""
    rows = [
        {
            "claim": verdict.claim.text,
            "verdict": verdict.status,
            "estimate": verdict.test.estimate.value,
            "low": verdict.test.estimate.low,
            "high": verdict.test.estimate.high,
            "p": verdict.test.p,
            "p_holm": verdict.test.p_holm,
            "reason": verdict.test.reason or verdict.reason,
        }
        for verdict in findings.verdicts
    ]
    return pd.DataFrame(rows, columns=list(CLAIMS))


TABLES = {"effects": effects, "cells": cells, "arms": arms, "claims": claims}


def all_tables(analyses: Sequence[Findings]) -> dict[str, pd.DataFrame]:
    """The four tables by name; with a first column `run` where there are several runs."""
    several = len(analyses) > 1

    def one(name: str) -> pd.DataFrame:
        parts = [TABLES[name](findings) for findings in analyses]
        if several:
            for table, findings in zip(parts, analyses, strict=True):
                table.insert(0, "run", findings.run.name)
        return pd.concat(parts, ignore_index=True) if several else parts[0]

    return {name: one(name) for name in TABLES}
