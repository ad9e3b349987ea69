"""Metrics of a command or a function: direction, scale, and further outcomes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from branchwise.run_files.columns import Column, PlotSpec, Scale
from branchwise.trainables.columns import OUTCOME
from branchwise.trainables.runtime.settings import Strict

Direction = Literal["maximize", "minimize"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]  # of a column, and of an evaluation
BETTER: dict[Direction, Literal["lower", "higher"]] = {"maximize": "higher", "minimize": "lower"}

# Parts of metrics' names that identify the kind of number.
RATES = ("accuracy", "acc", "auc", "auroc", "f1", "precision", "recall", "iou", "dice", "rate", "top1", "top5", "bleu")
POSITIVE = (
    "loss",
    "error",
    "err",
    "perplexity",
    "ppl",
    "nll",
    "mse",
    "mae",
    "rmse",
    "fid",
    "distance",
    "seconds",
    "time",
)

# The columns next to OUTCOME that each command and function fills.
ATTEMPT = (
    Column(name="rung_value", about="the metric at the rung where the arm was stopped"),
    Column(name="steps", about="steps reported", dtype="Int64"),
    Column(name="run_seconds", about="seconds that the run took", unit="s", better="lower", searchable=True),
)
RATE_RANGES = ((0.0, 1.0), (0.0, 100.0))  # of an accuracy as a fraction, and in per cent
TAKEN = {column.name for column in (*OUTCOME, *ATTEMPT)}


class Declared(Strict):
    """The better direction of a metric, and the scale of its effects."""

    direction: Direction
    scale: Scale | None = None  # None: by the metric's kind and range
    range: Annotated[tuple[float | None, float | None], Field(strict=False)] | None = None  # null: no bound

    @model_validator(mode="before")
    @classmethod
    def _check_direction(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and "direction" not in tree:
            raise ValueError(
                "direction is missing: say maximize or minimize, since whether more is better cannot be guessed"
            )
        return tree

    @model_validator(mode="after")
    def _check_range(self) -> Declared:
        low, high = self.range or (None, None)
        if low is not None and high is not None and not low < high:
            raise ValueError(f"range [{low}, {high}] is empty: its first number must be the smaller one")
        if self.scale == "logit" and self.range is not None and (low is None or high is None):
            raise ValueError("scale logit is for metrics with two bounds, such as the range [0, 1] or [0, 100]")
        if self.scale == "log" and self.range is not None and (low is None or low < 0):
            raise ValueError("scale log is for metrics that are above 0")
        return self

    def scaled(self, metric: str) -> tuple[Scale, str]:
        """The scale of effects, and the reason for it."""
        if self.scale is not None:
            return self.scale, "as declared"
        name_parts = re.findall(r"[a-z]+[0-9]*", metric.lower())
        if self.range is not None:
            low, high = self.range
            if (low, high) in RATE_RANGES:
                return "logit", f"its range is [0, {high:g}]"
            if low == 0.0 and high is None:
                return "log", "it has no upper bound and is above 0"
            return "identity", "its range suits neither log nor logit"
        if any(part in RATES for part in name_parts):
            return "logit", "by its name it is a rate between 0 and 1; declare `range` or `scale` if it is not"
        if any(part in POSITIVE for part in name_parts):
            return "log", "by its name it is above 0; declare `range` or `scale` if it is not"
        return "identity", "nothing is known of its range; declare `range` or `scale` if there is"

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The range where it has both ends."""
        low, high = self.range or (None, None)
        return None if low is None or high is None else (low, high)

    def column(self, name: str, metric: str) -> Column:
        """The column of this metric, which bears `name`."""
        scale = self.scaled(metric)[0]
        return Column(
            name=name,
            about="the primary outcome" if name == "value" else metric,
            better=BETTER[self.direction],
            scale=scale,
            range=self.bounds or ((0.0, 1.0) if scale == "logit" else None),
            searchable=True,
            claimable=True,
            shown=name != "value",
        )

    def described(self, metric: str) -> str:
        scale, reason = self.scaled(metric)
        better = BETTER[self.direction]
        return f"{metric}, {better} is better; effects on the {scale} scale: {reason}"

    def check(self, metric: str, value: Any, *, percent: bool = False) -> float:
        """Return `value` as a number in the range; NaN and infinity pass as signs of divergence.

        Args:
            metric: What messages call it.
            value: What the run measured.
            percent: Whether it was printed with a per-cent sign.

        Raises:
            TypeError: It is not a number.
            ValueError: It is out of range, or in per cent where that was not declared.
        """
        number = as_number(value)
        if number is None:
            raise TypeError(f"{metric} is {_brief(value)}, which is not a number")
        low, high = self.range or (None, None)
        too_low, too_high = low is not None and number < low, high is not None and number > high
        text = f"{number:g}%" if percent else f"{number}"
        if math.isfinite(number) and (too_low or too_high):
            raise ValueError(f"{metric} is {text}, which is not in its range [{low}, {high}]")
        if math.isfinite(number) and self.scaled(metric)[0] == "logit":
            unit = high is None or high == 1.0  # a rate without a declared range is in [0, 1]
            if unit and (percent or not 0.0 <= number <= 1.0):
                raise ValueError(
                    f"{metric} is {text}, but rates lie between 0 and 1 unless declared; write `range: [0, 100]` "
                    "where it is printed in per cent, else its own `range`, or `scale: identity`"
                )
        return number


def as_number(value: Any) -> float | None:
    """A number of Python, NumPy or torch (a single element) as a float; None for other values."""
    if not isinstance(value, int | float | str) and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond the largest float
        return math.inf if value > 0 else -math.inf


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def by_column(metric: str, primary: Declared, outcomes: Mapping[str, Declared]) -> dict[str, tuple[str, Declared]]:
    """Return the name and declaration of each metric by column, the primary metric first."""
    return {"value": (metric, primary), **{name: (name, declared) for name, declared in outcomes.items()}}


def columns(metric: str, primary: Declared, outcomes: Mapping[str, Declared]) -> tuple[Column, ...]:
    """COLUMNS of a trainable that measures `metric` and further `outcomes`, each under its name."""
    first = tuple(primary.column("value", metric) if column.name == "value" else column for column in OUTCOME)
    return (*first, *(declared.column(name, name) for name, declared in outcomes.items()), *ATTEMPT)


def not_taken(outcomes: Mapping[str, Any]) -> None:
    """Refuse an outcome whose name another column has; raise ValueError."""
    for name in outcomes:
        if name in TAKEN:
            raise ValueError(f"outcomes.{name}: this name is taken; choose another than {', '.join(sorted(TAKEN))}")


def curves(metric: str) -> tuple[PlotSpec, ...]:
    """LINES of a trainable whose arms report `metric`, and perhaps a loss, at steps."""
    names = dict.fromkeys((metric, "loss"))
    drawn = tuple(Column(name=name) for name in names)
    return (PlotSpec(table="curves", name="training", title="Reported values", x=("step",), x_label="step", y=drawn),)
