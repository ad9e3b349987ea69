"""Table of each reader: a row per run, cells as text that are typed once their use is clear."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from branchwise.analysis.importers.history.points import History, MetricLog
from branchwise.analysis.records.comparing import flatten

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
Kind = Literal["setting", "metric"]

SETTING = "config."  # columns of settings, where a tool distinguishes settings from metrics
MAX_CELL = 200  # characters of a cell that a message shows


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """A column as codes into its distinct values, in the order of appearance."""

    codes: Codes
    categories: tuple[str, ...]

    @cached_property
    def used(self) -> tuple[str, ...]:
        """The values that occur in a row."""
        present = np.bincount(self.codes, minlength=len(self.categories)) > 0
        return tuple(text for text, is_used in zip(self.categories, present, strict=True) if is_used)

    @property
    def texts(self) -> NDArray[np.object_]:
        """The value of each row."""
        return np.array(self.categories, dtype=object)[self.codes]

    def equals(self, text: str) -> Mask:
        """Return the mask of the rows with this value."""
        code = self.categories.index(text) if text in self.categories else -1
        return np.asarray(self.codes == code, dtype=bool)

    def rename(self, new: Sequence[str]) -> Categorical:
        """The column with each value replaced by that of `new`; equal ones are merged."""
        index = {text: i for i, text in enumerate(dict.fromkeys(new))}
        renamed = np.array([index[text] for text in new], dtype=np.int64)
        return Categorical(codes=renamed[self.codes] if len(new) else self.codes, categories=tuple(index))

    def take(self, mask: Mask) -> Categorical:
        return replace(self, codes=self.codes[mask])


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """Runs as recorded by a tool.

    Attributes:
        table: A string column per setting, metric or fact. Names are unique; "" means missing.
        kinds: Which columns the tool declares to be settings or metrics.
        state: The column with the final state of each run, where the tool records it.
        experiment: The column that names the experiment or study of a run, where a source can hold multiple.
        run_id: The column that names a run in messages, and that `parent` refers to.
        parent: The column with the `run_id` of the parent run.
        repeated: Names shared by multiple different columns, which cannot be distinguished.
        decimal_comma: Whether the file's separator leaves the comma for decimals.
        history: The histories of its metrics, where the source has them.
        notes: What a reader of the report must know of how the file was read.
    """

    table: pa.Table
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    state: str | None = None
    experiment: str | None = None
    run_id: str | None = None
    parent: str | None = None
    repeated: frozenset[str] = frozenset()
    decimal_comma: bool = False
    history: History | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.table.column_names)

    def categorical(self, name: str) -> Categorical:
        """A column as codes into its distinct values, stripped of blanks."""
        column = self.table.column(name)
        encoded = pc.dictionary_encode(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
        texts = [str(text).strip() for text in encoded.dictionary.to_pylist()]
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        column_categories = Categorical(codes=codes, categories=tuple(texts))
        return column_categories if len(set(texts)) == len(texts) else column_categories.rename(texts)

    def as_floats(self, name: str) -> NDArray[np.float64] | None:
        """Return a column as numbers, NaN where empty; None if a value is none as programs print."""
        return floats_of(self.table.column(name))

    def is_empty(self, name: str) -> Mask:
        return np.asarray(pc.equal(pc.utf8_trim_whitespace(self.table.column(name)), "").to_numpy(), dtype=bool)

    def cell(self, name: str, row: int) -> str:
        return str(self.table.column(name)[row].as_py()).strip()

    def label(self, row: int) -> str:
        """Return a row's name in messages: `run 3`, with the tool's name if one exists."""
        name = self.cell(self.run_id, row) if self.run_id else ""
        return f"run {row + 1} ({name})" if name else f"run {row + 1}"

    def filter(self, mask: Mask) -> RunTable:
        """The rows where `mask` is true."""
        if mask.all():
            return self
        history = self.history.take(mask) if self.history else None
        return replace(self, table=self.table.filter(pa.array(mask)), history=history)


def floats_of(texts: Any) -> NDArray[np.float64] | None:
    """Return an Arrow column of texts as numbers, NaN where empty; None where a text is none."""
    texts = pc.utf8_trim_whitespace(texts)
    try:
        numbers = pc.if_else(pc.equal(texts, ""), None, texts).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def from_records(records: Sequence[Mapping[str, Any]], **attributes: Any) -> RunTable:
    """Return a table from a mapping per run; missing values are empty.

    Names that begin with `config.` are settings.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = [pa.array(_texts([record.get(name) for record in records]), pa.string()) for name in names]
    kinds: dict[str, Kind] = {name: "setting" for name in names if name.startswith(SETTING)}
    kinds |= attributes.pop("kinds", {})
    return RunTable(table=pa.table(columns, names=names), kinds=kinds, **attributes)


