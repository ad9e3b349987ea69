"""Outcomes: the columns that effects are estimated on, each in its direction and on its scale."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ScaleName = Literal["log", "logit", "raw"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A column, or a column at a budget: `loss@100` is what the loss was after 100 training steps.

    scale: on which effects are estimated and add up; values that it cannot take are analysed on the raw one. title: a
    name for readers.
    """

    name: str = "value"
    title: str = ""
    better: Better = "lower"
    scale: ScaleName = "log"

    @property
    def column(self) -> str:
        return column_and_step(self.name)[0]

    def fits(self, values: FloatArray) -> bool:
        """Whether the scale can take every one of the values."""
        if self.scale == "log":
            return bool((values > 0).all())
        return self.scale == "raw" or bool(((values > 0) & (values < 1)).all())

    def improvement(self, values: FloatArray, scale: ScaleName) -> FloatArray:
        """The values on a scale, in the orientation in which a better student has more. NaN stays NaN."""
        if scale == "log":
            found = np.log(values)
        elif scale == "logit":
            found = np.log(values) - np.log1p(-values)
        else:
            found = np.asarray(values, dtype=np.float64)
        return found if self.better == "higher" else -found

    def value(self, improvement: float, scale: ScaleName) -> float:
        """The value of an improvement: the inverse of `improvement`."""
        y = improvement if self.better == "higher" else -improvement
        if scale == "log":
            return float(np.exp(y))
        return float(1 / (1 + np.exp(-y))) if scale == "logit" else y


VALUE = Outcome()


def column_and_step(name: str) -> tuple[str, int | None]:
    """The column and the training step that an outcome names; None for the end of training."""
    found = re.fullmatch(r"(\w+)@(\d+)", name)
    return (found[1], int(found[2])) if found else (name, None)
