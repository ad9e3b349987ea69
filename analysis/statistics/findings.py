"""Findings of a run's report: attribution, verdicts, variance, cells, notes, the next run.

All are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import Any

from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.records import teachers
from branchwise.analysis.records.folder import parts
from branchwise.analysis.records.lineage import Decision, Lineage
from branchwise.analysis.records.run import Run, claims_of, observations_of, run_at_looks
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.baseline_comparison import (
    BaselineComparison,
    Budget,
    budgets,
    compare_with_baselines,
    noninferior_cells,
    short_training_notes,
)
from branchwise.analysis.statistics.claims.judging import FamilyResult, adjust_family, judge_each, judge_family
from branchwise.analysis.statistics.claims.verdicts import Verdict, seeds_notes
from branchwise.analysis.statistics.diagnostics import notes
from branchwise.analysis.statistics.diagnostics.agreement import Agreement, agreement, agreement_notes
from branchwise.analysis.statistics.diagnostics.pairing import pairing_notes
from branchwise.analysis.statistics.diagnostics.variance import Variance, components_of_variance, variance_notes
from branchwise.analysis.statistics.estimation import effects_with_worst
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.planning import more_repeats, sensitivity_of_next
from branchwise.analysis.statistics.power import Repeats, Sensitivity
from branchwise.analysis.statistics.sequential import extended, searched
from branchwise.analysis.statistics.sequential.extended import exploratory, with_decisions
from branchwise.analysis.statistics.sequential.looks import LookResults, judge_at_looks
from branchwise.analysis.statistics.table import CellRow, cell_rows


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
    outcomes: tuple[Attribution, ...]
    raws: tuple[Attribution, ...]
    verdicts: tuple[Verdict, ...]
    claims_modified: bool
    standings: tuple[BaselineComparison, ...]
    noninferior_cells: tuple[str, ...]
    budgets: tuple[Budget, ...]
    variance: Variance
    agreement: tuple[Agreement, ...]
    with_worst: Mapping[str, Estimate]
    sensitivity: Sensitivity | None
    repeats: Repeats | None
    cells: tuple[CellRow, ...]
    notes: tuple[str, ...]
    looks: LookResults | None = None

    @property
    def headline(self) -> Attribution:
        return self.outcomes[0]

    @property
    def raw(self) -> Attribution:
        return self.raws[0]


def analyze_part(run: Run) -> Findings:
    """Analyze a part of a loaded run; `analyze_run` analyzes all of them.

    Never raises for missing arms, cells or components: the notes list what is unknown.
    """
    declared = claims_of(run)
    if run.has_looks:
        family, looks = judge_at_looks(run_at_looks(run, declared.claims))
        return _findings(run.up_to(looks.blocks[-1]) if looks.blocks else run, family, declared.unread, looks)
    (family,) = judge_family([observations_of(run, declared.claims)], run.lineage.tested_components)
    return _findings(run, family, declared.unread)


def analyze_run(run: Run) -> list[Findings]:
    """Analyze each part of a loaded run; its data sets share one family of claims and effects.

    Raises:
        RunFolderError: An arm is of a data set that the run did not plan.
    """
    of_parts = parts(run)
    if not run.outline.across:
        return [analyze_part(part) for part in of_parts]
    declared = [claims_of(part) for part in of_parts]
    together = judge_family([observations_of(part, of.claims) for part, of in zip(of_parts, declared, strict=True)])
    return [_findings(part, family, of.unread) for part, family, of in zip(of_parts, together, declared, strict=True)]


def _findings(run: Run, family: FamilyResult, unread: Sequence[str], looks: LookResults | None = None) -> Findings:
    """Findings of a part of a run after tests of its claims: diagnostics, plan of the next run."""
    lineage, observed = run.lineage, observations_of(run)
    family = with_decisions(lineage, family)
    outcomes, raws = family.outcomes, tuple(family.evidence.raws)
    results, headline, claims = observed.results, outcomes[0], [verdict.claim for verdict in family.verdicts]
    variance, agreeing = components_of_variance(headline, results), agreement(headline, results)
    along, claims_modified = budgets(observed), run.claims_modified(claims)
    data_sets = len(run.outline.across.levels) if run.outline.across else 1
    return Findings(
        run=run,
        warnings=(*(() if looks else notes.unfinished(run.unfinished)), *notes.idle(observed)),
        outcomes=outcomes,
        raws=raws,
        verdicts=exploratory(family.verdicts) if lineage.adds_seeds else family.verdicts,
        claims_modified=claims_modified,
        standings=compare_with_baselines(results, run.outline.baselines, headline),
        noninferior_cells=noninferior_cells(run.outline.planned, headline),
        budgets=along,
        variance=variance,
        agreement=agreeing,
        with_worst=effects_with_worst(observed, headline),
        sensitivity=sensitivity_of_next(run.name, headline, claims, data_sets),
        repeats=more_repeats(results, variance),
        cells=cell_rows(observed, run.outline, headline, raws[0]),
        looks=looks,
        notes=(
            *_notes_on_run(run, lineage, claims_modified, looks, pairing_notes(results, headline)),
            *unread,
            *_notes_on_arms(run, headline),
            *family.evidence.notes,
            *([] if looks or lineage.adds_seeds else seeds_notes(family.verdicts)),
            *short_training_notes(results, headline, along),
            *variance_notes(headline, variance, notes.cells_with_failures(observed)),
            *agreement_notes(agreeing, run.inference.alpha),
        ),
    )


def _notes_on_run(
    run: Run, lineage: Lineage, claims_modified: bool, looks: LookResults | None, pairing: Sequence[str]
) -> list[str]:
    """Return notes on a run's origin, how it was stopped, and whether it is as declared."""
    manifest = run.manifest
    late_claims = bool(manifest.get("claims_after_the_runs"))
    return [
        *notes.limits(run.space.get("limits") or {}, manifest.get("spent") or {}, manifest.get("limit") or ""),
        *(looks.notes() if looks else ()),
        *pairing,
        *extended.notes(lineage, manifest.get("reused") or {}, run.inference),
        *notes.seal_notes(late_claims, claims_modified, run.modified),
        *(str(note) for note in manifest.get("notes") or ()),
    ]


