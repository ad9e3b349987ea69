"""The columns that a trainable fills, and how a report draws its tables: what the platform knows of a method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["log", "logit", "identity"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of arms.parquet that a trainable fills; schema, objectives, gauges, tables and plots derive from it.

    A trainable that measures under multiple evaluations declares a column for each: `value` under the primary,
    `value(weak)` (see `under`) under the evaluation `weak`, with a separate `comparability_key(weak)`.
    """

    name: str
    about: str = ""  # a phrase for people: "student's guidance gap / teacher's"
    dtype: Literal["float64", "Int64", "string", "object"] = "float64"
    unit: str = ""  # "s", "parameters"; empty for a pure number
    better: Literal["lower", "higher"] | None = None  # None: neither is better
    searchable: bool = False  # may be an objective of a search
    claimable: bool = False  # may be estimated and claimed about
    scale: Scale = "log"  # on which effects on it are estimated and add up
    range: tuple[float, float] | None = None  # the values it can have: (0, 1), (0, 100); None: not bounded both ways
    shown: bool = False  # is next to the value in the table of cells, and becomes a gauge
    cost: bool = False  # the cost of running a model: is in the table of efficiency


@dataclass(frozen=True, kw_only=True)
class PlotSpec:
    """How a report draws one of a result's `tables`: a line for each cell, the mean over blocks, a panel for each `y`.

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


def under(column: str, evaluation: str) -> str:
    """The name of a column as measured under a named evaluation: `value(weak)`; no name: the primary evaluation."""
    return f"{column}({evaluation})" if evaluation else column


# The columns that each trainable fills, and those of the value's uncertainty and comparability.
OUTCOME = (
    Column(name="metric", about="what the value measures", dtype="string"),
    Column(name="value", about="the primary outcome", better="lower", searchable=True, claimable=True),
    Column(name="value_repeats", about="the value of each sampling repeat", dtype="object"),
    Column(name="comparability_key", about="how the value was measured, as JSON", dtype="string"),
)


def outcome(metric: str, value: float, **others: Any) -> dict[str, Any]:
    """The values of a finished arm with `metric` equal to `value` in a single measurement; `others` fill further
    columns."""
    key = json.dumps({"metric": metric})
    return {"metric": metric, "value": value, "value_repeats": [value], "comparability_key": key, **others}


LOSS_CURVES = PlotSpec(
    table="curves",
    name="training",
    title="Training curves",
    x=("step",),
    x_label="training step",
    y=(Column(name="loss"),),
)
