"""Choice of runs that count: failed and unfinished ones leave first, parents, then reruns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from branchwise.analysis.importers.options import suggest
from branchwise.analysis.importers.run_table import Categorical, Codes, Mask, RunTable, count, listed, shorten
from branchwise.analysis.importers.text.numbers import NotANumberError, Numbers, read_numbers
from branchwise.analysis.importers.text.spelling import read_spelling
from branchwise.analysis.importers.text.states import STATES, endings
from branchwise.analysis.records.damage import RunFolderError

STEPS = (
    "epoch", "epochs_trained", "step", "_step", "steps", "global_step", "trainer/global_step", "training_iteration",
    "iteration", "iter", "n_iter", "round", "num_steps", "timesteps_total", "current_epoch", "last_epoch",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The runs that are analyzed: rows of results, and rows without a result.

    Attributes:
        rows: Of the source's table, in its order.
        components: The levels of each component, by its name.
        block: The seeds.
        values: The results; NaN where the run failed.
        reasons: Why a run has no result; "" for runs with a result.
        percent: Whether the results carry per-cent signs.
        notes: What was omitted, and how the rest was read.
    """

    rows: Codes
    components: Mapping[str, Categorical]
    block: Categorical
    values: np.ndarray
    reasons: Categorical
    percent: bool
    notes: tuple[str, ...]

    def take(self, mask: Mask, note: str) -> Selected:
        return replace(
            self, rows=self.rows[mask], components={name: item.take(mask) for name, item in self.components.items()},
            block=self.block.take(mask), values=self.values[mask], reasons=self.reasons.take(mask),
            notes=(*self.notes, note),
        )  # fmt: skip

    def without_failed(self, excluded: Mask, why: str) -> Selected:
        """The runs without these failed ones; a note gives the reason."""
        if not excluded.any():
            return self
        number, reasons = count(int(excluded.sum()), "run"), listed(self.reasons.take(excluded).used, 3)
        return self.take(~excluded, f"{number} without a result left out, {why}: {reasons}.")

    @property
    def failed(self) -> Mask:
        return ~self.reasons.equals("")

    @property
    def arm(self) -> Codes:
        """A number for each combination of levels and block."""
        codes = self.block.codes
        for column in self.components.values():
            codes = codes * len(column.categories) + column.codes
        return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def select(runs: RunTable, components: Mapping[str, str], block: str, value: str, source: str) -> Selected:
    """Return the runs that count, of columns `components` (by name), `block` and `value`.

    Raises:
        RunFolderError: No run has a result, a result is no number, or a finished run has no seed.
    """
    ends = endings(runs, {*components.values(), block, value}, source)
    numbers = _numbers(runs, value, ends, source)
    missing = ~np.isfinite(numbers.values)
    reasons = _reasons(numbers, missing, runs.filter(missing).categorical(value), ends, value)
    notes: list[str] = []
    read: dict[str, Categorical] = {}
    for name, column in (*components.items(), (block, block)):
        texts = runs.categorical(column)
        spelling = read_spelling(name, texts.categories)
        notes += spelling.notes
        read[name] = texts.rename(spelling.categories)
    seeds = read.pop(block)
    selected = Selected(
        rows=np.arange(len(runs)), components=read, block=seeds,
        values=np.where(reasons.equals(""), numbers.values, np.nan), reasons=reasons,
        percent=numbers.percent, notes=(*runs.notes, *numbers.notes, *notes),
    )  # fmt: skip
    if selected.failed.all():
        first = int(np.flatnonzero(selected.failed)[0])
        reason = reasons.categories[reasons.codes[first]]
        hint = f"; states of finished runs are {', '.join(STATES['finished'])}" if ends.used != ("",) else ""
        raise RunFolderError(f"{source}: no run has a finite {value}: {reason}{hint}")
    selected = _drop_parents(runs, selected)
    _refuse_repeated_rows(runs, selected, source)
    selected = _drop_unplaced(selected, block)
    selected = _drop_reruns(selected)
    _refuse_no_seed(runs, selected, block, source)
    return selected


def _numbers(runs: RunTable, value: str, ends: Categorical, source: str) -> Numbers:
    """The results; a run that did not finish may hold anything."""
    if (fast := runs.as_floats(value)) is not None:
        return Numbers(values=fast, empty=np.isnan(fast) & runs.is_empty(value))
    column = runs.categorical(value)
    finished = ends.equals("")
    visible = Categorical(codes=np.where(finished, column.codes + 1, 0), categories=("", *column.categories))
    try:
        return read_numbers(value, visible.rename(visible.categories), runs.decimal_comma)
    except NotANumberError as error:
        row = int(np.flatnonzero(column.equals(error.text) & finished)[0])
        raise RunFolderError(f"{source}, {runs.label(row)}: {value} is {shorten(error.text, 60)!r}; {error}") from None


