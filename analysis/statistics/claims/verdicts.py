"""Judges declared claims against the fitted model, with the numbers.

A claim is supported or refuted by the spread of its effect over blocks, so that it holds for the next seed. What only
the pooled residual shows is a verdict of its own, "on these seeds".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Literal

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import BASE, FULL, TEACHER, factorial_cells
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.records.teachers import value_of_teacher
from branchwise.analysis.statistics import contrasts
from branchwise.analysis.statistics.attribution import ComponentRow, ScaleResult
from branchwise.analysis.statistics.claims.family import adjusted, gatekeeping
from branchwise.analysis.statistics.claims.language import Claim, Term
from branchwise.analysis.statistics.model import (
    ALPHA,
    Error,
    Estimate,
    TwoWayFit,
    contrast,
    mean_estimate,
    one_sided_p,
    ratio,
    two_sided_p,
)

Status = Literal[
    "supported", "refuted", "supported on these seeds", "refuted on these seeds", "not shown", "not judged"
]


@dataclass(frozen=True, kw_only=True)
class Test:
    """One claim against one error. estimate: of its left side (all quantities moved there); p: against the bound."""

    estimate: Estimate = field(default_factory=Estimate)
    p: float = nan
    p_holm: float = nan
    favours: bool = False  # the estimate lies on the claimed side
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One judged claim: by block, which decides, and by the pooled residual, which speaks of the seeds that ran."""

    claim: Claim
    status: Status
    by_block: Test
    pooled: Test
    weights: Mapping[str, float]  # of its quantities' cells


def judge(
    claims: Sequence[Claim], outcomes: Sequence[ScaleResult], results: pd.DataFrame, grid: Grid
) -> tuple[Verdict, ...]:
    """Test every claim on its own; statuses wait for `settle`, which knows the whole family.

    outcomes: of the run, the primary one first, each on the scale that its claims are made on. results: has a column
    for each of them.
    """
    by_name = {scale.outcome.name: scale for scale in outcomes}
    verdicts = []
    for claim in claims:
        scale = by_name[claim.outcome] if claim.outcome else outcomes[0]
        judged = _value_claim(claim, scale, results) if claim.scale == "value" else _model_claim(claim, scale, grid)
        verdicts.append(judged)
    return tuple(verdicts)


def settle(
    verdicts: Sequence[Verdict], outcomes: Sequence[ScaleResult]
) -> tuple[tuple[Verdict, ...], tuple[ScaleResult, ...]]:
    """Adjusts for the size of the family: verdicts with statuses, outcomes with adjusted p-values.

    The claims and the Shapley values of the primary outcome share the 5% as Holm has it. The Shapley values of a
    component for the other outcomes follow its own on the primary one, and are tested with what that leaves. Two-sided
    tests, so a claim is refuted at the same level at which it would be supported. Claims that test the same thing, or
    the very contrast of a Shapley value against zero, share a place.
    """
    keys = [[_key(scale.outcome.name, row.weights, 0.0) for row in scale.rows] for scale in outcomes]
    claim_keys = [_hypothesis(verdict, outcomes[0].outcome.name) for verdict in verdicts]
    first = list(dict.fromkeys((*(keys[0] if keys else ()), *claim_keys)))
    followers = {
        key: [rows[i] for rows in keys[1:] if i < len(rows) and rows[i] not in first]
        for i, key in enumerate(keys[0] if keys else ())
    }
    weights, edges = gatekeeping(first, followers)

    def adjust(of_rows: Sequence[Sequence[float]], of_claims: Sequence[float]) -> Mapping[Hashable, float]:
        family: dict[Hashable, float] = {}
        for rows, found in zip(keys, of_rows, strict=True):
            family |= dict(zip(rows, found, strict=True))
        for key, p in zip(claim_keys, of_claims, strict=True):
            family.setdefault(key, p)
        return adjusted(family, weights, edges)

    by_block = adjust([[row.shapley.p for row in s.rows] for s in outcomes], [v.by_block.p for v in verdicts])
    pooled = adjust([[row.pooled.p for row in s.rows] for s in outcomes], [v.pooled.p for v in verdicts])
    settled = []
    for key, v in zip(claim_keys, verdicts, strict=True):
        one, other = replace(v.by_block, p_holm=by_block[key]), replace(v.pooled, p_holm=pooled[key])
        settled.append(replace(v, by_block=one, pooled=other, status=_status(one, other)))
    return tuple(settled), tuple(
        replace(scale, rows=_adjusted_rows(scale.rows, rows, by_block, pooled))
        for scale, rows in zip(outcomes, keys, strict=True)
    )


def _adjusted_rows(
    rows: Sequence[ComponentRow],
    keys: Sequence[Hashable],
    by_block: Mapping[Hashable, float],
    pooled: Mapping[Hashable, float],
) -> tuple[ComponentRow, ...]:
    return tuple(
        replace(row, p_holm=by_block[key], pooled_p_holm=pooled[key]) for key, row in zip(keys, rows, strict=True)
    )


def _status(by_block: Test, pooled: Test) -> Status:
    if by_block.p_holm <= ALPHA:
        return "supported" if by_block.favours else "refuted"
    if pooled.p_holm <= ALPHA:
        return "supported on these seeds" if pooled.favours else "refuted on these seeds"
    return "not shown"


def _hypothesis(verdict: Verdict, primary: str) -> Hashable:
    claim = verdict.claim
    if claim.scale == "effect" and claim.relation != "equivalent":
        return _key(claim.outcome or primary, verdict.weights, claim.bound)
    return claim.hypothesis


