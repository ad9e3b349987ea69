"""Resolution of an outcome, and the scale its values allow: edge corrections, fallbacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from branchwise.analysis.declared.outcomes import FloatArray, Outcome

MAX_DENOMINATOR = 10_000  # of a rate: the maximum number of test images
MAX_DECIMALS = 9
MAX_EXAMINED = 60  # different values from which a grid is guessed; all are checked then
MAX_ON_BOUNDARY = 0.2  # the share of values that are moved inside; with more, the identity scale is used
FLOAT32 = 6e-8  # relative rounding of metrics that were computed in single precision


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The step of the values' grid, in the metric's unit: 1/50 for an accuracy on 50 images."""

    step: float
    text: str


def resolution(outcome: Outcome, values: FloatArray) -> Resolution | None:
    """The coarsest grid that contains all the values, or None."""
    distinct = np.unique(values[np.isfinite(values)])
    if not len(distinct):
        return None
    unit = outcome.bounds[1] if outcome.points else 1.0
    result = _denominator(distinct / unit) if ((distinct >= 0) & (distinct <= unit)).all() else None
    if result is not None:
        return Resolution(step=unit / result, text=f"1/{result}")
    decimals = next((d for d in range(MAX_DECIMALS + 1) if all(round(v, d) == v for v in distinct.tolist())), None)
    if decimals is None:
        return None
    step = float(10.0**-decimals)
    return Resolution(step=step, text=f"{step:g}")


def _denominator(fractions: FloatArray) -> int | None:
    """The smallest n for which all fractions are k/n."""
    if len(fractions) > MAX_DENOMINATOR:
        return None
    if (fractions[fractions > 0] < 1 / MAX_DENOMINATOR / 2).any():
        return None
    n = np.arange(1, MAX_DENOMINATOR + 1, dtype=float)
    counts = np.outer(fractions[:: -(-len(fractions) // MAX_EXAMINED)], n)
    near = (np.abs(counts - np.rint(counts)) <= np.maximum(1e-9, FLOAT32 * counts)).all(axis=0)
    for candidate in n[near]:
        complete = fractions * candidate
        if (np.abs(complete - np.rint(complete)) <= np.maximum(1e-9, FLOAT32 * complete)).all():
            return int(candidate)
    return None


def placed(outcome: Outcome, values: FloatArray, arms: Sequence[str]) -> tuple[Outcome, str]:
    """Return the outcome on a scale that takes all the values, and a message on what was done.

    A few values on the boundary, such as an accuracy of 1 or a loss of 0, are moved half a step of the measurement
    inside; otherwise the outcome is analyzed on the identity scale.
    """
    if outcome.fits(values) or not len(values):
        return outcome, ""
    low, high = outcome.limits
    off = ~((values > low) & (values < high))
    names = _names([arm for arm, is_off in zip(arms, off, strict=True) if is_off])
    beyond = (values < low) | (values > high)
    inside = values[~off]
    identity = replace(outcome, scale="identity", range=None if beyond.any() else outcome.range)
    which = f"{outcome.title or outcome.name}: {int(off.sum())} value{'s' if off.sum() > 1 else ''}"
    allowed = f"above {low:g}" if not isfinite(high) else f"between {low:g} and {high:g}"
    if beyond.any() or not len(inside) or off.mean() > MAX_ON_BOUNDARY:
        declare = "; if the metric has another range, declare it, such as [0, 100]" if outcome.scale == "logit" else ""
        return identity, (
            f"{which} not {allowed} ({names}), where the {outcome.scale} scale has no value: effects are on the "
            f"identity scale, in the metric's own unit{declare if beyond.any() else ''}."
        )
    grid = resolution(outcome, values) if outcome.scale == "logit" else None
    edge = min(float(np.min(inside - low)), float(np.min(high - inside))) / 2
    edge = min(edge, grid.step / 2) if grid else edge
    if not edge > 0:
        return identity, f"{which} on the boundary of the {outcome.scale} scale ({names}): the identity scale is used."
    step = f"half a step of {grid.text}" if grid else "half the smallest distance of the others"
    return replace(outcome, edge=edge), (
        f"{which} on the boundary, where the {outcome.scale} scale has none ({names}): placed {edge:.3g} inside, "
        f"{step}."
    )


def _names(arms: Sequence[str], limit: int = 6) -> str:
    more = len(arms) - limit
    return ", ".join(arms[:limit]) + (f" and {more} more" if more > 0 else "")
