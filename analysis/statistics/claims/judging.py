"""Family of a run: claims and tested effects, adjusted for their number over all data sets."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from branchwise.analysis.declared.inference import DEFAULT
from branchwise.analysis.records.observations import Observations
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.claims.family import adjusted, gatekeeping
from branchwise.analysis.statistics.claims.testing import Test
from branchwise.analysis.statistics.claims.verdicts import Status, Verdict, judge
from branchwise.analysis.statistics.estimation import Evidence, estimate
from branchwise.analysis.statistics.power import seeds_needed


@dataclass(frozen=True, kw_only=True)
class FamilyResult:
    """The tested hypotheses of a data set and their results.

    Attributes:
        evidence: What the claims were tested by.
        verdicts: A verdict for each claim.
        outcomes: The attribution of each outcome, the primary first, with p-values adjusted over the family.
    """

    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    outcomes: tuple[Attribution, ...]

    def keys(self) -> list[Hashable]:
        """Return keys of the claims, then of the rows by outcome; equal where the test is the same."""
        primary = self.outcomes[0].outcome.name
        rows = [_effect(attribution, row) for attribution in self.outcomes for row in attribution.rows]
        return [*(_hypothesis(verdict, primary) for verdict in self.verdicts), *rows]


def judge_each(parts: Sequence[Observations]) -> list[FamilyResult]:
    """Estimate the effects and test the claims of each data set; no p-value is adjusted."""
    results = []
    for observed in parts:
        evidence = estimate(observed)
        verdicts = judge(observed.claims, evidence, observed.grid)
        results.append(FamilyResult(evidence=evidence, verdicts=verdicts, outcomes=tuple(evidence.outcomes)))
    return results


def judge_family(parts: Sequence[Observations], already_tested: Collection[str] = ()) -> list[FamilyResult]:
    """Estimate effects on each data set, and test all their claims and effects as one family.

    Args:
        parts: The arms on each data set, with the claims on them.
        already_tested: Components that another run has tested: they are not in this family.
    """
    return adjust_family(judge_each(parts), parts[0].unfinished, already_tested)


def adjust_family(
    parts: Sequence[FamilyResult], unfinished: str = "", already_tested: Collection[str] = ()
) -> list[FamilyResult]:
    """Adjust for the family's size: verdicts with statuses, outcomes with adjusted p-values.

    The claims and the tested effects of the components on the primary outcome, over all data sets, share alpha as Holm
    has it. The effects of a component on the other outcomes follow its effect on the primary, and are tested with the
    remaining share. Effects that the design cannot estimate take no share. Two-sided tests, so a claim is refuted at
    the same level at which it would be supported. Claims that test the same thing, or the very contrast of a tested
    effect against zero, share a place.

    Args:
        parts: The tests of each data set, from `judge_each`.
        unfinished: How far an unfinished plan is, such as "4 of 10 blocks": then no hypothesis is tested.
        already_tested: Components that another run has tested: they are not in this family.
    """
    if unfinished:
        return [_not_judged(part, unfinished) for part in parts]
    hypotheses = [_Hypotheses.of(number, part, already_tested) for number, part in enumerate(parts)]
    first = [key for of_part in hypotheses for key in of_part.first]
    followers = {key: of for of_part in hypotheses for key, of in of_part.followers.items()}
    p_values = {key: p for of_part in hypotheses for key, p in of_part.p_values.items()}
    p_holm = adjusted(p_values, *gatekeeping(first, followers)) if first else {}
    return [of_part.with_adjusted(part, p_holm, len(first)) for of_part, part in zip(hypotheses, parts, strict=True)]


def _not_judged(part: FamilyResult, unfinished: str) -> FamilyResult:
    verdicts = tuple(replace(verdict, status="not judged", reason=unfinished) for verdict in part.verdicts)
    untested = (tuple(replace(row, p_holm=nan) for row in attribution.rows) for attribution in part.outcomes)
    outcomes = tuple(replace(attribution, rows=rows) for attribution, rows in zip(part.outcomes, untested, strict=True))
    return replace(part, verdicts=verdicts, outcomes=outcomes)


@dataclass(frozen=True, kw_only=True)
class _Hypotheses:
    """Hypotheses of a data set: of its rows by outcome, of its claims, and each p-value."""

    rows: Sequence[Sequence[Hashable | None]]
    claims: Sequence[Hashable]
    first: Sequence[Hashable]
    followers: Mapping[Hashable, Sequence[Hashable]]
    p_values: Mapping[Hashable, float]

    @classmethod
    def of(cls, number: int, part: FamilyResult, already_tested: Collection[str]) -> _Hypotheses:
        """`number` distinguishes the hypotheses of the data sets."""
        outcomes = part.outcomes
        rows = [
            [_row_key(number, attribution, row, already_tested) for row in attribution.rows] for attribution in outcomes
        ]
        claims = [(number, _hypothesis(verdict, outcomes[0].outcome.name)) for verdict in part.verdicts]
        tested = [key for key in rows[0] if key is not None] if rows else []
        first = list(dict.fromkeys((*tested, *claims)))
        followers = {
            key: [of[i] for of in rows[1:] if i < len(of) and of[i] is not None and of[i] not in first]
            for i, key in enumerate(rows[0] if rows else ())
            if key is not None
        }
        p_values: dict[Hashable, float] = {}
        for attribution, of in zip(outcomes, rows, strict=True):
            p_values |= {key: row.effect.p for row, key in zip(attribution.rows, of, strict=True) if key is not None}
        for key, verdict in zip(claims, part.verdicts, strict=True):
            p_values[key] = max(p_values.get(key, verdict.test.p), verdict.test.p)
        return cls(rows=rows, claims=claims, first=first, followers=followers, p_values=p_values)

    def with_adjusted(self, part: FamilyResult, p_holm: Mapping[Hashable, float], size: int) -> FamilyResult:
        """The results with adjusted p-values; `size` hypotheses share alpha."""
        alpha = part.outcomes[0].fit.inference.alpha if part.outcomes else DEFAULT.alpha
        verdicts = tuple(
            _with_status(verdict, p_holm[key], alpha, size)
            for key, verdict in zip(self.claims, part.verdicts, strict=True)
        )
        outcomes = tuple(
            replace(attribution, rows=_adjusted_rows(attribution.rows, of, p_holm))
            for attribution, of in zip(part.outcomes, self.rows, strict=True)
        )
        return replace(part, verdicts=verdicts, outcomes=outcomes)


def _with_status(verdict: Verdict, p_holm: float, alpha: float, size: int) -> Verdict:
    claim, test = verdict.claim, replace(verdict.test, p_holm=nan if isnan(verdict.test.p) else p_holm)
    status = _status(test, alpha)
    waits = status == "not shown" and verdict.n_seeds > 1 and not (claim.one_sided and not test.favours)
    seeds = seeds_needed(test.p, test.estimate.df, verdict.n_seeds, alpha / size, claim.one_sided) if waits else None
    return replace(verdict, test=test, status=status, seeds_to_decide=seeds)


def _row_key(
    number: int, attribution: Attribution, row: ComponentRow, already_tested: Collection[str]
) -> Hashable | None:
    if not row.tested or row.component in already_tested:
        return None
    return number, _effect(attribution, row)


def _adjusted_rows(
    rows: Sequence[ComponentRow], keys: Sequence[Hashable | None], p_holm: Mapping[Hashable, float]
) -> tuple[ComponentRow, ...]:
    return tuple(
        replace(row, p_holm=nan if key is None or isnan(row.effect.p) else p_holm[key])
        for key, row in zip(keys, rows, strict=True)
    )


def _status(test: Test, alpha: float) -> Status:
    if isnan(test.p) or not test.p_holm <= alpha:
        return "not shown"
    return "supported" if test.favours else "refuted"


def _hypothesis(verdict: Verdict, primary: str) -> Hashable:
    claim = verdict.claim
    if claim.subject == "effect" and claim.relation != "equivalent" and not claim.one_sided:
        return _equation(claim.outcome or primary, verdict.weights, claim.bound)
    return claim.hypothesis


def _effect(attribution: Attribution, row: ComponentRow) -> Hashable:
    """Key of a tested effect against zero; by component if the design cannot estimate it."""
    outcome = attribution.outcome.name
    return _equation(outcome, row.tested_weights, 0.0) if row.tested else (outcome, row.component)


def _equation(outcome: str, weights: Mapping[str, float], bound: float) -> Hashable:
    """The tested equation, whichever multiple of it was written."""
    ordered = sorted(weights.items())
    unit = ordered[0][1] if ordered else 1.0
    return outcome, tuple((cell, round(weight / unit, 9)) for cell, weight in ordered), float(f"{bound / unit:.9g}")