def _key(outcome: str, weights: Mapping[str, float], bound: float) -> Hashable:
    """The tested equation, whichever multiple of it was written."""
    ordered = sorted(weights.items())
    unit = ordered[0][1] if ordered else 1.0
    return outcome, tuple((cell, round(weight / unit, 9)) for cell, weight in ordered), round(bound / unit, 9)


def cell_weights(term: Term, grid: Grid) -> dict[str, float]:
    """Cell weights of one effect or share (a share's numerator), without its coefficient."""
    if term.quantity in ("effect", "level", "trend"):
        name, *level = term.names
        if term.quantity == "trend":
            return grid.trend(name)
        return grid.effect(name, level[0] if level else grid.factor(name).full)
    components = grid.components
    k = len(components)
    members = [components.index(name) for name in term.names]
    vector = {
        "share": lambda: contrasts.shapley(members[0], k),
        "shapley": lambda: contrasts.shapley(members[0], k),
        "interaction": lambda: contrasts.factorial_effect(members, k),
        "leave_one_out": lambda: contrasts.leave_one_out(members[0], k),
        "add_one_in": lambda: contrasts.add_one_in(members[0], k),
    }[term.quantity]()
    return contrasts.by_cell(vector, factorial_cells(components))


def _combined(terms: Sequence[Term], grid: Grid) -> dict[str, float]:
    total: dict[str, float] = {}
    for term in terms:
        for cell, weight in cell_weights(term, grid).items():
            total[cell] = total.get(cell, 0.0) + term.coefficient * weight
    return {cell: weight for cell, weight in total.items() if abs(weight) > 1e-12}


def _model_claim(claim: Claim, scale: ScaleResult, grid: Grid) -> Verdict:
    weights = _combined(claim.terms, grid)
    if scale.scale != scale.outcome.scale:
        none = Test(reason=f"there is no {scale.outcome.scale} scale: no finished arm, or values it cannot take")
        return Verdict(claim=claim, status="not shown", by_block=none, pooled=none, weights=weights)
    test = _test_share if claim.scale == "share" else _test_effect
    return Verdict(
        claim=claim, status="not shown", by_block=test(claim, scale.fit, weights, "blocks"),
        pooled=test(claim, scale.fit, weights, "pooled"), weights=weights,
    )  # fmt: skip


def _test_effect(claim: Claim, fit: TwoWayFit, weights: Mapping[str, float], error: Error) -> Test:
    return _against_bound(claim, contrast(fit, weights, error))


def _test_share(claim: Claim, fit: TwoWayFit, weights: Mapping[str, float], error: Error) -> Test:
    gain = {FULL: 1.0, BASE: -1.0}
    share = ratio(fit, weights, gain, error)
    if not share.has_interval:
        return Test(estimate=share, reason=share.reason)
    # share vs bound is tested as the contrast (Shapley - bound * gain) vs 0, which agrees with Fieller's interval.
    shifted = {}
    for bound in {claim.bound, -claim.bound}:
        cells = {c: weights.get(c, 0.0) - bound * gain.get(c, 0.0) for c in {*weights, *gain}}
        shifted[bound] = replace(contrast(fit, cells, error), df=share.df)
    return _against_bound(claim, share, shifted)


def _against_bound(claim: Claim, estimate: Estimate, shifted: Mapping[float, Estimate] | None = None) -> Test:
    """Test of an estimate against the claim's bound; `shifted[b]`: estimate minus b where that needs the model."""
    if not estimate.has_interval:
        return Test(estimate=estimate, reason=estimate.reason)

    def minus(bound: float) -> Estimate:
        return shifted[bound] if shifted else replace(estimate, value=estimate.value - bound)

    if claim.relation == "equivalent":
        low, high = minus(-claim.bound), minus(claim.bound)
        inside = low.value > 0 > high.value
        if inside:  # two one-sided tests (Schuirmann 1987)
            p = max(one_sided_p(low.value, low.se, low.df), one_sided_p(-high.value, high.se, high.df))
        else:
            nearest = high if high.value >= 0 else low
            p = two_sided_p(nearest.value, nearest.se, nearest.df)
        return Test(estimate=estimate, p=p, favours=inside)
    gap = minus(claim.bound)
    favours = gap.value > 0 if claim.relation == "above" else gap.value < 0
    return Test(estimate=estimate, p=two_sided_p(gap.value, gap.se, gap.df), favours=favours)


def _value_claim(claim: Claim, scale: ScaleResult, results: pd.DataFrame) -> Verdict:
    """Values are judged block by block alone: raw spreads differ between cells, so no pooled residual would fit them.

    A teacher of all blocks is a constant; a teacher for each block is a cell like the others.
    """
    weights = {term.names[0]: term.coefficient for term in claim.terms}
    test = _test_values(claim, weights, results, scale.outcome.name)
    return Verdict(claim=claim, status="not shown", by_block=test, pooled=Test(), weights=weights)


def _test_values(claim: Claim, weights: Mapping[str, float], results: pd.DataFrame, column: str) -> Test:
    students = {cell: weight for cell, weight in weights.items() if cell != TEACHER}
    wide = results.pivot_table(index="block", columns="cell", values=column)
    if TEACHER in weights:
        teacher = value_of_teacher(results, f"teacher_{column}")
        if teacher is None:
            return Test(reason=f"the run records no {column} of the teacher")
        if not students and not teacher.for_each_block:
            return Test(reason="the teacher is one net: its value has no interval over seeds")
        wide[TEACHER] = teacher.by_block.reindex(wide.index)
        students[TEACHER] = weights[TEACHER]
    if absent := [cell for cell in students if cell not in wide]:
        return Test(reason=f"no finished arm in {', '.join(absent)}")
    sums = wide[list(students)].to_numpy() @ np.array(list(students.values()))  # NaN where a block lacks one of them
    return _against_bound(claim, mean_estimate(sums[np.isfinite(sums)]))
