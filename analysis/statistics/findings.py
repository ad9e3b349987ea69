"""Everything the report says of one run, computed once: attribution, verdicts, variance, plan, cells, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.statistics.agreement import Agreement, agreement, warnings
from branchwise.analysis.statistics.attribution import ScaleResult, analyse_scale, with_worst_in_place
from branchwise.analysis.statistics.claims.language import Claim, Vocabulary, further_hypotheses, seal
from branchwise.analysis.statistics.claims.parser import parse_claim
from branchwise.analysis.statistics.claims.verdicts import Verdict, judge, settle
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.notes import lost_cells, notes_on
from branchwise.analysis.statistics.power import Design, EffectSD, Plan, Repeats, plan
from branchwise.analysis.statistics.sequential.judging import LookResults, at_looks
from branchwise.analysis.statistics.standing import Budget, Standing, as_good, budgets, standings, too_short
from branchwise.analysis.statistics.table import CellRow, cell_rows
from branchwise.analysis.statistics.variance import Variance, components_of_variance, flags


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Results of one run.

    outcomes: the attribution of each, the primary one first, on its own scale where the values allow it; raws: of each
    in its own units. with_worst: Shapley values, by component, with bad values in the place of lost arms;
    empty when none was lost. edited: whether the claims are others than those that the run was sealed with. as_good:
    smaller cells that do no worse than the full method. looks: of a run that declared some; all else is then as of the
    last one that was reached.
    """

    run: Run
    outcomes: tuple[ScaleResult, ...]
    raws: tuple[ScaleResult, ...]
    verdicts: tuple[Verdict, ...]
    edited: bool
    standings: tuple[Standing, ...]
    as_good: tuple[str, ...]
    budgets: tuple[Budget, ...]
    variance: Variance
    agreement: tuple[Agreement, ...]
    with_worst: Mapping[str, Estimate]
    plan: Plan | None
    repeats: Repeats | None
    cells: tuple[CellRow, ...]
    notes: tuple[str, ...]
    looks: LookResults | None = None

    @property
    def headline(self) -> ScaleResult:
        return self.outcomes[0]

    @property
    def raw(self) -> ScaleResult:
        return self.raws[0]


def analyse(run: Run) -> Findings:
    """Analyse one loaded run. Never raises for missing arms, cells or components: the notes say what is not known."""
    results = run.results
    claims, unread = read_claims(run)
    looks = None
    if run.outline.looks and not run.progress:
        run, verdicts, outcomes, looks = at_looks(run, run.outline.looks, claims, attributions)
        results = run.results
    else:
        unsettled = attributions(run)
        verdicts, outcomes = settle(judge(claims, unsettled, results, run.grid), unsettled)
    headline = outcomes[0]
    raws = tuple(analyse_scale(results, run.grid, outcome, "identity") for outcome in run.outcomes)
    variance = components_of_variance(headline, results)
    agreeing = agreement(headline, results, run.components)
    edited, along = _edited(run, claims), budgets(run)
    return Findings(
        run=run, outcomes=outcomes, raws=raws, verdicts=verdicts, edited=edited, standings=standings(run, headline),
        as_good=as_good(run, headline), budgets=along, variance=variance, agreement=agreeing,
        with_worst=_with_worst(run, headline), plan=_plan(run, headline, further_hypotheses(claims, run.components)),
        repeats=_more_repeats(run, variance), cells=cell_rows(run, headline, raws[0]), looks=looks,
        notes=(*(looks.notes() if looks else ()), *_resealed(run, edited), *_of_source(run), *unread,
               *notes_on(run, outcomes),
               *too_short(run, headline, along), *flags(headline, variance, lost_cells(run)), *warnings(agreeing)),
    )  # fmt: skip


def attributions(run: Run) -> list[ScaleResult]:
    """The attribution of each outcome, before any adjustment for their number."""
    return [_attributed(run, outcome) for outcome in run.outcomes]