@dataclass(kw_only=True)
class RunLog:
    """Runs as a reader collects them, with metrics that are logged step by step.

    Attributes:
        facts: Of each run its name, state and the like; each run has the same ones.
        settings: Of each run its settings, by their full names, nested or not.
        results: Of each run the metrics with a single value, without a history.
        metrics: The metrics with histories, by the positions of the runs.
    """

    facts: list[dict[str, Any]] = field(default_factory=list)
    settings: list[Mapping[str, Any]] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)
    metrics: MetricLog = field(default_factory=MetricLog)

    def add(self, facts: dict[str, Any], settings: Mapping[str, Any], results: Mapping[str, Any] | None = None) -> int:
        """Add a run; return its position."""
        self.facts.append(facts)
        self.settings.append(settings)
        self.results.append(results if results is not None else {})
        return len(self.facts) - 1

    def table(self, **attributes: Any) -> RunTable:
        """Return the runs with last values of metrics and histories; `attributes` are the table's."""
        records: list[dict[str, Any]] = [dict(run) for run in self.facts]
        fixed = self.facts[0] if self.facts else ()
        single = {key: metric_name(key, fixed) for run in self.results for key in run}
        for record, run in zip(records, self.results, strict=True):
            record |= {single[key]: value for key, value in run.items()}
        keys = {metric_name(key, fixed): key for key in self.metrics.names}
        for name, key in keys.items():
            for row, value in self.metrics.last(key).items():
                records[row][name] = value
        for record, run in zip(records, self.settings, strict=True):
            record |= as_settings(run)
        history = History(load=lambda name: self.metrics.points(keys.get(name, "")), is_loaded=True)
        kinds = dict.fromkeys((*single.values(), *keys), "metric")
        return from_records(records, kinds=kinds, history=history, **attributes)


def metric_name(key: str, facts: Iterable[str]) -> str:
    """The column of a metric, which must not replace a fact or resemble a setting."""
    return f"metrics.{key}" if key in facts or key.startswith(SETTING) else key


def joined(parts: Sequence[RunTable], **attributes: Any) -> RunTable:
    """The runs of multiple tables, in turn; missing values are empty."""
    kinds = {name: kind for part in parts for name, kind in part.kinds.items()}
    table = pa.concat_tables([part.table for part in parts], promote_options="default")
    columns = [pc.fill_null(column, "") for column in table.columns]
    return RunTable(table=pa.table(columns, names=table.column_names), kinds=kinds, **attributes)


def from_frame(frame: pd.DataFrame) -> RunTable:
    """A table of a DataFrame; levels of its index that have names are columns, too."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [name if isinstance(name, str) else ".".join(map(str, name)) if isinstance(name, tuple) else str(name)
             for name in frame.columns]  # fmt: skip
    return from_columns(names, [_series_as_text(frame.iloc[:, i]) for i in range(len(names))])


def from_columns(names: Sequence[str], columns: Sequence[Any], **attributes: Any) -> RunTable:
    """A table of string columns, some of which may have equal names. Equal columns are merged."""
    column_arrays: dict[str, Any] = {}
    repeated = set()
    for name, column in zip(names, columns, strict=True):
        if name not in column_arrays:
            column_arrays[name] = column
        elif not column.equals(column_arrays[name]):
            repeated.add(name)
    return RunTable(
        table=pa.table(list(column_arrays.values()), names=list(column_arrays)),
        repeated=frozenset(repeated),
        **attributes,
    )


def _texts(values: Sequence[Any]) -> list[str]:
    if set(map(type, values)) <= {str, int, float, bool, type(None)}:
        return ["" if value is None else str(value) for value in values]
    return list(map(as_text, values))


def as_text(value: Any) -> str:
    """A value of a record as text that can be read back exactly; a missing value is ""."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float | np.floating):
        return "nan" if math.isnan(value) else str(value)
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        return json.dumps(plain, default=str, ensure_ascii=False)
    return str(value)


def as_settings(settings: Mapping[str, Any], prefix: str = SETTING) -> dict[str, Any]:
    """Return settings as columns: nested ones dotted, None as a value, unlike a missing setting."""
    return {name: "None" if value is None else value for name, value in flatten(settings, prefix).items()}


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def shorten(text: str, limit: int = MAX_CELL) -> str:
    """Text for a message, on a single short line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def listed(texts: Iterable[str], limit: int = 8) -> str:
    """Texts as `a, b and c`, truncated if many."""
    labels = [shorten(text, 60) or "(empty)" for text in texts]
    if len(labels) > limit:
        return f"{', '.join(labels[:limit])} and {len(labels) - limit} more"
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]])) if labels else ""


def counted(names: Sequence[str], noun: str = "run", limit: int = 5) -> str:
    """The number of these, with the first of their names: `2 runs: a and b`."""
    return f"{count(len(names), noun)}: {listed(names, limit)}"


def _series_as_text(series: pd.Series) -> Any:
    """A column of a DataFrame as an Arrow string column; NaN, None and NA are empty."""
    missing = series.isna().to_numpy()
    if pd.api.types.is_float_dtype(series.dtype):
        values = series.to_numpy(dtype=object, na_value=np.nan)
        # Distinct numbers are few where they matter; `repr` is what reads back exactly.
        texts = [("" if removed else str(value)) for value, removed in zip(values, missing, strict=True)]
    elif pd.api.types.is_integer_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
        texts = ["" if is_missing else str(value) for value, is_missing in zip(series.tolist(), missing, strict=True)]
    else:
        texts = [as_text(value) for value in series.tolist()]
        texts = ["" if _is_missing(value) else text for value, text in zip(series.tolist(), texts, strict=True)]
    return pa.array(texts, pa.string())


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