def _notes_on_arms(run: Run, headline: Attribution) -> list[str]:
    """Return notes on missing arms, and on what the design cannot tell without them or at all."""
    outline, better = run.outline, run.outline.better("value")
    is_fixed = len(outline.groups) == 1 and outline.looks is None and outline.across is None
    planned = run.manifest.get("arms") if is_fixed else None
    cells = outline.planned if run.grid.is_fraction else run.cells
    if run.components:
        effects = notes.not_estimable(run.grid, cells, headline)
    elif run.searched:
        effects = []
    else:
        where = "No component is named" if "source" in run.manifest else "The space declares no components"
        effects = [f"{where}: there are no effects to attribute."]
    return [
        *([] if len(run.results) else ["No arm has finished: nothing can be estimated yet."]),
        *notes.completeness(run.arms, run.failed_arms, run.missing, planned if isinstance(planned, int) else None),
        *notes.stopped(run.arms, run.design.get("scheduler")),
        *searched.notes(searched.searched(run.arms, run.design), better),
        *effects,
        *teachers.notes(run.arms, f"teacher_{run.primary.name}"),
    ]


def explore_part(run: Run, texts: Sequence[str]) -> tuple[Verdict, ...]:
    """Test claims that were written after the run on a single part of it; see `explore_run`."""
    return _explored([run], texts)[0]


def explore_run(run: Run, texts: Sequence[str]) -> list[tuple[Verdict, ...]]:
    """Test claims written after the run on each part, those of its data sets adjusted together.

    They are adjusted only among themselves, and each is exploratory, regardless of its p.

    Raises:
        ValueError: A text is no claim that this run can test.
    """
    of_parts = parts(run)
    return _explored(of_parts, texts) if run.outline.across else [explore_part(part, texts) for part in of_parts]


def _explored(of_parts: Sequence[Run], texts: Sequence[str]) -> list[tuple[Verdict, ...]]:
    claims = [[parse_claim(text, part.vocabulary) for text in texts] for part in of_parts]
    each = judge_each([observations_of(part, of_part) for part, of_part in zip(of_parts, claims, strict=True)])
    alone = [
        replace(part, outcomes=tuple(replace(attribution, rows=()) for attribution in part.outcomes)) for part in each
    ]
    return [exploratory(part.verdicts) for part in adjust_family(alone, of_parts[0].unfinished)]


def decisions(findings: Findings) -> list[dict[str, Any]]:
    """All decisions of a run, with those from before its own extension; plain values for a plan."""
    results: dict[str, Decision] = {}
    for item in (*findings.run.lineage.decided, *_decisions(findings)):
        results.setdefault(item.hypothesis, item)  # a later run does not retest any of them
    return [asdict(entry) | {"p_holm": None if isnan(entry.p_holm) else entry.p_holm} for entry in results.values()]


def _decisions(findings: Findings) -> Iterator[Decision]:
    run = findings.run
    for verdict in findings.verdicts:
        yield Decision(
            run=run.name, hypothesis=verdict.claim.canonical, text=verdict.claim.text, weights=verdict.weights,
            verdict="exploratory" if findings.claims_modified else verdict.status, p_holm=verdict.test.p_holm,
        )  # fmt: skip
    for number, attribution in enumerate(findings.outcomes):
        for row in attribution.rows:
            if row.tested:
                name = row.hypothesis(attribution.outcome.name if number else "")
                yield Decision(
                    run=run.name, hypothesis=name, text=name, component=row.component, outcome=attribution.outcome.name,
                    weights=row.tested_weights, verdict=_verdict(row, findings), p_holm=row.p_holm,
                )  # fmt: skip


def _verdict(row: ComponentRow, findings: Findings) -> str:
    if findings.run.lineage.adds_seeds:
        return "exploratory"
    if not row.p_holm <= findings.run.inference.alpha:
        return "not shown"
    return "better" if row.effect.value > 0 else "worse"
