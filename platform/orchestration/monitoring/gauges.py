"""Gauges of a running sweep, which Ray shows on the metrics port of the driver's node for a Prometheus to fetch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from branchwise.orchestration.monitoring.run_state import RunState, cell_and_block

TAGS = ("sweep", "cell", "block")
GAUGES = {
    "dash_arms_done": "Arms with a result",
    "dash_arms_failed": "Arms that failed or diverged",
    "dash_steps_per_second": "Training steps a second of the arms that are training now",
    "dash_metric_value": "The value of the last arm done: a distance, lower is better",
    "dash_rho": "rho of the last arm done: the student's guidance gap over the teacher's, 1 is best",
}


class Gauges:
    """A follower of one sweep. Ray prefixes each name with `ray_`."""

    def __init__(self, sweep: str) -> None:
        from ray.util.metrics import Gauge

        self._sweep = sweep
        self._gauges = {name: Gauge(name, description, TAGS) for name, description in GAUGES.items()}
        self._done: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._training: set[tuple[str, str]] = set()

    def __call__(self, state: RunState, new: Sequence[str]) -> None:
        for arm in new:
            place, record = cell_and_block(arm), state.records[arm]
            self._done[place] += record["status"] == "done"
            self._failed[place] += record["status"] in ("failed", "diverged")
            self._set("dash_arms_done", place, self._done[place])
            self._set("dash_arms_failed", place, self._failed[place])
            values = record.get("values", {})
            for name, key in (("dash_metric_value", "value"), ("dash_rho", "rho")):
                if values.get(key) is not None:
                    self._set(name, place, values[key])
        rates: dict[tuple[str, str], float] = defaultdict(float)
        for trial, report in state.running.items():
            for arm in state.unfinished(trial, report):
                rates[cell_and_block(arm)] += report.get("steps_per_second", 0.0) * (report["phase"] == "train")
        for place in self._training | rates.keys():
            self._set("dash_steps_per_second", place, rates.get(place, 0.0))
        self._training = set(rates)

    def _set(self, name: str, place: tuple[str, str], value: float) -> None:
        self._gauges[name].set(value, dict(zip(TAGS, (self._sweep, *place), strict=True)))
