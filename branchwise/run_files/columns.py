"""The columns and plots that a trainable declares: `plan.json` keeps them for the analysis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]
Scale = Literal["log", "logit", "identity"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of arms.parquet that a trainable fills.

    Schema, objectives, gauges, tables and plots derive from it.

    A trainable that measures under multiple evaluations declares a column for each: `value` under the primary,
    `value(weak)` (see `under`) under the evaluation `weak`, with a separate `comparability_key(weak)`.
    """

    name: str
    about: str = ""  # a phrase for people: "student's guidance gap / teacher's"
    dtype: Literal["float64", "Int64", "string", "object"] = "float64"
    unit: str = ""  # "s", "parameters"; empty for a pure number
    better: Better | None = None  # None: neither is better
    searchable: bool = False  # may be an objective of a search
    claimable: bool = False  # may be estimated and claimed about
    scale: Scale = "log"  # on which effects on it are estimated and add up
    declared: bool = True  # whether the scale was; False where it was chosen by the values of runs made elsewhere
    range: tuple[float, float] | None = None  # the values it can have: (0, 1), (0, 100); None: not bounded both ways
    shown: bool = False  # is next to the value in the table of cells, and becomes a gauge
    cost: bool = False  # the cost of running a model: is in the table of efficiency


@dataclass(frozen=True, kw_only=True)
class PlotSpec:
    """A plot of one of a result's `tables`: a line per cell (mean over blocks), a panel per `y`.

    `x` names a single column, or two for their mean. A panel's axis is logarithmic where each value is above 0.
    """

    table: str
    name: str  # of the plot
    title: str
    x: tuple[str, ...]
    x_label: str
    y: tuple[Column, ...]
    level: float | None = None  # a horizontal line in the first panel
    linear: tuple[str, ...] = ()  # columns that are never drawn on a logarithmic axis


def column_and_step(name: str) -> tuple[str, int | None]:
    """The column and the training step that an outcome names; None for the end of training."""
    match = re.fullmatch(r"(\w+)@(\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)


def under(column: str, evaluation: str) -> str:
    """Return a column's name under a named evaluation: `value(weak)`; no name: the primary."""
    return f"{column}({evaluation})" if evaluation else column


def column_and_evaluation(name: str) -> tuple[str, str]:
    """The column and the named evaluation in `value(weak)`; "" for the primary evaluation."""
    match = re.fullmatch(r"(\w+)\((\w+)\)", name)
    return (match[1], match[2]) if match else (name, "")
