"""Scale and unit of a result: by its values, per-cent signs, and declarations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.importers.options import BETTER, ImportOptions
from branchwise.analysis.records.damage import RunFolderError
from branchwise.run_files.columns import Scale

PERCENT = (0.0, 100.0)
RATES = ((0.0, 1.0), PERCENT)
_PERCENT_NAME = re.compile(r"%|(?:^|[^a-z])(?:pct|percent|percentage)(?:$|[^a-z])", re.IGNORECASE)
_RATE_NAME = re.compile(
    r"(?:^|[^a-z])(?:acc|accuracy|top[-_ ]?[15]|f1|auc|auroc|ap|map|iou|miou|dice|precision|recall|em|"
    r"success|rate|error|err|wer|cer)(?:$|[^a-z])", re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The scale of the effects, the reason for it, and the range of the values."""

    scale: Scale
    reason: str
    range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def choose_scale(values: NDArray[np.float64], name: str, percent: bool, options: ImportOptions, source: str) -> Unit:
    """Return the scale of finite results.

    Raises:
        RunFolderError: They do not fit the declared scale or range.
    """
    if options.scale is not None and options.scale not in get_args(Scale):
        raise RunFolderError(f"{source}: scale {options.scale!r} is unknown; it must be {', '.join(get_args(Scale))}")
    if options.range is not None and not options.range[0] < options.range[1]:
        raise RunFolderError(f"{source}: range {options.range} is empty; its first number must be the smaller one")
    range_, notes = options.range, []
    inside_percent = bool((values >= 0).all() and (values <= 100).all())
    if range_ is None and inside_percent and (percent or (_PERCENT_NAME.search(name) and (values > 1).any())):
        range_ = PERCENT
        notes.append(f"{name} is read as per cent, from 0 to 100.")
    elif range_ is None and _RATE_NAME.search(name) and inside_percent and (values > 1).any():
        span = f"{values.min():g} to {values.max():g}"
        if (values <= 1).any():
            notes.append(f"{name} lies on both sides of 1 ({span}): are some runs in per cent and others not?")
        notes.append(
            f"{name} lies between {values.min():g} and {values.max():g}; if it is in per cent, say --range 0,100: "
            "effects are then in points, on the logit scale."
        )
    if range_ is not None and not ((values >= range_[0]) & (values <= range_[1])).all():
        outside = values[(values < range_[0]) | (values > range_[1])][0]
        raise RunFolderError(f"{source}: {name} is {outside:g} in a run, outside --range {range_[0]:g},{range_[1]:g}")
    scale, reason = _scale(values, name, range_, options, source)
    range_ = range_ or (RATES[0] if scale == "logit" else None)
    return Unit(scale=scale, reason=reason, range=range_, notes=tuple(notes))


def _scale(
    values: NDArray[np.float64], name: str, range_: tuple[float, float] | None, options: ImportOptions, source: str
) -> tuple[Scale, str]:
    low, high = range_ or (0.0, 1.0)
    fits: dict[Scale, bool] = {scale: Outcome(scale=scale, range=range_).fits(values) for scale in get_args(Scale)}
    needs = {"log": "values above 0", "logit": f"values between {low:g} and {high:g}, and neither of the two"}
    if options.scale is not None:
        if not fits[options.scale]:
            odd = values[(values <= low) | ((values >= high) & (options.scale == "logit"))][0]
            raise RunFolderError(
                f"{source}: --scale {options.scale} takes {needs[options.scale]}, and {name} is {odd:g} in a run; "
                "leave out --scale, or say --scale identity"
            )
        return options.scale, "as asked for"
    if range_ not in (None, *RATES):
        return "identity", f"its range is {low:g} to {high:g}"
    if fits["logit"] and (range_ is not None or BETTER[options.direction] == "higher"):
        return "logit", f"every value lies between {low:g} and {high:g}"
    if BETTER[options.direction] == "lower" and fits["log"]:
        return "log", "every value is above 0"
    return "identity", "its values suit neither log nor logit"
