"""Values along a setting of which multiple numbers were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from branchwise.analysis.records.remeasured import Remeasurement, is_number, text_of
from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.model import Estimate, mean_estimate
from branchwise.run_files.columns import Better

MIN_POINTS = 2  # of a curve


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values along a setting, others as in `others`: cells[cell][x] is the mean over blocks."""

    others: str
    metric: str
    x: tuple[float, ...]
    cells: Mapping[str, Mapping[float, Estimate]]
    teacher: Mapping[float, float]
    better: Better = "lower"

    def best(self, cell: str) -> tuple[float, Estimate] | None:
        """The setting with the best mean, and that mean."""
        available = {x: estimate for x, estimate in self.cells.get(cell, {}).items() if estimate.has_value}
        sign = -1.0 if self.better == "higher" else 1.0
        return min(available.items(), key=lambda item: sign * item[1].value) if available else None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting that was varied, by the last part of its name, and its curves."""

    name: str
    curves: tuple[Curve, ...]


def axes_of(run: Run, measures: Sequence[Remeasurement]) -> list[Axis]:
    """Return an axis for each setting measured at multiple numbers with the others unchanged."""
    keys = dict.fromkeys(key for measure in measures for key in measure.settings)
    axes = []
    for key in keys:
        groups: dict[str, list[Remeasurement]] = {}
        for measure in measures:
            if is_number(measure.settings.get(key)):
                rest = {other: value for other, value in measure.settings.items() if other != key}
                groups.setdefault(json.dumps(rest, sort_keys=True), []).append(measure)
        curves = [_curve(run, key, group, measures) for group in groups.values() if _varies(key, group)]
        if curves:
            axes.append(Axis(name=key.partition(".")[2], curves=tuple(curves)))
    return axes


def _varies(key: str, group: Sequence[Remeasurement]) -> bool:
    return len({measure.settings[key] for measure in group}) >= MIN_POINTS


def _curve(run: Run, key: str, group: Sequence[Remeasurement], measures: Sequence[Remeasurement]) -> Curve:
    varying = [
        other
        for other in group[0].settings
        if other != key
        and group[0].settings[other] is not None  # as the run has it; its name has the metric
        and len({json.dumps(measure.settings.get(other)) for measure in measures}) > 1
    ]
    others = ", ".join(f"{other.partition('.')[2]} {text_of(group[0].settings[other])}" for other in varying)
    tables = {float(measure.settings[key]): measure.run.results for measure in group}
    cells = dict.fromkeys((*run.cells[::-1], *run.outline.baselines))
    return Curve(
        others=others,
        metric=group[0].run.metric,
        x=tuple(sorted(tables)),
        cells={
            cell: {x: _mean(table, cell, run.inference.level) for x, table in sorted(tables.items())} for cell in cells
        },
        teacher={x: float(table["teacher_value"].mean()) for x, table in sorted(tables.items())},
        better=run.outline.better("value"),
    )


def _mean(table: pd.DataFrame, cell: str, level: float) -> Estimate:
    """Over blocks, with the t interval."""
    values = table.loc[table["cell"] == cell, "value"].to_numpy(dtype=float)
    return mean_estimate(values[np.isfinite(values)], level)
