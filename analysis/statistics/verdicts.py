"""Judges declared claims against the fitted model: supported, refuted or not shown, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Literal

import pandas as pd

from branchwise.analysis.statistics import contrasts
from branchwise.analysis.statistics.attribution import ScaleResult, per_block
from branchwise.analysis.statistics.cells import BASE, FULL, TEACHER, factorial_cells
from branchwise.analysis.statistics.claims import Claim, Term
from branchwise.analysis.statistics.model import ALPHA, Estimate, contrast, holm, one_sided_p, ratio, two_sided_p

Status = Literal["supported", "refuted", "not shown"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One judged claim. estimate: of its left side (all quantities moved there); p: unadjusted, against the bound."""

    text: str
    status: Status
    estimate: Estimate
    bound: float
    scale: str
    relation: str
    p: float = nan
    p_holm: float = nan
    favours: bool = False  # the estimate lies on the claimed side
    reason: str = ""
    weights: Mapping[str, float]


def judge(
    claims: Sequence[Claim], log: ScaleResult | None, results: pd.DataFrame, components: Sequence[str]
) -> tuple[Verdict, ...]:
    """Test every claim on its own; statuses wait for `settle`, which knows the whole family."""
    return tuple(
        _value_claim(claim, results) if claim.scale == "value" else _model_claim(claim, log, components)
        for claim in claims
    )


def settle(verdicts: Sequence[Verdict], log: ScaleResult | None) -> tuple[tuple[Verdict, ...], tuple[float, ...]]:
    """Holm over one family, the Shapley values and the claims: verdicts with statuses, adjusted Shapley p-values.

    Two-sided tests, so a claim is refuted at the same level at which it would be supported. A claim that tests the very
    contrast of a Shapley value against zero shares its place in the family.
    """
    family: dict[object, float] = {}
    shapley_keys: list[object] = []
    for row in log.rows if log else ():
        shapley_keys.append(_key(row.weights, 0.0))
        family[shapley_keys[-1]] = row.shapley.p
    claim_keys = [_claim_key(verdict) for verdict in verdicts]
    for key, verdict in zip(claim_keys, verdicts, strict=True):
        family.setdefault(key, verdict.p)
    adjusted = dict(zip(family, holm(list(family.values())), strict=True))
    settled = tuple(
        replace(v, p_holm=adjusted[key], status=_status(v, adjusted[key]))
        for key, v in zip(claim_keys, verdicts, strict=True)
    )
    return settled, tuple(adjusted[key] for key in shapley_keys)


def _status(verdict: Verdict, p_holm: float) -> Status:
    if isnan(p_holm) or p_holm > ALPHA:
        return "not shown"
    return "supported" if verdict.favours else "refuted"


def _claim_key(verdict: Verdict) -> object:
    if verdict.scale == "log" and verdict.relation != "equivalent":
        return _key(verdict.weights, verdict.bound)
    return verdict.text


def _key(weights: Mapping[str, float], bound: float) -> object:
    return tuple(sorted((cell, round(weight, 12)) for cell, weight in weights.items())), round(bound, 12)


def log_weights(term: Term, components: Sequence[str]) -> dict[str, float]:
    """Cell weights of one log-scale or share term (a share's numerator), without its coefficient."""
    k = len(components)
    members = [components.index(name) for name in term.names]
    vector = {
        "share": lambda: contrasts.shapley(members[0], k),
        "shapley": lambda: contrasts.shapley(members[0], k),
        "effect": lambda: contrasts.factorial_effect(members, k),
        "interaction": lambda: contrasts.factorial_effect(members, k),
        "leave_one_out": lambda: contrasts.leave_one_out(members[0], k),
        "add_one_in": lambda: contrasts.add_one_in(members[0], k),
    }[term.quantity]()
    return contrasts.by_cell(vector, factorial_cells(components))


def _combined(terms: Sequence[Term], components: Sequence[str]) -> dict[str, float]:
    total: dict[str, float] = {}
    for term in terms:
        for cell, weight in log_weights(term, components).items():
            total[cell] = total.get(cell, 0.0) + term.coefficient * weight
    return {cell: weight for cell, weight in total.items() if abs(weight) > 1e-12}


def _model_claim(claim: Claim, log: ScaleResult | None, components: Sequence[str]) -> Verdict:
    weights = _combined(claim.terms, components)
    if log is None:
        return _unknown(claim, "there is no log scale: no finished arm, or values that are not above 0", weights)
    if claim.scale == "log":
        return _tested(claim, contrast(log.fit, weights), weights)
    gain = {FULL: 1.0, BASE: -1.0}
    share = ratio(log.fit, weights, gain)
    if not share.has_interval:
        return _unknown(claim, share.reason, weights, share)
    # share vs bound is tested as the contrast (Shapley - bound * gain) vs 0, which agrees with Fieller's interval.
    se_at = {}
    for bound in {claim.bound, -claim.bound}:
        shifted = {c: weights.get(c, 0.0) - bound * gain.get(c, 0.0) for c in {*weights, *gain}}
        se_at[bound] = contrast(log.fit, shifted)
    return _tested(claim, share, weights, se_at)


def _tested(
    claim: Claim, estimate: Estimate, weights: Mapping[str, float], shifted: Mapping[float, Estimate] | None = None
) -> Verdict:
    """Verdict of an estimate against the claim's bound; `shifted[b]`: estimate minus b where that needs the model."""
    if not estimate.has_interval:
        return _unknown(claim, estimate.reason, weights, estimate)

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
        favours = inside
    else:
        gap = minus(claim.bound)
        p = two_sided_p(gap.value, gap.se, gap.df)
        favours = gap.value > 0 if claim.relation == "above" else gap.value < 0
    return Verdict(
        text=claim.text, status="not shown", estimate=estimate, bound=claim.bound, scale=claim.scale,
        relation=claim.relation, p=p, favours=favours, weights=weights,
    )  # fmt: skip


def _unknown(claim: Claim, reason: str, weights: Mapping[str, float], estimate: Estimate | None = None) -> Verdict:
    return Verdict(
        text=claim.text, status="not shown", estimate=estimate or Estimate(), bound=claim.bound, scale=claim.scale,
        relation=claim.relation, reason=reason, weights=weights,
    )  # fmt: skip


def _value_claim(claim: Claim, results: pd.DataFrame) -> Verdict:
    """Values are judged block by block with a one-sample t: raw spreads differ between cells, and seeds are the sample.

    The teacher is one net, the same for every block: a constant.
    """
    weights = {term.names[0]: term.coefficient for term in claim.terms}
    constant = 0.0
    if TEACHER in weights:
        teacher = results["teacher_value"].dropna()
        if teacher.empty:
            return _unknown(claim, "the run records no value of the teacher", weights)
        constant = weights[TEACHER] * float(teacher.mean())
    students = {cell: weight for cell, weight in weights.items() if cell != TEACHER}
    if not students:
        return _unknown(claim, "the teacher is one net: its value has no interval over seeds", weights)
    wide = results.pivot_table(index="block", columns="cell", values="value")
    estimate = per_block(wide, students)
    shifted = replace(
        estimate, value=estimate.value + constant, low=estimate.low + constant, high=estimate.high + constant
    )
    return _tested(claim, shifted, weights)