def _reasons(numbers: Numbers, missing: Mask, column: Categorical, ends: Categorical, value: str) -> Categorical:
    """Reason why each run has no result, else ""; `column`: results of the `missing` runs."""
    texts = [*(f"it ended as {text}" if text else "" for text in ends.categories), f"it has no {value}"]
    texts += [f"{value} is {shorten(text, 30)}" for text in column.categories]
    no_value = np.full(len(missing), len(ends.categories))
    no_value[missing] = np.where(numbers.empty[missing], len(ends.categories), column.codes + len(ends.categories) + 1)
    codes = np.where(missing & ends.equals(""), no_value, ends.codes)
    return Categorical(codes=codes, categories=tuple(texts)).rename(texts)


def _drop_parents(runs: RunTable, selected: Selected) -> Selected:
    """Without runs that only hold others, where those have the results; else without the others."""
    if runs.parent is None or runs.run_id is None:
        return selected
    parents, ids = runs.categorical(runs.parent), runs.categorical(runs.run_id)
    index = {text: i for i, text in enumerate(ids.categories)}
    parent_of = np.array([index.get(text, -1) for text in parents.categories])[parents.codes]
    usable = ~selected.failed & _is_identified(selected)
    has_usable_child: Mask = np.isin(ids.codes, parent_of[usable & (parent_of >= 0)])
    children = np.isin(ids.codes, parent_of[parent_of >= 0])
    unknown_parent = children & ~_is_identified(selected) & np.isnan(selected.values)
    helper = (parent_of >= 0) & ~usable & ~_is_identified(selected)
    excluded = has_usable_child | unknown_parent | helper
    if not excluded.any():
        return selected
    excluded_runs = count(int(excluded.sum()), "run")
    note = f"{excluded_runs} left out: parents that only hold other runs, or children without settings."
    return selected.take(~excluded, note)


def _is_identified(selected: Selected) -> Mask:
    """The runs that have a seed and any setting of a component."""
    any_level = np.full(len(selected.rows), not selected.components)
    for column in selected.components.values():
        any_level |= ~column.equals("")
    return any_level & ~selected.block.equals("")


def _refuse_repeated_rows(runs: RunTable, selected: Selected, source: str) -> None:
    """A table with a row for each epoch is no table of runs."""
    arm = selected.arm
    counts = np.bincount(arm, minlength=1)
    if counts.max() < 2 or np.median(counts[counts > 0]) < 2:
        return
    for name in runs.names:
        if name.lower() in STEPS:
            steps = runs.categorical(name).codes[selected.rows]
            pairs = np.unique(np.stack([arm, steps]), axis=1).shape[1]
            if pairs > len(counts):
                raise RunFolderError(
                    f"{source}: several rows belong to one run at different {name}; keep one row for each run, such as "
                    "its last one with a result"
                )


def _drop_unplaced(selected: Selected, block: str) -> Selected:
    """Drop failed runs that fit no cell: no seed, no level, or a level of no finished run."""
    failed = selected.failed
    placed = ~selected.block.equals("")
    for column in selected.components.values():
        placed &= np.isin(column.codes, np.unique(column.codes[~failed]))
    return selected.without_failed(failed & ~placed, f"with no {block} or with settings that no finished run has")


def _drop_reruns(selected: Selected) -> Selected:
    """Without failed runs that were repeated: the finished run counts, else the last."""
    arm, failed = selected.arm, selected.failed
    finished = np.isin(arm, arm[~failed])
    order = len(arm) - 1 - np.unique(arm[::-1], return_index=True)[1]
    is_last = np.zeros(len(arm), dtype=bool)
    is_last[order] = True
    return selected.without_failed(failed & (finished | ~is_last), "since made again")


def _refuse_no_seed(runs: RunTable, selected: Selected, block: str, source: str) -> None:
    without = np.flatnonzero(selected.block.equals(""))
    if len(without):
        row = int(selected.rows[without[0]])
        raise RunFolderError(f"{source}, {runs.label(row)}: {block} is empty; each run needs the seed of its block")


def refuse_doubled(runs: RunTable, selected: Selected, names: NDArray[np.object_], used: set[str], source: str) -> None:
    """Two finished runs of the same arm are refused, with what distinguishes them."""
    arm = selected.arm
    counts = np.bincount(arm)
    if counts.max(initial=0) < 2:
        return
    first = int(np.flatnonzero(counts[arm] > 1)[0])
    same = selected.rows[arm == arm[first]]
    differing = [
        name for name in runs.names if name not in used and len({runs.cell(name, int(row)) for row in same[:20]}) > 1
    ]
    difference = f"they differ in {listed(differing)}" if differing else "they are equal"
    if runs.experiment and runs.experiment in differing:
        texts = runs.categorical(runs.experiment).used
        remedy = f"name the experiment: {' or '.join(suggest('--experiment', text) for text in texts[:5])}"
    else:
        remedy = "keep one of them, or name what tells them apart as a component or block"
    numbers = " and ".join(str(int(row) + 1) for row in same[:2])
    raise RunFolderError(
        f"{source}: runs {numbers} are the same cell and block ({names[first]}), {difference}; {remedy}"
    )
