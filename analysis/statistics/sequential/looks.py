"""Decisions of declared looks: sequential p-values in the family's graph, look by look.

They are of claims and Shapley values. Everything is a function of the blocks up to a look, so each
reader of the run finds the same looks and decisions, however often the sweep was interrupted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from typing import Literal

from scipy.special import ndtr, stdtrit

from branchwise.analysis.declared.cells import BASE, FULL
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.records.observations import Look, Observations, RunAtLooks
from branchwise.analysis.statistics.claims.judging import FamilyResult, adjust_family, judge_each
from branchwise.analysis.statistics.claims.testing import widened, widened_test
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.model import Estimate, ratio
from branchwise.analysis.statistics.sequential.boundaries import Boundary, boundary

End = Literal["decided", "futile", "max", ""]  # why no look follows; empty otherwise


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A claim, or a Shapley value against zero, over the looks so far.

    Attributes:
        name: The claim's text, or `anchor.shapley`; for a further outcome `anchor.shapley(rho)`.
        key: What it tests: the same for a claim and a Shapley value that test the same.
        nominal: p-values by look, NaN without a test.
        p: Sequential p-values by look.
        adjusted: Sequential p-values, adjusted over the family.
        favours: Whether the estimate was on the claimed side at the smallest sequential p-value.
        decided_after: Blocks at the look that rejected it; None while it is open.
        power: Conditional power at the last look under the trend so far; NaN once decided.
        repeated: Repeated interval at the level of the last look.
    """

    name: str
    key: Hashable
    nominal: tuple[float, ...]
    p: tuple[float, ...]
    adjusted: tuple[float, ...]
    favours: bool
    decided_after: int | None
    power: float
    repeated: Estimate


