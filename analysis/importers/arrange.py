"""Design of a table of runs: components, blocks, missing and duplicate runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from branchwise.analysis.declared.cells import BASE, DEFAULTS, FULL, TEACHER
from branchwise.analysis.declared.factors import ON, Factor, cell_of
from branchwise.analysis.importers.columns import find_column, short_name
from branchwise.analysis.importers.history.choice import choose_values, is_step
from branchwise.analysis.importers.levels import factor_of
from branchwise.analysis.importers.notes import offer, other_settings, unequal_lengths
from branchwise.analysis.importers.options import BETTER, ImportOptions, suggest
from branchwise.analysis.importers.run_table import Categorical, Codes, Mask, RunTable, listed
from branchwise.analysis.importers.scale import Unit, choose_scale
from branchwise.analysis.importers.selection import Selected, refuse_doubled, select
from branchwise.analysis.importers.text.numbers import plain_numbers
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.statistics.welch import MIN_RUNS

MAX_INT = 2**63 - 1
SEED, RUN_SEED = "seed", "run"  # the column of seeds unless another is named, and the name of an added column

INDEPENDENT_RUNS = "There is no column of seeds: each run counts as independent of all others."


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """Arms, a row each, and what they vary; `notes` are for the reader of the table."""

    factors: tuple[Factor, ...]
    arms: pd.DataFrame  # arm, cell, block, seed, status, error, value, component.<name>
    unit: Unit
    notes: tuple[str, ...]


def arrange(runs: RunTable, options: ImportOptions, source: str) -> Arranged:
    """Check that `runs` are an ablation, and name its cells.

    Raises:
        RunFolderError: They are not; the message says why.
    """
    if options.direction not in BETTER:
        raise RunFolderError(
            f"{source}: the direction is missing; say --direction maximize or minimize, since whether more is better "
            "cannot be guessed"
        )
    runs = _filter_experiment(runs, options.experiment, source)
    runs, block_name, has_run_seeds = _add_block_column(runs, options)
    if not options.components and not options.claims:
        bound_columns = {block_name, options.value}
        raise RunFolderError(f"{source}: name the columns to compare with --components, or a claim on a fixed "
                             f"value with --claim 'full.value < 1'; {offer(runs, bound_columns)}")  # fmt: skip
    components = _components(runs, options, source)
    block = find_column(runs, block_name, "setting", source)
    value = find_column(runs, options.value, "metric", source)
    used = {*components.values(), block, value}
    if len(used) < len(options.components) + 2:
        raise RunFolderError(f"{source}: components, block and value must be different columns")
    options = _rename_levels(options, components)
    runs = choose_values(runs, value, block, used, options, source)
    selected = select(runs, components, block, value, source)
    factors, levels = [], {}
    for name, column in selected.components.items():
        factor, visible = factor_of(name, column, options, source)
        factors.append(factor)
        levels[name] = column.rename([visible.get(text, text) for text in column.categories])
    selected = replace(selected, components=levels)
    arms = _arms(tuple(factors), selected, block, source)
    cell, order = arms.pop("_cell").to_numpy(), arms.pop("_block").to_numpy()
    refuse_doubled(runs, selected, arms["arm"].to_numpy(dtype=object), used, source)
    finished = ~selected.failed
    if not options.paired:
        _refuse_single_runs(arms, finished, source)
    elif components:
        _refuse_unshared(cell, order, block, source)
    unit = choose_scale(selected.values[finished], value, selected.percent, options, source)
    stored = runs.filter(np.isin(np.arange(len(runs)), selected.rows))
    finished_runs = runs.filter(np.isin(np.arange(len(runs)), selected.rows[finished]))
    states = {name for name in runs.names if name == runs.state or re.fullmatch("state|status", name, re.IGNORECASE)}
    ignored = {*used, *states, *filter(None, (runs.run_id, runs.parent))}
    lengths = [] if is_step(options.at) else unequal_lengths(finished_runs, used)
    block_notes = [INDEPENDENT_RUNS] if has_run_seeds else _block_notes(arms, selected.block, block, options)
    others = other_settings(stored, cell, order, ignored)
    notes = (*selected.notes, *unit.notes, *lengths, *others, *block_notes)
    return Arranged(factors=tuple(factors), arms=arms, unit=unit, notes=notes)


def _add_block_column(runs: RunTable, options: ImportOptions) -> tuple[RunTable, str, bool]:
    """Return the runs, the name of the column of their seeds, and whether that is added here.

    Runs that are not paired and have no seed get a separate one each.
    """
    block = options.block or SEED
    if options.paired or options.block is not None or any(short_name(name) == SEED for name in runs.names):
        return runs, block, False
    name = RUN_SEED if RUN_SEED not in runs.names else f"{RUN_SEED} of its own"
    numbers = pa.array([str(i) for i in range(len(runs))], pa.string())
    return replace(runs, table=runs.table.append_column(name, numbers)), name, True


def _refuse_single_runs(arms: pd.DataFrame, finished: Mask, source: str) -> None:
    """Welch's t needs two runs of each cell to estimate the variance."""
    counts = arms.loc[finished, "cell"].value_counts()
    for cell in arms["cell"].unique():
        if (number := int(counts.get(cell, 0))) < MIN_RUNS:
            raise RunFolderError(
                f"{source}: cell {cell} has {'one run' if number else 'no run'} with a result; an unpaired comparison "
                f"takes {MIN_RUNS} or more in each cell"
            )


