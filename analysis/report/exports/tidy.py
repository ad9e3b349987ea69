"""Tidy tables of a run's results: a row per effect, cell, arm and claim, as DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isnan, nan
from typing import Any

import pandas as pd

from branchwise.analysis.report.wording import in_unit, natural
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

QUANTITIES = ("shapley", "main_effect", "leave_one_out", "add_one_in")
EFFECTS = ("outcome", "component", "quantity", "estimate", "low", "high", "unit", "p", "p_holm", "next_seed_low",
           "next_seed_high")  # fmt: skip
CLAIMS = ("claim", "verdict", "estimate", "low", "high", "p", "p_holm", "reason")


def effects(findings: Findings) -> pd.DataFrame:
    """A row per outcome, component and quantity that the design can estimate.

    Positive effects are improvements; a share is a fraction of the total gain. The quantity that is tested against zero
    has `p_holm`, the others only `p`. `next_seed_low` and `next_seed_high` bound the effect on the next seed.
    """
    rows = []
    for i, scale in enumerate(findings.outcomes):
        displayed = natural(findings, i)
        for row, row_displayed in zip(scale.rows, displayed.rows, strict=True):
            common = {"outcome": scale.outcome.name, "component": row.component}
            rows += [common | numbers for numbers in _quantities(scale, displayed, row, row_displayed)]
    return pd.DataFrame(rows, columns=list(EFFECTS))


def _quantities(
    scale: Attribution, displayed_scale: Attribution, row: ComponentRow, displayed: ComponentRow
) -> Iterator[dict[str, Any]]:
    for quantity in QUANTITIES:
        estimate: Estimate = getattr(displayed, quantity)
        if isnan(estimate.value):
            continue
        value, low, high, unit = in_unit(estimate, displayed_scale)
        _, next_low, next_high, _ = in_unit(estimate.for_next_seed(scale.fit.n_blocks), displayed_scale)
        yield {
            "quantity": quantity, "estimate": value, "low": low, "high": high, "unit": unit,
            "p": getattr(row, quantity).p, "p_holm": row.p_holm if quantity == row.tested else nan,
            "next_seed_low": next_low, "next_seed_high": next_high,
        }  # fmt: skip
    if not isnan(row.share.value):
        share = {"estimate": row.share.value, "low": row.share.low, "high": row.share.high, "p": row.share.p}
        yield {"quantity": "share", "unit": "of the gain", **share}


def cells(findings: Findings) -> pd.DataFrame:
    """Return a row per cell, baseline and teacher: levels, n, mean, sd and further columns."""
    components = findings.run.components
    rows = []
    for row in findings.cells:
        levels = dict(zip(components, row.levels or [None] * len(components), strict=True))
        rows.append({"cell": row.cell, **levels, "n": row.n, "mean": row.mean, "sd": row.sd, **row.shown})
    return pd.DataFrame(rows)


def arms(findings: Findings) -> pd.DataFrame:
    """A row per arm, failed ones included, with each column that holds something."""
    table: pd.DataFrame = findings.run.arms.dropna(axis="columns", how="all")
    return table


def claims(findings: Findings) -> pd.DataFrame:
    """A row per claim: its verdict and the estimate behind it."""
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
    """The four tables by name; with a first column for multiple runs (`run`) or data sets."""
    return {name: stacked(table, analyses) for name, table in TABLES.items()}


def stacked(table: Callable[[Findings], pd.DataFrame], analyses: Sequence[Findings]) -> pd.DataFrame:
    """Return the stacked tables of the analyses, with a column that names each; one as it is."""
    tables = [table(findings) for findings in analyses]
    if len(tables) == 1:
        return tables[0]
    for rows, findings in zip(tables, analyses, strict=True):
        rows.insert(0, findings.run.label_column, findings.run.label)
    return pd.concat(tables, ignore_index=True)
