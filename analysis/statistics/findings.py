"""All findings of the report of a run, computed once: attribution, verdicts, variance, plan, cells, notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.outcomes import Outcome, ScaleName
from branchwise.analysis.declared.scales import placed, resolution
from branchwise.analysis.records.folder import parts
from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.statistics.agreement import Agreement, agreement, warnings
from branchwise.analysis.statistics.attribution import ComponentRow, ScaleResult, analyse_scale, with_worst_values
from branchwise.analysis.statistics.baseline_comparison import (
    BaselineComparison,
    Budget,
    budgets,
    noninferior_cells,
    standings,
    too_short,
)
from branchwise.analysis.statistics.claims.language import Claim, Vocabulary, further_hypotheses, seal
from branchwise.analysis.statistics.claims.parser import parse_claim
from branchwise.analysis.statistics.claims.settling import settle, settle_together
from branchwise.analysis.statistics.claims.verdicts import Evidence, Verdict, judge, seeds_note
from branchwise.analysis.statistics.comparisons.overlap import pairing_notes
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.notes import cells_without_runs, idle, limits, notes_on, unfinished
from branchwise.analysis.statistics.power import EffectSD, Plan, Repeats, plan, tested
from branchwise.analysis.statistics.screening.effects import ranks_only
from branchwise.analysis.statistics.sequential import extended
from branchwise.analysis.statistics.sequential.judging import InterimResults, at_looks
from branchwise.analysis.statistics.table import CellRow, cell_rows
from branchwise.analysis.statistics.variance import Variance, components_of_variance, flags


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Results of a single run.

    warnings: what a reader must know before any table. outcomes: the attribution of each, the primary first, on its
    scale where the values allow it; raws: of each in its units. with_worst: the tested effects, by component,
    with bad values substituted for failed arms; empty without failed arms. claims_modified: whether the claims differ
    from the sealed ones. noninferior_cells: smaller cells that do no worse than the full method. looks: of a run
    that declared some; all else is then as of the last that was reached.
    """

    run: Run
    warnings: tuple[str, ...]
    outcomes: tuple[ScaleResult, ...]
    raws: tuple[ScaleResult, ...]
    verdicts: tuple[Verdict, ...]
    claims_modified: bool
    standings: tuple[BaselineComparison, ...]
    noninferior_cells: tuple[str, ...]
    budgets: tuple[Budget, ...]
    variance: Variance
    agreement: tuple[Agreement, ...]
    with_worst: Mapping[str, Estimate]
    plan: Plan | None
    repeats: Repeats | None
    cells: tuple[CellRow, ...]
    notes: tuple[str, ...]
    looks: InterimResults | None = None

    @property
    def headline(self) -> ScaleResult:
        return self.outcomes[0]

    @property
    def raw(self) -> ScaleResult:
        return self.raws[0]


def analyse(run: Run) -> Findings:
    """Analyse a part of a loaded run; `analyse_run` analyses all of them.

    Never raises for missing arms, cells or components: the notes list what is unknown.
    """
    claims, unread = read_claims(run)
    looks = None
    if run.outline.looks and not run.progress:
        run, verdicts, outcomes, looks = at_looks(run, run.outline.looks, claims, evidence_of)
        evidence = evidence_of(run)
    else:
        evidence = evidence_of(run)
        tested_names = extended.tested_components(run)
        verdicts, outcomes = settle(judge(claims, evidence, run.grid), evidence.outcomes, run.unfinished, tested_names)
    verdicts, outcomes = extended.with_decisions(run, verdicts, outcomes)
    return _findings(run, evidence, extended.exploratory(run, verdicts), outcomes, unread, looks)


def analyse_run(run: Run) -> list[Findings]:
    """Analyse each part of a loaded run. Its data sets share a single family: of their claims and of their effects.

    Raises:
        RunFolderError: An arm is of a data set that the run did not plan.
    """
    of_parts = parts(run)
    if not run.outline.across:
        return [analyse(part) for part in of_parts]
    claims = [read_claims(part) for part in of_parts]
    evidences = [evidence_of(part) for part in of_parts]
    settled = settle_together(
        [
            (judge(of, evidence, part.grid), evidence.outcomes)
            for part, evidence, (of, _) in zip(of_parts, evidences, claims, strict=True)
        ],
        of_parts[0].unfinished,
    )
    return [
        _findings(part, evidence, *results, unread)
        for part, evidence, results, (_, unread) in zip(of_parts, evidences, settled, claims, strict=True)
    ]