def _filter_experiment(runs: RunTable, experiment: str | None, source: str) -> RunTable:
    """The runs of the experiment that was named, or all."""
    if experiment is None:
        return runs
    if runs.experiment is None:
        raise RunFolderError(f"{source}: its runs belong to no named experiment; leave out --experiment")
    column = runs.categorical(runs.experiment)
    if experiment not in column.categories:
        allowed = " or ".join(suggest("--experiment", text) for text in column.categories[:10])
        raise RunFolderError(f"{source} has no experiment {experiment}; say {allowed}")
    return runs.filter(column.equals(experiment))


def _components(runs: RunTable, options: ImportOptions, source: str) -> dict[str, str]:
    """Columns of components by name: as the user wrote it, without an export's prefix if unique."""
    columns = {text: find_column(runs, text, "setting", source) for text in options.components}
    short = [short_name(text) for text in columns]
    names = [item if short.count(item) == 1 else text for item, text in zip(short, columns, strict=True)]
    return dict(zip(names, columns.values(), strict=True))


def _rename_levels(options: ImportOptions, components: Mapping[str, str]) -> ImportOptions:
    """The options with levels by the names of components, by whichever name the user wrote them."""
    aliases = {column: name for name, column in components.items()}
    aliases |= dict(zip(options.components, components, strict=True))

    def renamed(levels: Mapping[str, str] | None) -> dict[str, str]:
        return {aliases.get(name, name): level for name, level in (levels or {}).items()}

    reference, full = renamed(options.reference), renamed(options.full)
    for option, levels in (("--reference", reference), ("--full", full)):
        for name in levels:
            if name not in components:
                raise RunFolderError(
                    f"{option} {name}={levels[name]}: {name} is no component; {listed(components)} are"
                )
    return replace(options, reference=reference, full=full)


