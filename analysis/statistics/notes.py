"""Sentences on what is missing from a run, and on what its design cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from branchwise.analysis.declared.fractions import MIN_BLOCKS, resolution
from branchwise.analysis.records import teachers
from branchwise.analysis.records.run import RESULT_KINDS, Run
from branchwise.analysis.statistics.attribution import ScaleResult
from branchwise.analysis.statistics.screening.effects import ranks_only
from branchwise.analysis.statistics.sequential import searched


def notes_on(run: Run, outcomes: Sequence[ScaleResult]) -> list[str]:
    """What did not finish, what cannot be estimated, and outcomes that are analysed on another scale than declared."""
    teacher_notes = teachers.notes(run.arms, f"teacher_{run.primary.name}")
    return [
        *_completeness(run),
        *_stopped(run),
        *searched.notes(run),
        *_not_estimable(run, outcomes[0]),
        *teacher_notes,
    ]


def unfinished(run: Run) -> list[str]:
    """A note when the plan has not run to its end."""
    return [f"Not judged: {run.unfinished} of the plan are finished."] if run.unfinished else []


def limits(run: Run) -> list[str]:
    """The limit that stopped the run, and how much of its limits it used."""
    declared, spent = run.space.get("limits") or {}, run.manifest.get("spent") or {}
    taken = [
        f"{float(spent.get(key, 0.0)):.3g} of {float(declared[key]):g} {unit}"
        for key, unit in (("hours", "h"), ("gpu_hours", "GPU hours"), ("cost", "of cost"))
        if isinstance(declared.get(key), int | float)
    ]
    if limit := run.manifest.get("limit"):
        hours = f"{float(spent.get('hours', 0.0)):.3g} h"
        return [f"Ended at a limit: {limit}. The run has taken {', '.join(taken) or hours}."]
    return [f"Limits: the run has taken {', '.join(taken)}."] if taken and spent else []


def idle(run: Run) -> list[str]:
    """Seeds and components without any effect."""
    results = run.results[run.results["kind"].isin(RESULT_KINDS)]
    column = run.primary.name
    repeated = results.groupby("cell")[column].agg(["nunique", "size"])
    repeated = repeated[repeated["size"] > 1]
    sentences = []
    if len(repeated) and (repeated["nunique"] == 1).all():
        sentences.append(
            f"Every seed gave the same {run.primary.title} in each cell: the seed changes nothing. Is it used? No "
            "effect can be tested."
        )
    wide = results.pivot_table(index="block", columns="cell", values=column)
    for name in run.components:
        pairs = [pair for pair in _pairs(run, name) if pair[0] in wide and pair[1] in wide]
        both = [wide[[off, on]].dropna() for off, on in pairs]
        if sum(map(len, both)) > 1 and all((rows.iloc[:, 0] == rows.iloc[:, 1]).all() for rows in both):
            sentences.append(
                f"{name} changes nothing: with and without it, every {run.primary.title} is the same to the last "
                "digit. Does the setting reach the training?"
            )
    return sentences


def _pairs(run: Run, name: str) -> list[tuple[str, str]]:
    """The cells that differ only in this component: at its reference, and at another of its levels."""
    factor = run.grid.factor(name)
    return [
        (run.grid.name((*before, factor.reference, *after)), run.grid.name((*before, level, *after)))
        for level in factor.levels
        if level != factor.reference
        for before, after in run.grid.settings_of_others(name, (factor.reference, level))
    ]


def cells_without_runs(run: Run) -> tuple[str, ...]:
    """Cells of components with a failed arm."""
    rows = run.failed_arms[run.failed_arms["kind"].isin(RESULT_KINDS)]
    return tuple(dict.fromkeys(rows["cell"].dropna()))


def _completeness(run: Run) -> list[str]:
    notes = []
    planned = run.manifest.get("arms")
    if not len(run.results):
        notes.append("No arm has finished: nothing can be estimated yet.")
    if run.missing:
        notes.append(f"{len(run.missing)} planned arms have no row yet: {_some(run.missing)}.")
    elif isinstance(planned, int) and planned > len(run.arms) and _is_single_part(run):
        notes.append(f"{planned - len(run.arms)} of {planned} planned arms have no row yet.")
    for status, rows in run.failed_arms.groupby("status", dropna=False):
        names = _some(tuple(rows["arm"]))
        verb = {"failed": "failed", "diverged": "diverged"}.get(
            str(status), f"ended as {status} without a finite value"
        )
        notes.append(f"{len(rows)} arm{'s' if len(rows) > 1 else ''} {verb}: {names}.")
    return notes


def _is_single_part(run: Run) -> bool:
    """Whether the number of arms is known: of a run with looks it is known after the last of them."""
    return len(run.outline.parts) == 1 and run.outline.looks is None and run.outline.across is None


def _stopped(run: Run) -> list[str]:
    stopped = int((run.arms["status"] == "stopped").sum())
    if not stopped:
        return []
    plural = "s were" if stopped > 1 else " was"
    return [f"{stopped} searched arm{plural} stopped at a rung by {run.design.get('scheduler')}, as planned."]


def _some(names: Sequence[str], limit: int = 12) -> str:
    visible = ", ".join(names[:limit])
    return visible if len(names) <= limit else f"{visible} and {len(names) - limit} more (all in ablation.json)"


def _not_estimable(run: Run, headline: ScaleResult) -> list[str]:
    if not run.components:
        if run.searched:
            return []
        where = "No component is named" if "source" in run.manifest else "The space declares no components"
        return [f"{where}: there are no effects to attribute."]
    if run.grid.is_fraction:
        return _of_a_fraction(run, headline)
    quantities = ("shapley", "main_effect", "leave_one_out", "add_one_in")
    if headline.rows and not any(row.tested for row in headline.rows):
        return ["This design runs too few cells for any effect of a component."]
    unknown = [
        f"{quantity.replace('_', '-')} of {row.component}"
        for quantity in quantities
        for row in headline.rows
        if not getattr(row, quantity).has_value
    ]
    if not unknown:
        return []
    empty = [cell for cell in run.cells if cell not in headline.fit.cells]
    if not run.grid.is_complete:
        tested = {"leave_one_out": "leave-one-out effects", "add_one_in": "add-one-in effects",
                  "main_effect": "main effects"}  # fmt: skip
        tested_instead = tested.get(headline.rows[0].tested or "", "")
        only = f": {tested_instead} are tested instead" if tested_instead else ""
        return [f"This design runs too few cells for Shapley values and shares{only}."]
    cause = f"Without a finished arm in {_some(empty)}" if empty else "With cells that never share a block"
    return [f"{cause} these cannot be estimated: {_some(unknown)}."]


def _of_a_fraction(run: Run, headline: ScaleResult) -> list[str]:
    """What a fraction cannot tell, and whether it judges."""
    grid = run.grid
    number = resolution(grid)
    pairs = "known only in sums" if number == "IV" else "mixed with effects of three"
    notes = [
        f"The run has {len(grid.planned)} of {2 ** len(grid.factors):,} combinations, a fraction of resolution "
        f"{number}: main effects are clear of effects of two components, which are {pairs}; Shapley values and shares "
        "are not known."
    ]
    if ranks_only(headline.fit, grid) and len(run.results):
        blocks = headline.fit.n_blocks
        notes.append(
            f"Ranking only: no component is judged from {blocks} block{'' if blocks == 1 else 's'}; verdicts take "
            f"{MIN_BLOCKS}. "
            "What leads a ranking may be noise: confirm it on fresh seeds (`branchwise follow-up`)."
        )
    empty = [cell for cell in run.planned if cell not in headline.fit.cells]
    if empty and len(run.results):
        notes.append(f"Without a finished arm in {_some(empty)} no main effect can be estimated.")
    return notes