def _attributed(run: Run, outcome: Outcome) -> ScaleResult:
    """On the outcome's own scale where it can take every value, else on the raw one."""
    values = run.results[outcome.name].dropna().to_numpy(dtype=float)
    return analyse_scale(run.results, run.grid, outcome, outcome.scale if outcome.fits(values) else "identity")


def vocabulary(run: Run) -> Vocabulary:
    """What the claims of a run may speak of."""
    cells = (*run.cells, *run.baselines, TEACHER)
    return Vocabulary(grid=run.grid, cells=cells, outcomes={one.name: one.scale for one in run.outcomes})


def read_claims(run: Run) -> tuple[list[Claim], list[str]]:
    """Claims of the space, parsed; and a sentence for each that cannot be read (the space was changed by hand)."""
    claims, unread, known = [], [], vocabulary(run)
    for text in run.claims:
        try:
            claims.append(parse_claim(str(text), known))
        except ValueError as error:
            unread.append(f"Not judged: {error}.")
    return claims, unread


def _edited(run: Run, claims: Sequence[Claim]) -> bool:
    """Whether the manifest was sealed with other claims, or they came after the runs; without a seal, whether the space
    is another one."""
    if run.manifest.get("claims_after_the_runs"):
        return True
    sealed = run.manifest.get("claims_sha256")
    if sealed is None:
        return run.altered
    return sealed not in (
        seal([*(claim.canonical for claim in claims), *([run.outline.looks.canonical] if run.outline.looks else [])]),
        seal(run.claims, canonical=False),
    )


def _resealed(run: Run, edited: bool) -> list[str]:
    if run.manifest.get("claims_after_the_runs"):
        return ["The claims were written after the runs, so they are exploratory: no verdict here confirms anything."]
    if not edited:
        return ["space.yaml was changed after the run began; its claims are the same."] if run.altered else []
    return ["The claims in space.yaml are not those that the run began with: they were edited afterwards, and are "
            "exploratory."]  # fmt: skip


def _of_source(run: Run) -> list[str]:
    """What was noted of runs that another program made."""
    return [str(note) for note in run.manifest.get("notes") or ()]


def _with_worst(run: Run, scale: ScaleResult) -> Mapping[str, Estimate]:
    lost = run.lost[run.lost["kind"].isin(RESULT_KINDS)]
    if lost.empty or not run.components or scale.fit.n < 1:
        return {}
    filled = analyse_scale(with_worst_in_place(run.results, lost, scale), run.grid, scale.outcome, scale.scale)
    return {row.component: row.shapley for row in filled.rows}


def _plan(run: Run, headline: ScaleResult, claims: int) -> Plan | None:
    blocks = headline.fit.n_blocks
    if headline.scale != "log" or not run.components or blocks < 1:
        return None
    design: Design = "factorial" if run.grid.whole else "leave_one_out"
    return plan(len(run.components), blocks, design, effect_sd(run, headline), claims)


def effect_sd(run: Run, headline: ScaleResult) -> EffectSD | None:
    """SD between blocks of the headline effect that varied most; None where nothing varies, or one block ran."""
    shown = [row.shapley if run.grid.whole else row.leave_one_out for row in headline.rows]
    varying = [estimate for estimate in shown if estimate.se > 0]
    if not varying:
        return None
    most = max(varying, key=lambda estimate: estimate.se)
    return EffectSD(run=run.name, sd=most.se * sqrt(headline.fit.n_blocks), df=most.df)


def _more_repeats(run: Run, variance: Variance) -> Repeats | None:
    """None unless the sampling noise was measured and the arms tell how long their evaluation took."""
    counts = [len(values) for values in run.results["value_repeats"] if np.ndim(values) == 1]
    seconds = float(run.results["eval_seconds"].mean()) if "eval_seconds" in run.results else nan
    known = variance.sampling > 0 and variance.residual > 0 and seconds > 0
    if not counts or not known:
        return None
    part = min(variance.sampling**2 / variance.residual**2, 1.0)
    return Repeats(now=round(float(np.mean(counts))), seconds=seconds, narrower=1 - sqrt(1 - part / 2))
