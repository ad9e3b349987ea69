"""Two runs or two cells compared seed by seed, or two groups of a table by Welch's t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from branchwise.analysis.declared.inference import ALPHA, Inference
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.importers.arrange import arrange
from branchwise.analysis.importers.columns import find_column
from branchwise.analysis.importers.options import BETTER, ImportOptions, read_alpha
from branchwise.analysis.importers.run_table import RunTable, listed
from branchwise.analysis.importers.sources import table_of
from branchwise.analysis.records.comparing import IncomparableError, check_comparable, differing_fields
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import find_run, load_run, parts
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.comparisons.pairwise import Difference, Sample, adjusted, difference


@dataclass(frozen=True, kw_only=True)
class Side:
    """A side of a comparison: a run, or a cell of it."""

    name: str
    run: Run
    cell: str = ""

    def samples(self) -> dict[str, dict[str, float]]:
        """The value of each seed, by cell."""
        rows = self.run.results
        rows = rows[rows["cell"] == self.cell] if self.cell else rows
        seeds = rows["block_label"] if "block_label" in rows else rows["seed"].map(lambda seed: f"{seed:.0f}")
        by_cell: dict[str, dict[str, float]] = {}
        for cell, seed, value in zip(rows["cell"], seeds, rows[self.run.primary.name], strict=True):
            by_cell.setdefault(str(cell), {})[str(seed)] = float(value)
        return by_cell


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second minus the first of two runs, cells or groups.

    Attributes:
        names: Of the two.
        metric: What was measured.
        better: The direction that is better; empty where none is declared.
        rules: How they are compared.
        rows: A difference for each cell that is compared.
        settings: Settings that differ, with both values.
        notes: What a reader must know.
    """

    names: tuple[str, str]
    metric: str
    better: str
    rules: Inference
    rows: tuple[Difference, ...]
    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> pd.DataFrame:
        """A row per cell: means, the difference on the test's scale and in the unit, p-values."""
        import pandas as pd

        return pd.DataFrame(
            {
                "cell": row.name, "first": row.first[0], "second": row.second[0], "seeds": row.seeds,
                "scale": row.outcome.scale, "estimate": row.estimate.value, "low": row.estimate.low,
                "high": row.estimate.high, "df": row.estimate.df, "p": row.estimate.p, "p_holm": row.p_holm,
                "raw": row.raw.value, "raw_low": row.raw.low, "raw_high": row.raw.high, "reason": row.estimate.reason,
            }
            for row in self.rows
        )  # fmt: skip


def compare_runs(first: str, second: str, storage: Path, paired: bool = True, alpha: float = ALPHA) -> Comparison:
    """Compare two runs, cell by cell, or two cells, each written `RUN:CELL`.

    Raises:
        RunFolderError: They are measured differently, or share no cell or no seed.
    """
    sides = [_side(name, storage) for name in (first, second)]
    outcome = _same_outcome(sides)
    try:
        check_comparable([side.run for side in sides])
    except IncomparableError as error:
        raise RunFolderError(str(error)) from error
    pairs = _pairs(sides)
    rules = Inference(paired=paired, alpha=read_alpha(alpha))
    if paired:
        _refuse_unshared(pairs, sides)
    rows = adjusted([difference(name, pair, other, outcome, rules) for name, pair, other in pairs])
    settings: dict[str, tuple[Any, Any]] = {
        key: (values[0], values[1]) for key, values in differing_fields([side.run for side in sides]).items()
    }
    levels = [side.run.outline.levels(side.cell) or {} for side in sides]
    settings |= {
        f"component.{name}": (levels[0].get(name), levels[1].get(name))
        for name in dict.fromkeys((*levels[0], *levels[1]))
        if levels[0].get(name) != levels[1].get(name)
    }
    notes = [
        f"{side.name}: {len(side.run.failed_arms)} runs without a value." for side in sides if len(side.run.failed_arms)
    ]
    return Comparison(
        names=(sides[0].name, sides[1].name), metric=sides[0].run.metric, better=outcome.better, rules=rules,
        rows=tuple(rows), settings=settings, notes=(*notes, *_notes(rows)),
    )  # fmt: skip


def compare_groups(runs: pd.DataFrame | RunTable | str, group: str, options: ImportOptions) -> Comparison:
    """Compare the two groups of a table by Welch's t.

    Args:
        runs: A table, or the path of external runs.
        group: The column that distinguishes the groups.
        options: Further facts about the table; the direction may be empty.

    Raises:
        RunFolderError: The number of groups is not two, or a group has a single run.
    """
    table, source = table_of(runs)
    labels = table.categorical(find_column(table, group, "setting", source)).used
    if len(labels) != 2:
        raise RunFolderError(
            f"{source}: {group} must have two values, not {len(labels)} ({listed(labels)}); `branchwise "
            f"analyze --components {group} --unpaired` compares several"
        )
    arranged = arrange(table, _group_options(options, group, labels[0]), source)
    rules = Inference(paired=False, alpha=read_alpha(options.alpha))
    finished = arranged.arms[arranged.arms["status"] == "done"]
    samples = [
        {str(seed): float(value) for seed, value in zip(rows["block_label"], rows["value"], strict=True)}
        for rows in (finished[finished["cell"] == cell] for cell in ("base", "full"))
    ]
    without_value = len(arranged.arms) - len(finished)
    missing = [f"{without_value} runs without a result are left out."] if without_value else []
    outcome = Outcome(name="value", title=options.value, scale=arranged.unit.scale, range=arranged.unit.range)
    rows = adjusted([difference(f"{labels[1]} - {labels[0]}", samples[0], samples[1], outcome, rules)])
    return Comparison(
        names=(labels[0], labels[1]), metric=options.value, better=BETTER.get(options.direction, ""), rules=rules,
        rows=tuple(rows), notes=(*missing, *arranged.notes, *_notes(rows)),
    )  # fmt: skip


