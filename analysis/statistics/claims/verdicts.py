"""Judges declared claims against the fitted model, with the numbers behind each verdict.

A claim is supported or refuted by a t test of its effect over blocks, at the level that its family allots. Without a
p-value it is not shown, with the reason. Under an unfinished plan it is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, log1p, nan
from typing import Literal

from branchwise.analysis.declared.cells import BASE, FULL, TEACHER
from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.declared.contrasts import claim_weights
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.claims.testing import Form, Test, against_bound, widened_test
from branchwise.analysis.statistics.claims.values import value_test
from branchwise.analysis.statistics.estimation import Evidence
from branchwise.analysis.statistics.model import Estimate, TwoWayFit, contrast, ratio
from branchwise.analysis.statistics.power import MAX_BLOCKS
from branchwise.analysis.statistics.screening import ranked_only

Status = Literal["supported", "refuted", "not shown", "not judged", "exploratory"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A tested claim.

    Attributes:
        claim: As declared.
        status: Supported, refuted, not shown, not judged or exploratory.
        test: The numbers behind it.
        weights: Weight of each cell in the claim.
        reason: Why there is no p-value, or that the result depends on failed arms.
        n_seeds: Seeds that the test uses; 0 where no forecast is made.
        seeds_to_decide: Seeds in all for 80% power at the current mean and SD; None if unknown.
    """

    claim: Claim
    status: Status
    test: Test
    weights: Mapping[str, float]
    reason: str = ""
    n_seeds: int = 0
    seeds_to_decide: int | None = None


def judge(claims: Sequence[Claim], evidence: Evidence, grid: Grid) -> tuple[Verdict, ...]:
    """Test each claim separately; `judge_family`, which knows the family, sets the statuses.

    Args:
        claims: Those that were declared.
        evidence: The finished arms. A claim must hold with bad values substituted for failed arms as well.
        grid: The cells that were planned.
    """
    verdicts = []
    for claim in claims:
        weights = claim_weights(claim, grid)
        test, reason = _test(claim, evidence, weights), ""
        if evidence.with_worst is not None and not isnan(test.p):
            worst = _test(claim, evidence.with_worst, weights)
            test, reason = _agreeing(test, worst, evidence.inference.alpha)
        if claim.one_sided:
            test = replace(test, limit=_limit(test, claim, evidence, weights))
        n_seeds = _count_seeds(claim, test, evidence, weights)
        verdicts.append(
            Verdict(claim=claim, status="not shown", test=test, weights=weights, reason=reason, n_seeds=n_seeds)
        )
    return tuple(verdicts)


def _limit(test: Test, claim: Claim, evidence: Evidence, weights: Mapping[str, float]) -> float:
    """One-sided limit of a claim's estimate: that of a two-sided interval at double the error."""
    alpha = 2 * evidence.inference.alpha
    if test.form == "share":
        fit = evidence.outcomes[evidence.index(claim)].fit
        both = ratio(fit, weights, {FULL: 1.0, BASE: -1.0}, "blocks", 1 - alpha)
    else:
        both = widened_test(test, alpha)
    return both.low if claim.relation == "above" else both.high


def seeds_notes(verdicts: Sequence[Verdict]) -> list[str]:
    """Number of seeds that would decide the undecided claims."""
    waiting = [
        v for v in verdicts if v.status == "not shown" and v.n_seeds and (v.test.favours or not v.claim.one_sided)
    ]
    if not waiting:
        return []
    numbers = "; ".join(f"{verdict.claim.text}: {_seeds_text(verdict)}" for verdict in waiting)
    return [
        "Seeds that would decide what is not shown, if mean and SD stay as they are (80% power): "
        f"{numbers}. A verdict on added seeds is exploratory: confirm on fresh seeds alone."
    ]


def _seeds_text(verdict: Verdict) -> str:
    if verdict.seeds_to_decide is None:
        return f"over {MAX_BLOCKS:,}"
    return f"{verdict.seeds_to_decide}, {verdict.seeds_to_decide - verdict.n_seeds} more"


