"""Everything the report says of one run, computed once: model, attribution, verdicts, variance, plan, cells, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np

from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.statistics import teachers
from branchwise.analysis.statistics.agreement import Agreement, agreement, warnings
from branchwise.analysis.statistics.attribution import ScaleResult, analyse_scale, with_worst_in_place
from branchwise.analysis.statistics.cells import TEACHER
from branchwise.analysis.statistics.claims import Claim, further_hypotheses, parse_claim, seal
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.power import Design, EffectSD, Plan, Repeats, plan
from branchwise.analysis.statistics.variance import Variance, components_of_variance, flags
from branchwise.analysis.statistics.verdicts import Verdict, judge, settle


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of the table of cells. change: distance minus the reference's, raw; relative: v minus it, log scale."""

    cell: str
    on: tuple[bool, ...] | None  # by component; None for a baseline or the teacher
    n: int
    mean: float
    sd: float
    shown: Mapping[str, float]  # means of the columns that stand beside the value
    change: Estimate
    relative: Estimate
    arms: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Results of one run. `log` is None when a value is not above 0; then `raw` leads.

    with_worst: Shapley values, by component, with bad values in the place of lost arms; empty when none was lost.
    edited: whether the claims are others than those that the run was sealed with.
    """

    run: Run
    log: ScaleResult | None
    raw: ScaleResult
    verdicts: tuple[Verdict, ...]
    edited: bool
    variance: Variance
    agreement: tuple[Agreement, ...]
    with_worst: Mapping[str, Estimate]
    plan: Plan | None
    repeats: Repeats | None
    cells: tuple[CellRow, ...]
    notes: tuple[str, ...]

    @property
    def headline(self) -> ScaleResult:
        return self.log or self.raw


def analyse(run: Run) -> Findings:
    """Analyse one loaded run. Never raises for missing arms, cells or components: the notes say what is not known."""
    results = run.results
    log = analyse_scale(results, run.components, "log") if (results["value"] > 0).all() else None
    raw = analyse_scale(results, run.components, "raw")
    claims, unread = read_claims(run)
    verdicts, rows = settle(judge(claims, log, results, run.components), log)
    if log is not None:
        log = replace(log, rows=rows)
    headline = log or raw
    variance = components_of_variance(headline, results)
    agreeing = agreement(headline, results, run.components)
    edited = _edited(run, claims)
    return Findings(
        run=run, log=log, raw=raw, verdicts=verdicts, edited=edited, variance=variance, agreement=agreeing,
        with_worst=_with_worst(run, headline), plan=_plan(run, log, further_hypotheses(claims, run.components)),
        repeats=_more_repeats(run, headline, variance), cells=_cell_rows(run, log, raw),
        notes=(*_completeness(run), *_stopped(run), *_resealed(edited), *unread, *_not_estimable(run, headline),
               *teachers.notes(run.arms), *_scale_note(run, log), *flags(headline, variance, _lost_cells(run)),
               *warnings(agreeing)),
    )  # fmt: skip


def read_claims(run: Run) -> tuple[list[Claim], list[str]]:
    """Claims of the space, parsed; and a sentence for each that cannot be read (the space was changed by hand)."""
    names = (*run.cells, *run.baselines, TEACHER)
    claims, unread = [], []
    for text in run.claims:
        try:
            claims.append(parse_claim(str(text), run.components, names))
        except ValueError as error:
            unread.append(f"Not judged: {error}.")
    return claims, unread


def _edited(run: Run, claims: Sequence[Claim]) -> bool:
    """Whether the manifest was sealed with other claims; a run without a seal cannot tell."""
    sealed = run.manifest.get("claims_sha256")
    return sealed is not None and sealed not in (
        seal([claim.canonical for claim in claims]),
        seal(run.claims, canonical=False),
    )


def _resealed(edited: bool) -> list[str]:
    if not edited:
        return []
    return ["The claims in space.yaml are not those that the run began with: they were edited afterwards, and are "
            "exploratory."]  # fmt: skip


def _with_worst(run: Run, scale: ScaleResult) -> Mapping[str, Estimate]:
    lost = run.lost[run.lost["kind"].isin(RESULT_KINDS)]
    if lost.empty or not run.components or scale.fit.n < 1:
        return {}
    filled = analyse_scale(with_worst_in_place(run.results, lost, scale), run.components, scale.scale)
    return {row.component: row.shapley for row in filled.rows}


def _plan(run: Run, log: ScaleResult | None, claims: int) -> Plan | None:
    blocks = log.fit.n_blocks if log else 0
    if not log or not run.components or blocks < 1:
        return None
    design: Design = "factorial" if run.whole else "leave_one_out"
    return plan(len(run.components), blocks, design, effect_sd(run, log), claims)


def effect_sd(run: Run, log: ScaleResult) -> EffectSD | None:
    """SD between blocks of the headline effect that varied most; None where nothing varies, or one block ran."""
    shown = [row.shapley if run.whole else row.leave_one_out for row in log.rows]
    varying = [estimate for estimate in shown if estimate.se > 0]
    if not varying:
        return None
    most = max(varying, key=lambda estimate: estimate.se)
    return EffectSD(run=run.name, sd=most.se * sqrt(log.fit.n_blocks), df=most.df)


def _more_repeats(run: Run, scale: ScaleResult, variance: Variance) -> Repeats | None:
    """None unless the sampling noise was measured and the arms tell how long their evaluation took."""
    counts = [len(values) for values in run.results["value_repeats"] if np.ndim(values) == 1]
    seconds = float(run.results["eval_seconds"].mean()) if "eval_seconds" in run.results else nan
    known = variance.sampling > 0 and variance.residual > 0 and seconds > 0
    if not counts or not known:
        return None
    part = min(variance.sampling**2 / variance.residual**2, 1.0)
    return Repeats(now=round(float(np.mean(counts))), seconds=seconds, narrower=1 - sqrt(1 - part / 2))


def _cell_rows(run: Run, log: ScaleResult | None, raw: ScaleResult) -> tuple[CellRow, ...]:
    rows = []
    results = run.arms[run.arms["kind"].isin((*RESULT_KINDS, "baseline"))]
    groups = dict(iter(results.groupby("cell", sort=False)))
    baselines = [*run.baselines, *results.loc[results["kind"] == "baseline", "cell"].dropna()]
    for cell in dict.fromkeys((*run.cells, *baselines)):
        arms = groups.get(cell, results.iloc[:0])
        done = run.results[run.results["cell"] == cell]
        on = run.on(cell)
        rows.append(
            CellRow(
                cell=cell, on=None if on is None else tuple(on[name] for name in run.components),
                n=len(done), mean=float(done["value"].mean()), sd=float(done["value"].std(ddof=1)),
                shown={column.name: float(done[column.name].mean()) for column in run.shown},
                change=flip(raw.relative.get(cell, Estimate())),
                relative=log.relative.get(cell, Estimate()) if log else Estimate(),
                arms=tuple(done["arm"]), lost=tuple(arms.loc[~arms["arm"].isin(done["arm"]), "arm"]),
            )
        )  # fmt: skip
    rows += [
        CellRow(
            cell=teacher.name, on=None, n=1, mean=teacher.value, sd=nan,
            shown={column.name: nan for column in run.shown},
            change=Estimate(), relative=Estimate(), arms=(), lost=(),
        )
        for teacher in teachers.teachers(results)
    ]  # fmt: skip
    return tuple(rows)


def flip(estimate: Estimate) -> Estimate:
    """The estimate of minus the quantity."""
    return replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)


def _completeness(run: Run) -> list[str]:
    notes = []
    planned = run.manifest.get("arms")
    if not len(run.results):
        notes.append("No arm has finished: nothing can be estimated yet.")
    if run.missing:
        notes.append(f"{len(run.missing)} planned arms have no row yet: {_some(run.missing)}.")
    elif isinstance(planned, int) and planned > len(run.arms) and len(run.outline.parts) == 1:
        notes.append(f"{planned - len(run.arms)} of {planned} planned arms have no row yet.")
    for status, rows in run.lost.groupby("status", dropna=False):
        names = _some(tuple(rows["arm"]))
        word = {"failed": "failed", "diverged": "diverged"}.get(
            str(status), f"ended as {status} without a finite value"
        )
        notes.append(f"{len(rows)} arm{'s' if len(rows) > 1 else ''} {word}: {names}.")
    return notes


def _stopped(run: Run) -> list[str]:
    stopped = int((run.arms["status"] == "stopped").sum())
    if not stopped:
        return []
    plural = "s were" if stopped > 1 else " was"
    return [f"{stopped} searched arm{plural} stopped at a rung by {run.design.get('scheduler')}, as planned."]


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more (all in ablation.json)"


def _lost_cells(run: Run) -> tuple[str, ...]:
    rows = run.lost[run.lost["kind"].isin(RESULT_KINDS)]
    return tuple(dict.fromkeys(rows["cell"].dropna()))


def _not_estimable(run: Run, headline: ScaleResult) -> list[str]:
    if not run.components:
        if run.searched:
            return []
        return ["The space declares no components: there are no effects to attribute."]
    quantities = ("shapley", "main_effect", "leave_one_out", "add_one_in")
    unknown = [
        f"{quantity.replace('_', '-')} of {row.component}"
        for quantity in quantities
        for row in headline.rows
        if not getattr(row, quantity).known
    ]
    if not unknown:
        return []
    empty = [cell for cell in run.cells if cell not in headline.fit.cells]
    if not run.whole:
        return ["This design runs too few cells for Shapley values, main effects and shares."]
    cause = f"Without a finished arm in {_some(empty)}" if empty else "With cells that never share a block"
    return [f"{cause} these cannot be estimated: {_some(unknown)}."]


def _scale_note(run: Run, log: ScaleResult | None) -> list[str]:
    if log is not None:
        return []
    low = run.results["value"] <= 0
    names = _some(tuple(run.results.loc[low, "arm"]))
    return [f"There is no log scale, because values are not above 0 ({names}): the raw scale leads and no claim on the "
            "log scale is judged."]  # fmt: skip