def _arms(factors: tuple[Factor, ...], selected: Selected, block: str, source: str) -> pd.DataFrame:
    order = _block_order(selected.block, block, source)
    blocks = order[selected.block.codes]
    cells = np.zeros(len(blocks), dtype=np.int64)
    for column in selected.components.values():
        cells = cells * len(column.categories) + column.codes
    firsts, codes = np.unique(cells, return_index=True, return_inverse=True)[1:]
    names = [
        cell_of(factors, {name: column.categories[column.codes[i]] for name, column in selected.components.items()})
        for i in firsts
    ]
    _refuse_same_names(factors, names, source)
    arms = pd.DataFrame({"_cell": codes, "_block": blocks})
    arms["cell"] = np.array(names, dtype=object)[codes]
    arms["block"] = blocks
    suffixes = np.array([f"-b{i}" for i in range(int(blocks.max()) + 1)], dtype=object)
    arms["arm"] = arms["cell"].to_numpy(dtype=object) + suffixes[blocks]
    arms["value"] = selected.values
    arms["status"] = np.where(selected.failed, "failed", "done")
    errors = selected.reasons.texts
    errors[~selected.failed] = None
    arms["error"] = errors
    for factor in factors:
        column = selected.components[factor.name]
        arms[f"component.{factor.name}"] = column.equals(ON) if factor.is_switch else column.texts
    arms["seed"] = _seeds(selected.block, blocks)
    arms["block_label"] = selected.block.texts
    return arms


def _refuse_same_names(factors: tuple[Factor, ...], names: list[str], source: str) -> None:
    """Refuse components and levels that spell the name of another cell.

    Cells are named by their components and levels.
    """
    for factor in factors:
        if factor.name in (BASE, FULL, TEACHER, DEFAULTS):
            raise RunFolderError(f"{source}: {factor.name} is the name of a cell; rename the component's column")
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise RunFolderError(
            f"{source}: two combinations of levels are both called {doubled}; rename a level or column"
        )


def _block_order(block: Categorical, name: str, source: str) -> Codes:
    """The number of each seed's block: in the order of the numbers, else of appearance."""
    used = block.used
    if len(used) < 2:
        raise RunFolderError(
            f"{source}: {name} is {used[0]} in every run; an interval takes at least two blocks (seeds)"
        )
    if all(re.fullmatch(r"-?\d{1,100}", text) for text in used):  # as exact as they are written
        used = tuple(sorted(used, key=int))
    elif numbers := plain_numbers(used):
        used = tuple(text for _, text in sorted(zip(numbers, used, strict=True)))
    rank = {text: i for i, text in enumerate(used)}
    return np.array([rank.get(text, -1) for text in block.categories], dtype=np.int64)


def _seeds(block: Categorical, blocks: Codes) -> Codes:
    """The seeds as integers where all are, else the numbers of their blocks."""
    used = block.used
    if not all(re.fullmatch(r"-?\d{1,19}", text) and abs(int(text)) <= MAX_INT for text in used):
        return blocks
    numbers = {text: int(text) for text in used}  # of the distinct seeds: a table may have a million rows
    table = np.array([numbers.get(text, 0) for text in block.categories], dtype=np.int64)
    return np.asarray(table[block.codes], dtype=np.int64)


def _refuse_unshared(cell: Codes, block: Codes, name: str, source: str) -> None:
    pairs = np.unique(block.astype(np.int64) * (int(cell.max()) + 1) + cell)
    shared = np.bincount(pairs // (int(cell.max()) + 1))
    if shared.max() < 2:
        raise RunFolderError(
            f"{source}: no {name} is shared by two cells, so nothing can be compared within a block; name the column "
            "of the seed that runs of different cells share"
        )


def _block_notes(arms: pd.DataFrame, block: Categorical, name: str, options: ImportOptions) -> list[str]:
    """Return notes on seeds of a single cell, and on the order of non-integer blocks."""
    notes = []
    firsts = arms.drop_duplicates("block").sort_values("block")
    if (firsts["seed"].astype(str) != firsts["block_label"].astype(str)).any():
        labels = [f"{number} is {label}" for number, label in zip(firsts["block"], firsts["block_label"], strict=True)]
        notes.append(f"Blocks are numbered by {name}: {listed(labels, 12)}.")
    pairs = arms.drop_duplicates(["block", "cell"])
    counts = np.bincount(pairs["block"])
    single_runs = firsts.loc[counts[firsts["block"]] < 2, "block_label"]
    if len(single_runs) and options.paired and options.components:
        notes.append(f"Seeds that only one cell has add nothing: {listed(single_runs, 12)}.")
    return notes
