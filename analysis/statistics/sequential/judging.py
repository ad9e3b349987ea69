"""What declared looks decide: sequential p-values of claims and Shapley values in the family's graph, look by look.

Everything is a function of the blocks up to a look, so each reader of the run finds the same looks and decisions,
however often the sweep was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from typing import Literal

from scipy.special import ndtr, stdtrit

from branchwise.analysis.declared.cells import BASE, FULL
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.records.observations import Interim, Look
from branchwise.analysis.statistics.claims.settling import FamilyResult, judge_each, settle
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
        nominal: p-values by look, NaN without a test.
        p: Sequential p-values by look.
        adjusted: Those, adjusted over the family.
        favours: Whether the estimate was on the claimed side at the smallest sequential p-value.
        decided_after: Blocks at the look that rejected it; None while it is open.
        power: Conditional power at the last look under the trend so far; NaN once decided.
        repeated: Repeated interval at the level of the last look.
    """

    name: str
    nominal: tuple[float, ...]
    p: tuple[float, ...]
    adjusted: tuple[float, ...]
    favours: bool
    decided_after: int | None
    power: float
    repeated: Estimate


@dataclass(frozen=True, kw_only=True)
class InterimResults:
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
        rows = (item for of_outcome in self.shapley for item in of_outcome)
        return (*self.claims, *(row for row in rows if all(row.nominal != claim.nominal for claim in self.claims)))

    @property
    def progress(self) -> str:
        """`5 of at most 8 blocks`."""
        return f"{self.finished} of at most {self.looks.max} blocks"

    def notes(self) -> list[str]:
        """What a reader must know of the looks."""
        if not self.blocks:
            return [f"Not judged: {self.progress}; the first look comes after {self.looks.blocks[0]}."]
        last, largest = self.blocks[-1], self.looks.max
        spent = f"{self.arms[-1]} arms, where {largest} blocks would take {round(self.arms[-1] / last * largest)}"
        stopped = f"Stopped at the look after {last} of at most {largest} blocks ({spent})"
        message = {
            "decided": f"{stopped}: everything was decided.",
            "futile": f"{stopped}: what was open had a chance below {self.looks.futility:.0%} each to be decided by "
            "the last look.",
            "max": f"Ended at the last look, after {last} blocks.",
            "": f"Open at the look after {last} of at most {largest} blocks ({self.finished} are finished): all "
            "numbers are as of that look, and the run can be resumed.",
        }[self.ended]
        return [
            message,
            "Only claims and Shapley values are corrected for the looks; all other p-values and intervals are "
            "exploratory, and estimates lean away from zero where a run stopped early.",
        ]


def at_looks(interim: Interim) -> tuple[FamilyResult, InterimResults]:
    """Test a run at its looks, up to that which ends it.

    Returns:
        Findings as of the last look (before the first, of the run as it is), and the looks.
    """
    looks, now = interim.looks, interim.now
    table, alpha = boundary(looks.blocks, looks.spending), now.inference.alpha
    passed: list[Look] = []
    history: list[list[tuple[float, bool]]] = []
    adjusted: list[list[float]] = []
    ended: End = ""
    settled = None
    for look in interim.reached:
        (tested,) = judge_each([look.observed])
        passed.append(look)
        history.append(_tests(tested))
        settled = _settled(tested, *_sequential(table, history))
        adjusted.append(_adjusted(settled))
        if ended := _end(table, looks, history, adjusted, alpha):
            break
    if settled is None:
        (tested,) = judge_each([now])
        n_tests = len(_tests(tested))
        settled = _settled(tested, [nan] * n_tests, [False] * n_tests)
    blocks = [look.blocks for look in passed]
    result = _hypotheses(settled, table, blocks, history, adjusted, alpha)
    n_claims, k = len(now.claims), len(now.grid.components)
    rows = result[n_claims:]
    results = InterimResults(
        looks=looks,
        blocks=tuple(blocks),
        arms=tuple(look.arms for look in passed),
        finished=interim.finished,
        ended=ended,
        claims=tuple(result[:n_claims]),
        shapley=tuple(tuple(rows[i : i + k]) for i in range(0, len(rows), k)) if k else (),
        level=table.level(blocks[-1], alpha) if blocks else nan,
    )
    return replace(settled, verdicts=_with_reasons(settled.verdicts, results)), results


def _with_reasons(verdicts: Sequence[Verdict], results: InterimResults) -> tuple[Verdict, ...]:
    """Hypotheses that are open between looks, or before the first, are not tested."""
    if results.ended or (results.blocks and results.blocks[-1] == results.finished):
        return tuple(verdicts)
    waiting = [claim.decided_after is None for claim in results.claims]
    return tuple(
        replace(verdict, status="not judged", reason=results.progress) if open_ else verdict
        for verdict, open_ in zip(verdicts, waiting, strict=True)
    )


def _tests(tested: FamilyResult) -> list[tuple[float, bool]]:
    """p-value and side of each hypothesis: of the claims, then of the Shapley values."""
    rows = [(row.effect.p, row.effect.value > 0) for scale in tested.outcomes for row in scale.rows]
    return [*((verdict.test.p, verdict.test.favours) for verdict in tested.verdicts), *rows]


