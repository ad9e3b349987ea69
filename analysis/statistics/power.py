"""How many blocks it takes: exact power of the t tests of the block model, before a run and after it.

Power is that of a two-sided test at 5% for one contrast, from the noncentral t distribution; effects are on the log
scale (0.05 is about 5% of the distance) and so is the residual SD, which a pilot or an earlier run supplies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from pathlib import Path
from typing import Any, Literal

Design = Literal["factorial", "leave_one_out"]
ALPHA = 0.05
POWER = 0.8
MOST_BLOCKS = 1000


@dataclass(frozen=True, kw_only=True)
class EarlierSD:
    """Residual SD (log scale) of an earlier run and how near that run's settings are to the planned ones."""

    run: str
    residual_sd: float
    df: int
    differs: tuple[str, ...]  # sections of the space in which the two differ


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a design can see. Effects are on the log scale, or in residual SDs when `residual_sd` is None."""

    design: Design
    components: int
    blocks: int
    residual_sd: float | None
    detectable: float  # smallest Shapley value (factorial) or leave-one-out effect seen with 80% power
    detectable_next: float  # the same with one more block
    half_width: float  # expected half-width of its 95% interval, from the root mean square residual
    half_width_next: float


def variance_factor(components: int, design: Design) -> float:
    """Sum of squared weights of the design's headline contrast: its variance is residual^2 * factor / blocks."""
    if design == "leave_one_out":
        return 2.0
    from branchwise.analysis.statistics.contrasts import shapley

    weights = shapley(0, components)
    return float(weights @ weights)


def residual_df(components: int, blocks: int, design: Design) -> int:
    """(cells - 1)(blocks - 1) of the full table."""
    cells = components + 1 if design == "leave_one_out" else 2**components
    return (cells - 1) * (blocks - 1)


def power(effect: float, residual_sd: float, components: int, blocks: int, design: Design = "factorial") -> float:
    """Chance that the 95% interval of the headline contrast excludes zero when its true value is `effect`."""
    from scipy.special import nctdtr, stdtrit

    df = residual_df(components, blocks, design)
    if df < 1:
        return 0.0
    shift = abs(effect) / (residual_sd * sqrt(variance_factor(components, design) / blocks))
    edge = float(stdtrit(df, 1 - ALPHA / 2))
    return float(1 - nctdtr(df, shift, edge) + nctdtr(df, shift, -edge))


def smallest_detectable(residual_sd: float, components: int, blocks: int, design: Design = "factorial") -> float:
    """Smallest effect that is seen with 80% power; inf with one block."""
    if residual_df(components, blocks, design) < 1:
        return inf
    low, high = 0.0, residual_sd
    while power(high, residual_sd, components, blocks, design) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if power(middle, residual_sd, components, blocks, design) < POWER:
            low = middle
        else:
            high = middle
    return high


def blocks_needed(effect: float, residual_sd: float, components: int, design: Design = "factorial") -> int | None:
    """Fewest blocks that see `effect` with 80% power; None when 1,000 do not."""
    low, high = 1, 2
    while power(effect, residual_sd, components, high, design) < POWER:
        low, high = high, 2 * high
        if high > MOST_BLOCKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(effect, residual_sd, components, middle, design) < POWER:
            low = middle
        else:
            high = middle
    return high


def half_width(residual_sd: float, components: int, blocks: int, design: Design = "factorial") -> float:
    """Half-width of the 95% interval of the headline contrast at that residual SD; inf with one block."""
    from scipy.special import stdtrit

    df = residual_df(components, blocks, design)
    if df < 1:
        return inf
    return float(stdtrit(df, 1 - ALPHA / 2)) * residual_sd * sqrt(variance_factor(components, design) / blocks)


def plan(components: int, blocks: int, design: Design = "factorial", residual_sd: float | None = None) -> Plan:
    """What `blocks` blocks of the design can see, and what one more would buy. ValueError for fewer
    than one component or block, or a residual SD that is not above 0."""
    if components < 1 or blocks < 1:
        raise ValueError("a plan takes at least one component and one block")
    if residual_sd is not None and not residual_sd > 0:
        raise ValueError("a residual SD is above 0")
    sd = 1.0 if residual_sd is None else residual_sd
    return Plan(
        design=design, components=components, blocks=blocks, residual_sd=residual_sd,
        detectable=smallest_detectable(sd, components, blocks, design),
        detectable_next=smallest_detectable(sd, components, blocks + 1, design),
        half_width=half_width(sd, components, blocks, design),
        half_width_next=half_width(sd, components, blocks + 1, design),
    )  # fmt: skip


def describe(planned: Plan) -> list[str]:
    """Sentences for a terminal or a report: what the plan sees, what one more block buys, blocks for round effects."""
    what = "Shapley value" if planned.design == "factorial" else "leave-one-out effect"
    if not isfinite(planned.detectable):
        return [
            f"One seed gives no intervals; with 2 seeds, effects of {_effect(planned.detectable_next, planned)} or "
            f"more are detectable ({what}, 80% power, 5% level)."
        ]
    lines = [
        f"With {planned.blocks} seeds, effects of {_effect(planned.detectable, planned)} or more are detectable "
        f"({what}, 80% power, 5% level); with one more seed, {_effect(planned.detectable_next, planned)}.",
        f"Expected 95% interval of a {what}: ±{_effect(planned.half_width, planned)}; with one more seed, "
        f"±{_effect(planned.half_width_next, planned)}.",
    ]
    sd = planned.residual_sd
    if sd is None:
        return lines
    wanted = {f"{p}%": blocks_needed(log(1 + p / 100), sd, planned.components, planned.design) for p in (5, 10, 20)}
    told = ", ".join(f"{name}: {'over ' + str(MOST_BLOCKS) if n is None else n}" for name, n in wanted.items())
    return [*lines, f"Seeds needed to detect a change of the distance (change: seeds): {told}."]


def _effect(effect: float, planned: Plan) -> str:
    return f"{effect:.2f} residual SDs" if planned.residual_sd is None else f"{100 * (exp(effect) - 1):.1f}%"


def earlier_residual_sd(storage: Path, space: Mapping[str, Any]) -> EarlierSD | None:
    """Residual SD from the reports under `storage` (`<run>/report/ablation.json`), nearest settings first, then newest.

    Only runs of the same trainable on the same data count; None when there is none. Reports that cannot be read as such
    are passed over: they are not this run's business.
    """
    found: list[tuple[int, float, EarlierSD]] = []
    for path in sorted(storage.glob("*/report/ablation.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        earlier = _earlier(report, space) if isinstance(report, dict) else None
        if earlier is not None:
            found.append((-len(earlier.differs), path.stat().st_mtime, earlier))
    return max(found, key=lambda item: item[:2])[2] if found else None


def _earlier(report: Mapping[str, Any], space: Mapping[str, Any]) -> EarlierSD | None:
    model, settings = report.get("model"), report.get("space")
    if not isinstance(model, dict) or not isinstance(settings, dict):
        return None
    sd, df = model.get("residual_sd"), model.get("df")
    same = all(settings.get(part) == space.get(part) for part in ("trainable", "data"))
    if not same or not isinstance(sd, float) or not isinstance(df, int) or not sd > 0:
        return None
    sections: Sequence[str] = ("teacher", "student", "train", "method", "evaluate")
    differs = tuple(part for part in sections if settings.get(part) != space.get(part))
    return EarlierSD(run=str(report.get("name")), residual_sd=sd, df=df, differs=differs)