def _count_seeds(claim: Claim, test: Test, evidence: Evidence, weights: Mapping[str, float]) -> int:
    """Return the number of seeds that a test uses, of unpaired runs those of the smallest cell.

    0 where no forecast is made: for untested claims, equivalences and claims on the teacher.
    """
    if isnan(test.p) or claim.relation == "equivalent" or TEACHER in weights:
        return 0
    scale = evidence.outcomes[evidence.index(claim)]
    if claim.subject != "value":
        return scale.fit.n_blocks
    wide = evidence.results.pivot_table(index="block", columns="cell", values=scale.outcome.name)
    used = wide[list(weights)]
    return len(used.dropna()) if evidence.inference.paired else int(used.count().min())


def _agreeing(test: Test, other: Test, alpha: float) -> tuple[Test, str]:
    """The test that both tables support: the larger p; not significant where they disagree."""
    if isnan(other.p) or test.favours != other.favours:
        return replace(test, p=1.0), "depends on the failed arms"
    return replace(test, p=max(test.p, other.p)), "depends on the failed arms" if test.p <= alpha < other.p else ""


def _test(claim: Claim, evidence: Evidence, weights: Mapping[str, float]) -> Test:
    i = evidence.index(claim)
    scale, raw = evidence.outcomes[i], evidence.raws[i]
    if claim.subject == "value":
        step = evidence.resolutions.get(scale.outcome.name)
        return value_test(claim, weights, evidence.results, scale.outcome, step, evidence.inference)
    if claim.subject == "share":
        return _test_share(claim, scale.fit, weights)
    if scale.scale == "logit" and (claim.bound or claim.relation == "equivalent"):
        return _test_effect(claim, raw, weights)
    test = _test_effect(claim, scale, weights)
    if scale.scale != "logit":
        return test
    raw_estimate = contrast(
        raw.fit, weights
    )  # the sign is tested on the logit scale, the size is shown in the metric's unit
    if not isnan(test.p) and (raw_estimate.value > 0) != (test.estimate.value > 0):
        return Test(estimate=raw_estimate, form="effect", reason="its sign differs between the logit scale and points")
    return replace(test, estimate=raw_estimate)


def _test_effect(claim: Claim, attribution: Attribution, weights: Mapping[str, float]) -> Test:
    estimate = contrast(attribution.fit, weights)
    if attribution.fraction:
        estimate = ranked_only(estimate, attribution.fit)
    form: Form = "ratio effect" if attribution.scale == "log" else "effect"
    if claim.relative and claim.bound and attribution.scale != "log":
        title = attribution.outcome.title or attribution.outcome.name
        why = f"{title} is not on the log scale, so it has no effect in per cent"
        return Test(estimate=estimate, form=form, bound=nan, reason=why)
    bound = claim.bound
    if claim.relative and claim.relation != "equivalent":
        bound = claim.unit * log_effect(attribution.outcome, claim.bound / claim.unit)
    if isnan(bound):
        return Test(estimate=estimate, form=form, bound=nan, reason="no value above 0 changes by so much")
    return against_bound(claim, estimate, bound, form)


def log_effect(outcome: Outcome, fraction: float) -> float:
    """Return the effect on the log scale that tables show as this fraction; NaN if none exists.

    `lowers by 5%` is a factor of 0.95, `raises by 5%` of 1.05.
    """
    if outcome.better == "higher":
        return log1p(fraction) if fraction > -1 else nan
    return -log1p(-fraction) if fraction < 1 else nan


def _test_share(claim: Claim, fit: TwoWayFit, weights: Mapping[str, float]) -> Test:
    gain = {FULL: 1.0, BASE: -1.0}
    share = ratio(fit, weights, gain)
    if not share.has_interval:
        return Test(estimate=share, form="share", bound=claim.bound, reason=share.reason)
    # share vs bound is tested as the contrast (Shapley - bound * gain) vs 0, which agrees with Fieller's interval.
    shifted: dict[float, Estimate] = {}
    for bound in {claim.bound, -claim.bound}:
        cells = {c: weights.get(c, 0.0) - bound * gain.get(c, 0.0) for c in {*weights, *gain}}
        shifted[bound] = replace(contrast(fit, cells), df=share.df)
    return against_bound(claim, share, claim.bound, "share", shifted)
