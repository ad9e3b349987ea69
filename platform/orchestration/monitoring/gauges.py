"""Gauges of a running sweep for Prometheus, on the metrics port of the driver's Ray node."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.trainables import Column

TAGS = ("sweep", "cell", "block")
GAUGES = {
    "branchwise_arms_done": "Arms with a result",
    "branchwise_arms_failed": "Arms that failed or diverged",
    "branchwise_steps_per_second": "Training steps a second of the arms that are training now",
}
CellBlock = tuple[str, str]  # cell and block


def gauge_texts(columns: Sequence[Column]) -> dict[str, str]:
    """The descriptions of the platform's gauges and of the trainable's shown columns."""
    return GAUGES | {
        f"branchwise_{column.name}": f"{column.about}, of the last arm done" for column in _gauge_columns(columns)
    }


def _gauge_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns that have a gauge."""
    return [column for column in columns if column.shown or column.name == "value"]


class Gauges:
    """A follower of one sweep; each shown column has a gauge with the last finished arm's value.

    Ray prefixes each name with `ray_`.
    """

    def __init__(self, sweep: str, columns: Sequence[Column]) -> None:
        from ray.util.metrics import Gauge

        self._sweep = sweep
        self._gauges = {name: Gauge(name, text, TAGS) for name, text in gauge_texts(columns).items()}
        self._columns = [column.name for column in _gauge_columns(columns)]
        self._done: Counter[CellBlock] = Counter()
        self._failed: Counter[CellBlock] = Counter()
        self._training: set[CellBlock] = set()

    def __call__(self, state: RunState, new: Sequence[str]) -> None:
        for arm in new:
            record = state.records[arm]
            if "cell" not in record:  # damaged
                continue
            location = _cell_block(record)
            self._done[location] += record["status"] == "done"
            self._failed[location] += record["status"] in ("failed", "diverged")
            self._set("branchwise_arms_done", location, self._done[location])
            self._set("branchwise_arms_failed", location, self._failed[location])
            for column in self._columns:
                if record["values"].get(column) is not None:
                    self._set(f"branchwise_{column}", location, record["values"][column])
        rates: dict[CellBlock, float] = defaultdict(float)
        for report in state.running.values():
            for running in state.unfinished(report):
                rates[_cell_block(running)] += report.get("steps_per_second", 0.0) * (report["phase"] == "train")
        for location in self._training | rates.keys():
            self._set("branchwise_steps_per_second", location, rates.get(location, 0.0))
        self._training = set(rates)

    def _set(self, name: str, location: CellBlock, value: float) -> None:
        self._gauges[name].set(value, dict(zip(TAGS, (self._sweep, *location), strict=True)))


def _cell_block(arm: Mapping[str, Any]) -> CellBlock:
    return ": ".join([*(arm.get("across") or {}).values(), arm["cell"]]), str(arm["block"])