def _group_options(options: ImportOptions, group: str, reference: str) -> ImportOptions:
    return replace(
        options, components=[group], reference={group: reference or "none"}, paired=False,
        direction=options.direction or "minimize", scale=options.scale or "identity",
    )  # fmt: skip


def _side(text: str, storage: Path) -> Side:
    """The run, or the cell of a run, that `NAME` or `NAME:CELL` names."""
    name, cell = text, ""
    if ":" in text and not Path(text).exists():
        name, _, cell = text.partition(":") if not Path(text.rpartition(":")[0]).exists() else text.rpartition(":")
    run = load_run(find_run(name, storage))
    if run.outline.across:
        raise RunFolderError(
            f"{text}: on several data sets ({', '.join(run.outline.across.levels)}), whose values are compared with no "
            "others; name runs on one data set"
        )
    if len(groups := parts(run)) > 1:
        run = groups[0]
    if run.unfinished:
        raise RunFolderError(f"{text}: only {run.unfinished} are finished; resume it first")
    measured = list(dict.fromkeys(map(str, run.results["cell"])))
    if cell and cell not in measured:
        raise RunFolderError(f"{text}: {cell} is no cell with a result; there are {', '.join(measured) or 'none'}")
    return Side(name=text, run=run, cell=cell)


def _same_outcome(sides: Sequence[Side]) -> Outcome:
    """The primary outcome, the same of both. Raises RunFolderError where it is not."""
    first, other = (side.run.primary for side in sides)
    aspects: dict[str, tuple[Any, Any]] = {
        "metric": (first.title, other.title), "direction": (first.better, other.better),
        "scale": (first.scale, other.scale), "range": (first.range, other.range),
    }  # fmt: skip
    for what, (left, right) in aspects.items():
        if left != right:
            raise RunFolderError(
                f"{sides[0].name} and {sides[1].name} cannot be compared: the {what} is {left} against {right}"
            )
    return first


def _pairs(sides: Sequence[Side]) -> list[tuple[str, Sample, Sample]]:
    """Pairs to compare: the two cells, or each cell that both have."""
    first, second = (side.samples() for side in sides)
    if sides[0].name == sides[1].name:
        raise RunFolderError(f"{sides[0].name}: is compared with itself; name two runs, or two cells as RUN:CELL")
    cells = [side.cell for side in sides]
    if any(cells):
        chosen = [cell or next((c for c in (cells[1 - i], "full") if c in each), "") for i, (cell, each) in
                  enumerate(zip(cells, (first, second), strict=True))]  # fmt: skip
        for side, cell in zip(sides, chosen, strict=True):
            if not cell:
                raise RunFolderError(f"{side.name}: name one of its cells, as {side.name}:CELL")
        name = chosen[0] if chosen[0] == chosen[1] else f"{chosen[1]} - {chosen[0]}"
        return [(name, first[chosen[0]], second[chosen[1]])]
    shared = [cell for cell in first if cell in second]
    if not shared:
        raise RunFolderError(
            f"{sides[0].name} ({', '.join(first)}) and {sides[1].name} ({', '.join(second)}) share no cell; name one "
            "of each, as RUN:CELL"
        )
    return [(cell, first[cell], second[cell]) for cell in shared]


def _refuse_unshared(pairs: Sequence[tuple[str, Sample, Sample]], sides: Sequence[Side]) -> None:
    for side in sides:
        if not side.run.inference.paired:
            raise RunFolderError(f"{side.name}: its runs share no seeds, as declared; compare with --unpaired")
    for name, pair, other in pairs:
        if not set(pair) & set(other):
            raise RunFolderError(
                f"{sides[0].name} and {sides[1].name} share no seed in {name} (seeds {', '.join(list(pair)[:5])} "
                f"against {', '.join(list(other)[:5])}); compare with --unpaired"
            )


def _notes(rows: Sequence[Difference]) -> list[str]:
    notes = [row.note for row in rows if row.note]
    for row in rows:
        if not isnan(row.ratio):
            notes.append(
                f"{row.name}: on the {row.seeds} seeds that both have, the unpaired interval is {row.ratio:.2g} times "
                "as wide as the paired one."
            )
    return list(dict.fromkeys(notes))
