"""The columns that each trainable fills, and the plot of its training."""

from __future__ import annotations

import json
from typing import Any

from branchwise.run_files.columns import Column, PlotSpec

# The columns that each trainable fills, and those of the value's uncertainty and comparability.
OUTCOME = (
    Column(name="metric", about="what the value measures", dtype="string"),
    Column(name="value", about="the primary outcome", better="lower", searchable=True, claimable=True),
    Column(name="value_repeats", about="the value of each sampling repeat", dtype="object"),
    Column(name="comparability_key", about="how the value was measured, as JSON", dtype="string"),
)


def outcome(metric: str, value: float, **others: Any) -> dict[str, Any]:
    """Return the values of an arm measured once; `others` fill further columns."""
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