def _settled(tested: FamilyResult, p: Sequence[float], favours: Sequence[bool]) -> FamilyResult:
    """The family with these p-values, in the order of `_tests`, in its graph."""
    tests = iter(zip(p, favours, strict=True))
    verdicts = []
    for verdict in tested.verdicts:
        p_value, side = next(tests)
        verdicts.append(replace(verdict, test=replace(verdict.test, p=p_value, favours=side)))
    outcomes = [
        replace(scale, rows=tuple(row.with_p(next(tests)[0]) for row in scale.rows)) for scale in tested.outcomes
    ]
    adjusted_verdicts, adjusted_outcomes = settle(verdicts, outcomes)
    return replace(tested, verdicts=adjusted_verdicts, outcomes=adjusted_outcomes)


def _adjusted(settled: FamilyResult) -> list[float]:
    rows = [row.p_holm for scale in settled.outcomes for row in scale.rows]
    return [*(verdict.test.p_holm for verdict in settled.verdicts), *rows]


def _sequential(table: Boundary, history: Sequence[Sequence[tuple[float, bool]]]) -> tuple[list[float], list[bool]]:
    """Sequential p-value of each hypothesis after these looks, and the side of its strongest test."""
    p_values, sides = [], []
    for tests in zip(*history, strict=True):
        alphas = [table.p_values([nan] * i + [p])[-1] for i, (p, _) in enumerate(tests)]
        strongest = min(range(len(tests)), key=lambda i: 2.0 if isnan(alphas[i]) else alphas[i])
        p_values.append(alphas[strongest])
        sides.append(tests[strongest][1])
    return p_values, sides


def _end(
    table: Boundary,
    looks: Looks,
    history: Sequence[Sequence[tuple[float, bool]]],
    adjusted: Sequence[Sequence[float]],
    alpha: float,
) -> End:
    """Why the run ends here; empty where it continues."""
    waiting = [i for i, p in enumerate(adjusted[-1]) if not p <= alpha]
    if not waiting:
        return "decided"
    n_blocks = looks.blocks[len(history) - 1]
    if n_blocks == looks.max:
        return "max"
    power = _powers(table, n_blocks, history, waiting, alpha)
    return "futile" if all(value < looks.futility for value in power) else ""


def _powers(
    table: Boundary,
    n_blocks: int,
    history: Sequence[Sequence[tuple[float, bool]]],
    waiting: Sequence[int],
    alpha: float,
) -> list[float]:
    """Conditional power of each open hypothesis at the last look, at alpha over the number of different ones.

    Under the trend so far: mean and SD stay as they are, which makes it a normal probability. Stopping on it is not
    binding: it can only lower the error.
    """
    distinct = {tuple(round(tests[i][0], 12) for tests in history) for i in waiting}
    last = table.looks[-1]
    level = table.level(last, alpha / len(distinct))
    critical = float(stdtrit(last - 1, 1 - level / 2))
    powers = []
    for i in waiting:
        p = history[-1][i][0]
        if isnan(p):
            powers.append(0.0)
            continue
        t = float(-stdtrit(n_blocks - 1, max(p, 1e-300) / 2))
        powers.append(
            float(ndtr((sqrt(last / n_blocks) * t - critical) / sqrt(1 - n_blocks / last))) if n_blocks < last else nan
        )
    return powers


def _hypotheses(
    settled: FamilyResult,
    table: Boundary,
    reached: Sequence[int],
    history: Sequence[Sequence[tuple[float, bool]]],
    adjusted: Sequence[Sequence[float]],
    alpha: float,
) -> list[Hypothesis]:
    waiting = [i for i, p in enumerate(adjusted[-1]) if not p <= alpha] if adjusted else []
    power = dict(zip(waiting, _powers(table, reached[-1], history, waiting, alpha), strict=True)) if waiting else {}
    level = table.level(reached[-1], alpha) if reached else nan
    repeated = _repeated(settled, level)
    after = [_sequential(table, history[: i + 1]) for i in range(len(history))]
    hypotheses = []
    for i, name in enumerate(_names(settled)):
        rejected = [n_blocks for n_blocks, p in zip(reached, adjusted, strict=True) if p[i] <= alpha]
        hypotheses.append(
            Hypothesis(
                name=name,
                nominal=tuple(tests[i][0] for tests in history),
                p=tuple(p[i] for p, _ in after),
                adjusted=tuple(p[i] for p in adjusted),
                favours=bool(after and after[-1][1][i]),
                decided_after=rejected[0] if rejected else None,
                power=power.get(i, nan),
                repeated=repeated[i],
            )
        )
    return hypotheses


def _names(settled: FamilyResult) -> list[str]:
    names = [verdict.claim.text for verdict in settled.verdicts]
    for number, scale in enumerate(settled.outcomes):
        names += [row.hypothesis(scale.outcome.name if number else "") for row in scale.rows]
    return names


def _repeated(settled: FamilyResult, level: float) -> list[Estimate]:
    """The intervals of all hypotheses at this error, instead of alpha."""
    by_name = {scale.outcome.name: scale for scale in settled.outcomes}
    intervals = []
    for verdict in settled.verdicts:
        estimate = verdict.test.estimate
        if verdict.claim.scale == "share" and estimate.has_interval and not isnan(level):
            scale = by_name.get(verdict.claim.outcome) or settled.outcomes[0]
            intervals.append(ratio(scale.fit, verdict.weights, {FULL: 1.0, BASE: -1.0}, "blocks", 1 - level))
        else:
            intervals.append(widened_test(verdict.test, level))
    return [*intervals, *(widened(row.effect, level) for scale in settled.outcomes for row in scale.rows)]
