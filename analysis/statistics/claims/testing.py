"""The test of a claim: an estimate against the bound that was claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, isnan, log, nan
from typing import Literal

from scipy.special import stdtrit

from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.statistics.model import Estimate, directional_p, two_sided_p

MAX_EXPONENT = 709.7  # of e, in a double
# How an estimate and its bound are expressed: an effect in the metric's unit, or as a log ratio; a share of the gain; a
# sum of mean values; a geometric mean; the ratio of two geometric means.
Form = Literal["effect", "ratio effect", "share", "value", "geometric mean", "ratio of values"]


@dataclass(frozen=True, kw_only=True)
class Test:
    """A claim against its bound.

    estimate: of its left side (all quantities moved there); p: against the bound.
    """

    estimate: Estimate = field(default_factory=Estimate)
    bound: float = nan
    form: Form = "effect"
    p: float = nan
    p_holm: float = nan
    favours: bool = False  # the estimate is on the claimed side
    limit: float = nan  # of a one-sided claim, the confidence limit on the side of its bound
    reason: str = ""


def widened(estimate: Estimate, level: float) -> Estimate:
    """A t interval with an error of `level`; none where that is NaN."""
    if not estimate.has_interval or isnan(level):
        return replace(estimate, low=nan, high=nan)
    half = float(stdtrit(estimate.df, 1 - level / 2)) * estimate.se
    return replace(estimate, low=estimate.value - half, high=estimate.value + half)


def widened_test(test: Test, level: float) -> Estimate:
    """The estimate of a test, other than of a share, with an interval of this error."""
    if test.form not in ("geometric mean", "ratio of values") or not test.estimate.has_interval:
        return widened(test.estimate, level)
    return exponential(widened(replace(test.estimate, value=log(test.estimate.value)), level))


def exponential(estimate: Estimate) -> Estimate:
    """The estimate of exp(quantity), with the standard error and p of the quantity."""

    def of(x: float) -> float:
        return nan if isnan(x) else exp(min(x, MAX_EXPONENT))

    return replace(estimate, value=of(estimate.value), low=of(estimate.low), high=of(estimate.high))


def against_bound(
    claim: Claim, estimate: Estimate, bound: float, form: Form, shifted: Mapping[float, Estimate] | None = None
) -> Test:
    """Test an estimate against a bound; `shifted[b]`: estimate minus b if that needs the model."""
    test = Test(estimate=estimate, bound=bound, form=form, reason=estimate.reason)
    if not estimate.has_interval:
        return test

    def minus(edge: float) -> Estimate:
        return shifted[edge] if shifted else replace(estimate, value=estimate.value - edge)

    if claim.relation == "equivalent":
        low, high = minus(-bound), minus(bound)
        if not (low.se > 0 and high.se > 0):
            return replace(test, reason=low.reason or high.reason)
        inside = low.value > 0 > high.value
        if inside:  # two one-sided tests (Schuirmann 1987)
            p = max(directional_p(low.value, low.se, low.df), directional_p(-high.value, high.se, high.df))
        else:
            nearest = high if high.value >= 0 else low
            p = two_sided_p(nearest.value, nearest.se, nearest.df)
        return replace(test, p=p, favours=inside)
    gap = minus(bound)
    if isnan(gap.se) or not gap.se > 0:
        return replace(test, reason=gap.reason)
    favours = gap.value > 0 if claim.relation == "above" else gap.value < 0
    if claim.one_sided:
        towards = gap.value if claim.relation == "above" else -gap.value
        return replace(test, p=directional_p(towards, gap.se, gap.df), favours=favours)
    return replace(test, p=two_sided_p(gap.value, gap.se, gap.df), favours=favours)
