"""Does what was found hold under another measure? Every component's effect under each, and curves over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from branchwise.analysis.records.measures import Measure, is_number, text_of
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.findings import Findings, analyse
from branchwise.analysis.statistics.model import Estimate, mean_estimate

Conclusion = Literal["helps", "hurts", "not shown"]
LEAST_POINTS = 2  # of a curve


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Under one measure: each component's Shapley value and its share of the gain. `log`: on the log scale."""

    label: str
    metric: str
    log: bool
    shapley: Mapping[str, Estimate]
    share: Mapping[str, Estimate]
    arms: int

    def conclusion(self, component: str) -> Conclusion:
        """By the 95% interval over blocks, for this component and measure alone."""
        effect = self.shapley[component]
        if not effect.has_interval or effect.low <= 0 <= effect.high:
            return "not shown"
        return "helps" if effect.low > 0 else "hurts"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values along one setting, the others being as `others` says: cells[cell][x] is the mean over blocks."""

    others: str
    metric: str
    x: tuple[float, ...]
    cells: Mapping[str, Mapping[float, Estimate]]
    teacher: Mapping[float, float]

    def best(self, cell: str) -> tuple[float, Estimate] | None:
        """The setting with the lowest mean, and that mean."""
        known = {x: estimate for x, estimate in self.cells.get(cell, {}).items() if estimate.known}
        return min(known.items(), key=lambda item: item[1].value) if known else None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting that was varied, by its last word, and its curves."""

    name: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class Remeasured:
    """All that measuring a run again has shown; `effects` begins with the sweep's own. Empty when nothing was."""

    run: Run
    effects: tuple[Effects, ...]
    axes: tuple[Axis, ...]

    def agreement(self, component: str) -> str:
        """Whether every measure leads to the sweep's conclusion on this component."""
        told = [effects.conclusion(component) for effects in self.effects]
        if {"helps", "hurts"} <= set(told):
            return "reverses"
        same = sum(one == told[0] for one in told)
        return "holds" if same == len(told) else f"holds under {same} of {len(told)}"

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "measure": one.label,
                "metric": one.metric,
                "scale": "log" if one.log else "raw",
                "arms": one.arms,
                "components": {
                    name: {
                        "shapley": asdict(one.shapley[name]),
                        "share": asdict(one.share[name]),
                        "conclusion": one.conclusion(name),
                    }
                    for name in one.shapley
                },
            }
            for one in self.effects
        ]


def under_every_measure(findings: Findings, measures: Sequence[Measure]) -> Remeasured:
    """The effects under the sweep's own measure and every other one, and the curves along each setting."""
    run = findings.run
    others = [measure for measure in measures if not measure.as_in_the_sweep and len(measure.run.results)]
    if not others:
        return Remeasured(run=run, effects=(), axes=())
    effects = [_effects(findings, "as in the sweep"), *(_effects(analyse(one.run), one.label()) for one in others)]
    return Remeasured(run=run, effects=tuple(effects), axes=tuple(_axes(run, measures)))


def _effects(findings: Findings, label: str) -> Effects:
    rows = findings.headline.rows
    return Effects(
        label=label,
        metric=findings.run.metric,
        log=findings.log is not None,
        shapley={row.component: row.shapley for row in rows},
        share={row.component: row.share for row in rows},
        arms=len(findings.run.results),
    )


def _axes(run: Run, measures: Sequence[Measure]) -> list[Axis]:
    """An axis for each setting of which several numbers were measured while the others stayed as they were."""
    keys = dict.fromkeys(key for measure in measures for key in measure.settings)
    axes = []
    for key in keys:
        groups: dict[str, list[Measure]] = {}
        for measure in measures:
            if is_number(measure.settings.get(key)):
                rest = {other: value for other, value in measure.settings.items() if other != key}
                groups.setdefault(json.dumps(rest, sort_keys=True), []).append(measure)
        curves = [_curve(run, key, group, measures) for group in groups.values() if _varies(key, group)]
        if curves:
            axes.append(Axis(name=key.partition(".")[2], curves=tuple(curves)))
    return axes


def _varies(key: str, group: Sequence[Measure]) -> bool:
    return len({measure.settings[key] for measure in group}) >= LEAST_POINTS


def _curve(run: Run, key: str, group: Sequence[Measure], measures: Sequence[Measure]) -> Curve:
    varying = [
        other
        for other in group[0].settings
        if other != key and len({json.dumps(measure.settings.get(other)) for measure in measures}) > 1
    ]
    others = ", ".join(f"{other.partition('.')[2]} {text_of(group[0].settings[other])}" for other in varying)
    tables = {float(measure.settings[key]): measure.run.results for measure in group}
    cells = dict.fromkeys((*run.cells[::-1], *run.baselines))
    return Curve(
        others=others,
        metric=group[0].run.metric,
        x=tuple(sorted(tables)),
        cells={cell: {x: _mean(table, cell) for x, table in sorted(tables.items())} for cell in cells},
        teacher={x: float(table["teacher_value"].mean()) for x, table in sorted(tables.items())},
    )


def _mean(table: pd.DataFrame, cell: str) -> Estimate:
    """Over blocks, with the t interval."""
    values = table.loc[table["cell"] == cell, "value"].to_numpy(dtype=float)
    return mean_estimate(values[np.isfinite(values)])