def _findings(
    run: Run,
    evidence: Evidence,
    verdicts: tuple[Verdict, ...],
    outcomes: tuple[ScaleResult, ...],
    unread: Sequence[str],
    looks: InterimResults | None = None,
) -> Findings:
    """The findings of a part of a run after the tests of its claims."""
    claims = [verdict.claim for verdict in verdicts]
    results, headline, raws = run.results, outcomes[0], tuple(evidence.raws)
    variance = components_of_variance(headline, results)
    agreeing = agreement(headline, results, run.components)
    claims_modified, along = _claims_modified(run, claims), budgets(run)
    return Findings(
        run=run, warnings=(*(() if looks else unfinished(run)), *idle(run)), outcomes=outcomes, raws=raws,
        verdicts=verdicts, claims_modified=claims_modified, standings=standings(run, headline),
        noninferior_cells=noninferior_cells(run, headline), budgets=along, variance=variance, agreement=agreeing,
        with_worst=_with_worst(run, headline), plan=_plan(run, headline, claims),
        repeats=_more_repeats(run, variance), cells=cell_rows(run, headline, raws[0]), looks=looks,
        notes=(*limits(run), *(looks.notes() if looks else ()), *pairing_notes(run, headline), *extended.notes(run),
               *_resealed(run, claims_modified), *_of_source(run),
               *unread, *notes_on(run, outcomes), *evidence.notes,
               *([] if looks or extended.grew(run) else seeds_note(verdicts)),
               *too_short(run, headline, along), *flags(headline, variance, cells_without_runs(run)),
               *warnings(agreeing, run.inference.alpha)),
    )  # fmt: skip


def explore(run: Run, texts: Sequence[str]) -> tuple[Verdict, ...]:
    """Test claims that were written after the run on a single part of it; see `explore_run`."""
    return _explored([run], texts)[0]


def explore_run(run: Run, texts: Sequence[str]) -> list[tuple[Verdict, ...]]:
    """Test claims that were written after the run on each of its parts, those of its data sets adjusted together.

    They are adjusted only among themselves, and each is exploratory, regardless of its p.

    Raises:
        ValueError: A text is no claim that this run can test.
    """
    of_parts = parts(run)
    return _explored(of_parts, texts) if run.outline.across else [explore(part, texts) for part in of_parts]


def _explored(of_parts: Sequence[Run], texts: Sequence[str]) -> list[tuple[Verdict, ...]]:
    tested_parts = []
    for part in of_parts:
        terms, evidence = vocabulary(part), evidence_of(part)
        bare = [replace(scale, rows=()) for scale in evidence.outcomes]
        tested_parts.append((judge([parse_claim(text, terms) for text in texts], evidence, part.grid), bare))
    return [
        tuple(v if v.status == "not judged" else replace(v, status="exploratory") for v in verdicts)
        for verdicts, _ in settle_together(tested_parts, of_parts[0].unfinished)
    ]


def decisions(findings: Findings) -> list[dict[str, Any]]:
    """All decisions of a run, with those from before its own extension; plain values for a plan."""
    run = findings.run
    results: dict[str, extended.Decision] = {}
    for item in (*extended.decided_before(run), *_decisions(findings)):
        results.setdefault(item.hypothesis, item)  # a later run does not retest any of them
    return [asdict(entry) | {"p_holm": None if isnan(entry.p_holm) else entry.p_holm} for entry in results.values()]


def _decisions(findings: Findings) -> Iterator[extended.Decision]:
    run = findings.run
    for verdict in findings.verdicts:
        yield extended.Decision(
            run=run.name, hypothesis=verdict.claim.canonical, text=verdict.claim.text, weights=verdict.weights,
            verdict="exploratory" if findings.claims_modified else verdict.status, p_holm=verdict.test.p_holm,
        )  # fmt: skip
    for number, scale in enumerate(findings.outcomes):
        behind = f"({scale.outcome.name})" if number else ""
        for row in scale.rows:
            if row.tested:
                name = f"{row.component}.{row.tested}{behind}"
                yield extended.Decision(
                    run=run.name, hypothesis=name, text=name, component=row.component, outcome=scale.outcome.name,
                    weights=row.tested_weights, verdict=_verdict(row, run), p_holm=row.p_holm,
                )  # fmt: skip


def _verdict(row: ComponentRow, run: Run) -> str:
    if extended.grew(run):
        return "exploratory"
    if not row.p_holm <= run.inference.alpha:
        return "not shown"
    return "better" if row.effect.value > 0 else "worse"


def evidence_of(run: Run) -> Evidence:
    """What the claims of a run are tested by, before any adjustment for their number."""
    outcomes, notes, resolutions = [], [], {}
    for outcome in run.outcomes:
        rows = run.results[run.results[outcome.name].notna()]
        values = rows[outcome.name].to_numpy(dtype=float)
        usable, note = placed(outcome, values, rows["arm"].tolist())
        outcomes.append(usable)
        notes += [note] if note else []
        resolutions[outcome.name] = resolution(outcome, values)
    bare = Evidence(outcomes=(), raws=(), results=run.results, resolutions=resolutions, notes=tuple(notes),
                    inference=run.inference)  # fmt: skip
    evidence = _attributed(bare, run, outcomes)
    failed_arms = run.failed_arms[run.failed_arms["kind"].isin((*RESULT_KINDS, "baseline"))]
    if failed_arms.empty or run.unfinished:
        return evidence
    filled = pd.concat([run.results, failed_arms])
    for scale in evidence.outcomes:
        column = scale.outcome.name
        complete = with_worst_values(run.results, failed_arms.assign(**{column: nan}), scale)
        filled[column] = complete[column].reindex(filled.index)
    return replace(evidence, with_worst=_attributed(replace(evidence, results=filled), run, outcomes))