@dataclass(frozen=True, kw_only=True)
class LookResults:
    """The looks of a run so far.

    Attributes:
        looks: As declared.
        blocks: Finished blocks at the looks so far.
        arms: Arms of the run up to each of them.
        finished: Blocks that are complete now.
        ended: Why the run stopped.
        claims: In the order of the claims.
        shapley: By outcome, then by component.
        level: Error of the repeated intervals at the last look; NaN before the first.
    """

    looks: Looks
    blocks: tuple[int, ...]
    arms: tuple[int, ...]
    finished: int
    ended: End
    claims: tuple[Hypothesis, ...] = ()
    shapley: tuple[tuple[Hypothesis, ...], ...] = ()
    level: float = nan

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Each once: a Shapley value that a claim tests as well is reported as that claim."""
        claimed = {claim.key for claim in self.claims}
        rows = (row for of_outcome in self.shapley for row in of_outcome)
        return (*self.claims, *(row for row in rows if row.key not in claimed))

    @property
    def progress(self) -> str:
        """`5 of at most 8 blocks`."""
        return f"{self.finished} of at most {self.looks.max} blocks"

    def notes(self) -> list[str]:
        """Return notes that a reader of the looks needs."""
        if not self.blocks:
            return [f"Not judged: {self.progress}; the first look comes after {self.looks.blocks[0]}."]
        last, largest = self.blocks[-1], self.looks.max
        spent = f"{self.arms[-1]} arms, where {largest} blocks would take {round(self.arms[-1] / last * largest)}"
        stopped = f"Stopped at the look after {last} of at most {largest} blocks ({spent})"
        message = {
            "decided": f"{stopped}: everything was decided.",
            "futile": f"{stopped}: each undecided hypothesis had less than a {self.looks.futility:.0%} chance of "
            "being decided by the last look.",
            "max": f"Ended at the last look, after {last} blocks.",
            "": f"Open at the look after {last} of at most {largest} blocks ({self.finished} are finished): all "
            "numbers are as of that look, and the run can be resumed.",
        }[self.ended]
        return [
            message,
            "Only claims and Shapley values are corrected for the looks; all other p-values and intervals are "
            "exploratory, and estimates lean away from zero where a run stopped early.",
        ]


@dataclass(frozen=True, kw_only=True)
class _TestedLook:
    """A look and its tests: of the claims, then of the Shapley values by outcome.

    Attributes:
        look: The run as it was.
        nominal: p-values of this look alone.
        sides: Whether the estimate is on the claimed side; of a Shapley value, whether it is above zero.
        p: Sequential p-values over the looks so far.
        favours: The side at the smallest of them.
        result: The family with the sequential p-values, adjusted for their number.
        adjusted: Adjusted sequential p-values, by hypothesis.
    """

    look: Look
    nominal: Sequence[float]
    sides: Sequence[bool]
    p: Sequence[float]
    favours: Sequence[bool]
    result: FamilyResult
    adjusted: Sequence[float]

    def open_at(self, alpha: float) -> list[int]:
        """The hypotheses that this look leaves undecided, by their position."""
        return [i for i, p in enumerate(self.adjusted) if not p <= alpha]


def judge_at_looks(run: RunAtLooks) -> tuple[FamilyResult, LookResults]:
    """Test a run at its looks, up to that which ends it.

    Returns:
        Results of the family as of the last look (before the first: of the run as it is, without p-values), and of the
        looks.
    """
    looks, alpha = run.looks, run.now.inference.alpha
    table = boundary(looks.blocks, looks.spending)
    tested_looks: list[_TestedLook] = []
    power: dict[int, float] = {}
    ended: End = ""
    for look in run.reached:
        tested_looks.append(_test_look(look, table, tested_looks))
        power = _powers(table, tested_looks[-1], alpha)
        if ended := _end(looks, look.blocks, power):
            break
    result = tested_looks[-1].result if tested_looks else _untested(run.now)
    hypotheses = _hypotheses(result, tested_looks, power, table, alpha)
    n_claims, k = len(run.now.claims), len(run.now.grid.components)
    rows = hypotheses[n_claims:]
    results = LookResults(
        looks=looks,
        blocks=tuple(item.look.blocks for item in tested_looks),
        arms=tuple(item.look.arms for item in tested_looks),
        finished=run.finished,
        ended=ended,
        claims=tuple(hypotheses[:n_claims]),
        shapley=tuple(tuple(rows[i : i + k]) for i in range(0, len(rows), k)) if k else (),
        level=table.level(tested_looks[-1].look.blocks, alpha) if tested_looks else nan,
    )
    return replace(result, verdicts=_mark_not_judged(result.verdicts, results)), results


def _test_look(look: Look, table: Boundary, before: Sequence[_TestedLook]) -> _TestedLook:
    """The tests of a look, given the looks before it."""
    (tested,) = judge_each([look.observed])
    rows = [row.effect for attribution in tested.outcomes for row in attribution.rows]
    nominal = [*(verdict.test.p for verdict in tested.verdicts), *(effect.p for effect in rows)]
    sides = [*(verdict.test.favours for verdict in tested.verdicts), *(effect.value > 0 for effect in rows)]
    p, favours = [], []
    for i in range(len(nominal)):
        of_looks = [*(item.nominal[i] for item in before), nominal[i]]
        sides_of_looks = [*(item.sides[i] for item in before), sides[i]]
        sequential = [table.p_values([nan] * n + [value])[-1] for n, value in enumerate(of_looks)]
        smallest = min(range(len(sequential)), key=lambda n: 2.0 if isnan(sequential[n]) else sequential[n])
        p.append(sequential[smallest])
        favours.append(sides_of_looks[smallest])
    result = _adjust(tested, p, favours)
    adjusted = [row.p_holm for attribution in result.outcomes for row in attribution.rows]
    return _TestedLook(
        look=look, nominal=nominal, sides=sides, p=p, favours=favours, result=result,
        adjusted=[*(verdict.test.p_holm for verdict in result.verdicts), *adjusted],
    )  # fmt: skip


def _untested(now: Observations) -> FamilyResult:
    """The family before the first look: estimates without p-values."""
    (tested,) = judge_each([now])
    n_tests = len(tested.keys())
    return _adjust(tested, [nan] * n_tests, [False] * n_tests)


def _adjust(tested: FamilyResult, p: Sequence[float], favours: Sequence[bool]) -> FamilyResult:
    """The family with these p-values, of the claims and then of the rows, in its graph."""
    tests = iter(zip(p, favours, strict=True))
    verdicts = []
    for verdict in tested.verdicts:
        p_value, side = next(tests)
        verdicts.append(replace(verdict, test=replace(verdict.test, p=p_value, favours=side)))
    outcomes = [
        replace(attribution, rows=tuple(row.with_p(next(tests)[0]) for row in attribution.rows))
        for attribution in tested.outcomes
    ]
    (result,) = adjust_family([replace(tested, verdicts=tuple(verdicts), outcomes=tuple(outcomes))])
    return result


def _mark_not_judged(verdicts: Sequence[Verdict], results: LookResults) -> tuple[Verdict, ...]:
    """Set open claims to *not judged* between looks and before the first."""
    if results.ended or (results.blocks and results.blocks[-1] == results.finished):
        return tuple(verdicts)
    return tuple(
        replace(verdict, status="not judged", reason=results.progress) if claim.decided_after is None else verdict
        for verdict, claim in zip(verdicts, results.claims, strict=True)
    )


def _end(looks: Looks, n_blocks: int, power: Mapping[int, float]) -> End:
    """Reason to end the run after `n_blocks`, or empty; `power`: of each open hypothesis."""
    if not power:
        return "decided"
    if n_blocks == looks.max:
        return "max"
    return "futile" if all(value < looks.futility for value in power.values()) else ""


def _powers(table: Boundary, tested_look: _TestedLook, alpha: float) -> dict[int, float]:
    """Conditional power at the last look of each hypothesis open at this one, by its position.

    The level is alpha divided by the number of distinct open hypotheses. Mean and SD are assumed to stay as observed,
    so the power is a normal probability. Stopping for futility is not binding: it can only lower the error. NaN at the
    last look.
    """
    still_open = tested_look.open_at(alpha)
    if not still_open:
        return {}
    keys = tested_look.result.keys()
    n_blocks, last = tested_look.look.blocks, table.looks[-1]
    level = table.level(last, alpha / len({keys[i] for i in still_open}))
    critical = float(stdtrit(last - 1, 1 - level / 2))
    powers = {}
    for i in still_open:
        p = tested_look.nominal[i]
        if isnan(p):
            powers[i] = 0.0
        elif n_blocks == last:
            powers[i] = nan
        else:
            t = float(-stdtrit(n_blocks - 1, max(p, 1e-300) / 2))
            powers[i] = float(ndtr((sqrt(last / n_blocks) * t - critical) / sqrt(1 - n_blocks / last)))
    return powers


def _hypotheses(
    result: FamilyResult, tested_looks: Sequence[_TestedLook], power: Mapping[int, float], table: Boundary, alpha: float
) -> list[Hypothesis]:
    """Each hypothesis over the looks so far: of claims, then of Shapley values by outcome."""
    repeated = _repeated(result, table.level(tested_looks[-1].look.blocks, alpha) if tested_looks else nan)
    hypotheses = []
    for i, (name, key) in enumerate(zip(_names(result), result.keys(), strict=True)):
        rejected = [item.look.blocks for item in tested_looks if item.adjusted[i] <= alpha]
        hypotheses.append(
            Hypothesis(
                name=name,
                key=key,
                nominal=tuple(item.nominal[i] for item in tested_looks),
                p=tuple(item.p[i] for item in tested_looks),
                adjusted=tuple(item.adjusted[i] for item in tested_looks),
                favours=bool(tested_looks and tested_looks[-1].favours[i]),
                decided_after=rejected[0] if rejected else None,
                power=power.get(i, nan),
                repeated=repeated[i],
            )
        )
    return hypotheses


def _names(result: FamilyResult) -> list[str]:
    names = [verdict.claim.text for verdict in result.verdicts]
    for number, attribution in enumerate(result.outcomes):
        names += [row.hypothesis(attribution.outcome.name if number else "") for row in attribution.rows]
    return names


def _repeated(result: FamilyResult, level: float) -> list[Estimate]:
    """The intervals of all hypotheses at this error, instead of alpha."""
    by_name = {scale.outcome.name: scale for scale in result.outcomes}
    intervals = []
    for verdict in result.verdicts:
        estimate = verdict.test.estimate
        if verdict.claim.subject == "share" and estimate.has_interval and not isnan(level):
            scale = by_name.get(verdict.claim.outcome) or result.outcomes[0]
            intervals.append(ratio(scale.fit, verdict.weights, {FULL: 1.0, BASE: -1.0}, "blocks", 1 - level))
        else:
            intervals.append(widened_test(verdict.test, level))
    return [*intervals, *(widened(row.effect, level) for scale in result.outcomes for row in scale.rows)]
