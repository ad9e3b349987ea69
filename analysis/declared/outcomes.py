"""Outcomes: the columns that effects are estimated on, each with its direction and scale."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from branchwise.run_files.columns import Better, Scale, column_and_step

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A column, or a column at a budget: `loss@100` is the loss after 100 training steps.

    scale: on which effects are estimated and add up. range: the values that the metric can have, where it is bounded
    both ways; the logit scale works within it, (0, 1) unless declared. edge: how far inside values on the boundary of
    the scale are placed, in the metric's unit; 0: none. title: a name for readers. additive: whether the
    identity scale was declared, so that values are compared by their arithmetic means.
    """

    name: str = "value"
    title: str = ""
    better: Better = "lower"
    scale: Scale = "log"
    range: tuple[float, float] | None = None
    edge: float = 0.0
    additive: bool = False

    @property
    def column(self) -> str:
        return column_and_step(self.name)[0]

    @property
    def bounds(self) -> tuple[float, float]:
        return self.range or (0.0, 1.0)

    @property
    def points(self) -> float | None:
        """Points in one unit of a rate: 100 of a fraction, 1 of per cent; None if it is no rate."""
        bounded = self.range is not None or self.scale == "logit"
        return {(0.0, 1.0): 100.0, (0.0, 100.0): 1.0}.get(self.bounds) if bounded else None

    @property
    def limits(self) -> tuple[float, float]:
        """The open interval of values that the scale can take."""
        return {"log": (0.0, inf), "logit": self.bounds, "identity": (-inf, inf)}[self.scale]

    def fits(self, values: FloatArray) -> bool:
        """Whether the scale can take each of the values."""
        low, high = self.limits
        return bool(((values > low) & (values < high)).all())

    def improvement(self, values: FloatArray, scale: Scale) -> FloatArray:
        """The values on a scale, oriented so that more is better. NaN where the scale has no value."""
        y = np.array(values, dtype=np.float64)
        if scale != "identity":
            low, high = (0.0, inf) if scale == "log" else self.bounds
            if self.edge:
                y = np.where(y == low, low + self.edge, np.where(y == high, high - self.edge, y))
            y[~((y > low) & (y < high))] = nan
            y = np.log(y) if scale == "log" else _logit(self._fraction(y))
        return y if self.better == "higher" else -y

    def slope(self, values: FloatArray, scale: Scale) -> FloatArray:
        """Return the rise of the scale per unit of the metric, at these values."""
        y = np.asarray(values, dtype=np.float64)
        if scale == "identity":
            return np.ones_like(y)
        with np.errstate(all="ignore"):
            if scale == "log":
                return np.asarray(1 / np.maximum(y, self.edge or np.finfo(float).tiny))
            low, high = self.bounds
            return np.asarray(1 / np.maximum(y - low, self.edge) + 1 / np.maximum(high - y, self.edge))

    def value(self, improvement: float, scale: Scale) -> float:
        """The value of an improvement: the inverse of `improvement`."""
        y = improvement if self.better == "higher" else -improvement
        if scale == "identity":
            return y
        with np.errstate(over="ignore", under="ignore"):
            if scale == "log":
                return float(np.exp(y))
            low, high = self.bounds
            return low + (high - low) / (1 + float(np.exp(-y)))

    def _fraction(self, values: FloatArray) -> FloatArray:
        """The positions of the values between the bounds, from 0 to 1."""
        low, high = self.bounds
        return values if (low, high) == (0.0, 1.0) else (values - low) / (high - low)


def _logit(fraction: FloatArray) -> FloatArray:
    return np.asarray(np.log(fraction) - np.log1p(-fraction))


VALUE = Outcome()