def _attributed(evidence: Evidence, run: Run, outcomes: Sequence[Outcome]) -> Evidence:
    """The evidence with the attribution of each outcome, on its scale and in the metric's unit."""

    def attributed(scale: ScaleName | None) -> tuple[ScaleResult, ...]:
        steps = evidence.resolutions
        return tuple(
            analyse_scale(evidence.results, run.grid, outcome, scale, steps.get(outcome.name), run.inference)
            for outcome in outcomes
        )

    return replace(evidence, outcomes=attributed(None), raws=attributed("identity"))


def vocabulary(run: Run) -> Vocabulary:
    """What the claims of a run may speak of."""
    cells = (*run.cells, *run.baselines, TEACHER)
    return Vocabulary(
        grid=run.grid, cells=cells, outcomes={outcome.name: outcome.scale for outcome in run.outcomes},
        points={item.name: item.points for item in run.outcomes if item.points},
    )  # fmt: skip


def read_claims(run: Run) -> tuple[list[Claim], list[str]]:
    """Claims of the space, parsed; and a message for each that cannot be read (the space was changed by hand)."""
    claims, unread, terms = [], [], vocabulary(run)
    for text in run.claims:
        try:
            claims.append(parse_claim(str(text), terms))
        except ValueError as error:
            unread.append(f"Not judged: {error}.")
    return claims, unread


def _claims_modified(run: Run, claims: Sequence[Claim]) -> bool:
    """Whether the manifest was sealed with other claims, or they came after the runs; without a seal, whether the space
    is another."""
    if run.manifest.get("claims_after_the_runs"):
        return True
    looks = [run.outline.looks.canonical] if run.outline.looks else []
    across = [run.outline.across.canonical] if run.outline.across else []
    sealed = run.manifest.get("claims_sha256")
    if sealed is None:
        return run.modified
    return bool(sealed != seal([*(claim.canonical for claim in claims), *looks, *across, *run.inference.canonical]))


def _resealed(run: Run, claims_modified: bool) -> list[str]:
    if run.manifest.get("claims_after_the_runs"):
        return ["The claims were written after the runs, so they are exploratory: no verdict here confirms anything."]
    if not claims_modified:
        return ["space.yaml was changed after the run began; its claims are the same."] if run.modified else []
    return ["The claims in space.yaml are not those that the run began with: they were edited afterwards, and are "
            "exploratory."]  # fmt: skip


def _of_source(run: Run) -> list[str]:
    """What was noted of runs of another program."""
    return [str(note) for note in run.manifest.get("notes") or ()]


def _with_worst(run: Run, scale: ScaleResult) -> Mapping[str, Estimate]:
    failed_arms = run.failed_arms[run.failed_arms["kind"].isin(RESULT_KINDS)]
    if failed_arms.empty or not run.components or scale.fit.n < 1:
        return {}
    complete = with_worst_values(run.results, failed_arms, scale)
    filled = analyse_scale(complete, run.grid, scale.outcome, inference=run.inference)
    return {row.component: row.effect for row in filled.rows}


def _plan(run: Run, headline: ScaleResult, claims: Sequence[Claim]) -> Plan | None:
    if not run.inference.paired:
        return None  # a plan is for shared seeds
    contrasts = [(row.tested, row.tested_weights) for row in headline.rows if row.tested]
    of, blocks = tested(contrasts), headline.fit.n_blocks
    if headline.scale != "log" or of is None or blocks < 1 or ranks_only(headline.fit, run.grid):
        return None
    further = further_hypotheses(claims, run.components, contrasts[0][0])
    if run.outline.across:
        further += (len(run.outline.across.levels) - 1) * (len(contrasts) + further)
    return plan(of, blocks, effect_sd(run, headline), further, run.inference.alpha)


def effect_sd(run: Run, headline: ScaleResult) -> EffectSD | None:
    """SD between blocks of the components' tested effects, the root of their mean variance; None without variance,
    or one block ran."""
    varying = [row.effect for row in headline.rows if row.effect.se > 0 and row.effect.has_interval]
    if not varying:
        return None
    mean = sqrt(sum(estimate.se**2 for estimate in varying) / len(varying))
    return EffectSD(run=run.name, sd=mean * sqrt(headline.fit.n_blocks), df=min(item.df for item in varying))


def _more_repeats(run: Run, variance: Variance) -> Repeats | None:
    """None unless the sampling noise was measured and the arms record the duration of their evaluation."""
    counts = [len(values) for values in run.results["value_repeats"].dropna() if np.ndim(values) == 1]
    seconds = float(run.results["eval_seconds"].mean()) if "eval_seconds" in run.results else nan
    is_estimated = variance.sampling > 0 and variance.residual > 0 and seconds > 0
    if not counts or not is_estimated:
        return None
    part = min(variance.sampling**2 / variance.residual**2, 1.0)
    return Repeats(now=round(float(np.mean(counts))), seconds=seconds, narrower=1 - sqrt(1 - part / 2))
