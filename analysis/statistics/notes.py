"""Sentences on what is missing from a run, and on what its design cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from branchwise.analysis.records import teachers
from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.statistics.attribution import ScaleResult


def notes_on(run: Run, outcomes: Sequence[ScaleResult]) -> list[str]:
    """What did not finish, what cannot be estimated, and outcomes that are analysed on another scale than declared."""
    several = teachers.notes(run.arms, f"teacher_{run.primary.name}")
    return [*_completeness(run), *_stopped(run), *_not_estimable(run, outcomes[0]), *several, *_scales(run, outcomes)]


def lost_cells(run: Run) -> tuple[str, ...]:
    """Cells of components that lost an arm."""
    rows = run.lost[run.lost["kind"].isin(RESULT_KINDS)]
    return tuple(dict.fromkeys(rows["cell"].dropna()))


def _completeness(run: Run) -> list[str]:
    notes = []
    planned = run.manifest.get("arms")
    if not len(run.results):
        notes.append("No arm has finished: nothing can be estimated yet.")
    if run.missing:
        notes.append(f"{len(run.missing)} planned arms have no row yet: {_some(run.missing)}.")
    elif isinstance(planned, int) and planned > len(run.arms) and _one_part(run):
        notes.append(f"{planned - len(run.arms)} of {planned} planned arms have no row yet.")
    for status, rows in run.lost.groupby("status", dropna=False):
        names = _some(tuple(rows["arm"]))
        word = {"failed": "failed", "diverged": "diverged"}.get(
            str(status), f"ended as {status} without a finite value"
        )
        notes.append(f"{len(rows)} arm{'s' if len(rows) > 1 else ''} {word}: {names}.")
    return notes


def _one_part(run: Run) -> bool:
    """Whether the number of arms is known: of a run with looks it is what the last of them left."""
    return len(run.outline.parts) == 1 and run.outline.looks is None


def _stopped(run: Run) -> list[str]:
    stopped = int((run.arms["status"] == "stopped").sum())
    if not stopped:
        return []
    plural = "s were" if stopped > 1 else " was"
    return [f"{stopped} searched arm{plural} stopped at a rung by {run.design.get('scheduler')}, as planned."]


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more (all in ablation.json)"


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
    if not run.grid.whole:
        return ["This design runs too few cells for Shapley values, main effects and shares."]
    cause = f"Without a finished arm in {_some(empty)}" if empty else "With cells that never share a block"
    return [f"{cause} these cannot be estimated: {_some(unknown)}."]


def _scales(run: Run, outcomes: Sequence[ScaleResult]) -> list[str]:
    found = []
    for scale in outcomes:
        outcome = scale.outcome
        if scale.scale == outcome.scale:
            continue
        values = run.results[outcome.name].dropna()
        allowed = (values > 0) if outcome.scale == "log" else (values > 0) & (values < 1)
        names = _some(tuple(run.results.loc[values.index[~allowed], "arm"]))
        span = "above 0" if outcome.scale == "log" else "between 0 and 1"
        found.append(
            f"There is no {outcome.scale} scale for {outcome.title}, because values are not {span} ({names}): the raw "
            "scale leads and no claim on its effects is judged."
        )
    return found
