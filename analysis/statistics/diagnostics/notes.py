"""Sentences on what is missing from a run, and on what its design cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.fractions import MIN_BLOCKS, resolution
from branchwise.analysis.records.observations import Observations
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.screening import ranks_only


def unfinished(progress: str) -> list[str]:
    """Return a note on an unfinished plan. progress: such as "4 of 10 blocks", empty at the end."""
    return [f"Not judged: {progress} of the plan are finished."] if progress else []


def limits(declared: Mapping[str, Any], spent: Mapping[str, Any], reached: str) -> list[str]:
    """The limit that stopped the run, if any, and how much of its limits it used."""
    taken = [
        text.format(f"{float(spent.get(key, 0.0)):.3g} of {float(declared[key]):g}")
        for key, text in (("hours", "{} h"), ("gpu_hours", "{} GPU hours"), ("cost", "a cost of {}"))
        if isinstance(declared.get(key), int | float)
    ]
    if reached:
        hours = f"{float(spent.get('hours', 0.0)):.3g} h"
        return [f"Ended at a limit: {reached}. The run has taken {', '.join(taken) or hours}."]
    return [f"Limits: the run has taken {', '.join(taken)}."] if taken and spent else []


def seal_notes(late_claims: bool, claims_modified: bool, space_modified: bool) -> list[str]:
    """Changes after the start of the run: claims, or only the rest of its space."""
    if late_claims:
        return ["The claims were written after the runs, so they are exploratory: no verdict here confirms anything."]
    if claims_modified:
        return ["The claims in space.yaml are not those that the run began with: they were edited afterwards, and are "
                "exploratory."]  # fmt: skip
    return ["space.yaml was changed after the run began; its claims are the same."] if space_modified else []


def idle(observed: Observations) -> list[str]:
    """Seeds and components without any effect."""
    results = observed.results[observed.results["kind"] != "baseline"]
    column, title = observed.outcomes[0].name, observed.outcomes[0].title
    repeated = results.groupby("cell")[column].agg(["nunique", "size"])
    repeated = repeated[repeated["size"] > 1]
    sentences = []
    if len(repeated) and (repeated["nunique"] == 1).all():
        sentences.append(
            f"Every seed gave the same {title} in each cell: the seed changes nothing. Is it used? No effect can be "
            "tested."
        )
    wide = results.pivot_table(index="block", columns="cell", values=column)
    for name in observed.grid.components:
        pairs = [pair for pair in _pairs(observed.grid, name) if pair[0] in wide and pair[1] in wide]
        both = [wide[[off, on]].dropna() for off, on in pairs]
        if sum(map(len, both)) > 1 and all((rows.iloc[:, 0] == rows.iloc[:, 1]).all() for rows in both):
            sentences.append(
                f"{name} changes nothing: with and without it, every {title} is the same to the last digit. Does the "
                "setting reach the training?"
            )
    return sentences


def _pairs(grid: Grid, name: str) -> list[tuple[str, str]]:
    """Pairs of cells that differ only in this component: at its reference, at another level."""
    factor = grid.factor(name)
    return [
        (grid.name((*before, factor.reference, *after)), grid.name((*before, level, *after)))
        for level in factor.levels
        if level != factor.reference
        for before, after in grid.settings_of_others(name, (factor.reference, level))
    ]


def cells_with_failures(observed: Observations) -> tuple[str, ...]:
    """Cells of the components that have a failed arm."""
    failed = observed.factorial_failed
    return tuple(dict.fromkeys(failed["cell"].dropna()))


def completeness(arms: pd.DataFrame, failed: pd.DataFrame, missing: Sequence[str], planned: int | None) -> list[str]:
    """Return notes on the planned arms that have no value.

    Args:
        arms: Each arm that ran.
        failed: Those without a value.
        missing: Names of planned arms that have no row.
        planned: How many arms were planned, if known; for arms that no plan names.
    """
    notes = []
    if missing:
        notes.append(f"Planned arms without a row yet ({len(missing)}): {_some(missing)}.")
    elif planned is not None and planned > len(arms):
        notes.append(f"{planned - len(arms)} of {planned} planned arms have no row yet.")
    for status, rows in failed.groupby("status", dropna=False):
        names = _some(tuple(rows["arm"]))
        verb = {"failed": "failed", "diverged": "diverged"}.get(
            str(status), f"ended as {status} without a finite value"
        )
        notes.append(f"{len(rows)} arm{'s' if len(rows) > 1 else ''} {verb}: {names}.")
    return notes


def stopped(arms: pd.DataFrame, scheduler: object) -> list[str]:
    """Return a note on the arms of a search that its scheduler stopped."""
    number = int((arms["status"] == "stopped").sum())
    if not number:
        return []
    return [f"{number} searched arm{'s were' if number > 1 else ' was'} stopped at a rung by {scheduler}, as planned."]


def _some(names: Sequence[str], limit: int = 12) -> str:
    visible = ", ".join(names[:limit])
    return visible if len(names) <= limit else f"{visible} and {len(names) - limit} more (all in ablation.json)"


def not_estimable(grid: Grid, cells: Sequence[str], headline: Attribution) -> list[str]:
    """Effects of components that the design, or the arms that finished, cannot give.

    Args:
        grid: The components.
        cells: The planned cells, and those that were found.
        headline: The attribution of the primary outcome.
    """
    if grid.is_fraction:
        return _of_a_fraction(grid, cells, headline)
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
    if not grid.is_complete:
        tested = {"leave_one_out": "leave-one-out effects", "add_one_in": "add-one-in effects",
                  "main_effect": "main effects"}  # fmt: skip
        tested_instead = tested.get(headline.rows[0].tested or "", "")
        only = f": {tested_instead} are tested instead" if tested_instead else ""
        return [f"This design runs too few cells for Shapley values and shares{only}."]
    empty = [cell for cell in cells if cell not in headline.fit.cells]
    cause = f"Without a finished arm in {_some(empty)}" if empty else "With cells that never share a block"
    return [f"{cause} these cannot be estimated: {_some(unknown)}."]


def _of_a_fraction(grid: Grid, cells: Sequence[str], headline: Attribution) -> list[str]:
    """Return notes on what a fraction cannot tell, and on whether it judges."""
    number = resolution(grid)
    pairs = "known only in sums" if number == "IV" else "mixed with effects of three"
    notes = [
        f"The run has {len(grid.planned)} of {2 ** len(grid.factors):,} combinations, a fraction of resolution "
        f"{number}: main effects are clear of effects of two components, which are {pairs}; Shapley values and shares "
        "are not known."
    ]
    if ranks_only(headline.fit, grid) and headline.fit.n:
        blocks = headline.fit.n_blocks
        notes.append(
            f"Ranking only: no component is judged from {blocks} block{'' if blocks == 1 else 's'}; verdicts take "
            f"{MIN_BLOCKS}. "
            "What leads a ranking may be noise: confirm it on fresh seeds (`branchwise follow-up`)."
        )
    empty = [cell for cell in cells if cell not in headline.fit.cells]
    if empty and headline.fit.n:
        notes.append(f"Without a finished arm in {_some(empty)} no main effect can be estimated.")
    return notes
