"""Reports of a running arm (curves, progress, rungs) for trainables whose arms run in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from branchwise.trainables.columns import outcome
from branchwise.trainables.contract import Arm, ArmStatus, Context, Result
from branchwise.trainables.metrics import Declared, as_number

IDENTITY = ("sweep", "arm", "block", "cell", "step")  # columns of curves that no metric may be called
MAX_ROWS = 2000  # of an arm's curves; beyond, every second row is omitted


class Stopped(Exception):  # noqa: N818
    """The arm is behind the others of its search and is to end now."""


class Reporter:
    """Takes an arm's reports: `reporter(step, loss=0.3)`."""

    def __init__(
        self, arm: Arm, context: Context, metric: str, primary: Declared, *, rung_metric: str | None = None
    ) -> None:
        """`metric` is the arm's, `rung_metric` the number compared at rungs where that is another."""
        self._arm, self._context = arm, context
        self._metric, self._rung_metric = metric, rung_metric or metric
        self._sign = -1.0 if primary.direction == "maximize" else 1.0
        self._started_at, self._waiting = time.monotonic(), list(context.rungs)
        self._rows: list[dict[str, Any]] = []
        self._stride, self._count, self._last = 1, 0, 0
        self._rung_value: float | None = None
        context.report({"phase": "train", "step": 0, "steps": 1})  # it runs, even if it never states how far it is

    def __call__(self, step: int, /, *, steps: int = 0, **metrics: Any) -> None:
        """Accept measurements after `step` of `steps` steps (0: unknown total). Raises Stopped."""
        results = {name: as_number(value) for name, value in metrics.items() if name not in IDENTITY}
        numbers = {name: value for name, value in results.items() if value is not None}
        self._add_row({**numbers, "step": step})
        self._last = max(self._last, step)
        self._context.report({"phase": "train", "step": step, "steps": max(step, int(steps))})
        value = numbers.get(self._rung_metric, math.nan)
        while math.isfinite(value) and self._waiting and step >= self._waiting[0]:
            rung = self._waiting.pop(0)
            if not self._context.should_continue(self._arm, rung, self._sign * value):
                self._rung_value = value
                raise Stopped(f"behind at rung {rung}")

    @property
    def stopped(self) -> bool:
        return self._rung_value is not None

    def finish_stopped(self) -> None:
        self._context.finish(self._arm, self._result("stopped", {"rung_value": self._rung_value}), None)

    def finish(self, values: Mapping[str, float], folder: Path | None = None) -> None:
        """Finish the arm with `values` by column; "value" is the metric's.

        A result that is NaN or infinite has diverged.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                error = f"{self._metric if name == 'value' else name} is {value}"
                self._context.finish(self._arm, self._result("diverged", {}, error), None)
                return
        self._context.finish(self._arm, self._result("done", outcome(self._metric, **values)), folder)

    def fail(self, error: str) -> None:
        """Finish the arm as failed, permanently."""
        self._context.finish(self._arm, self._result("failed", {}, error), None)

    def _add_row(self, row: dict[str, Any]) -> None:
        if self._count % self._stride == 0:
            self._rows.append(row)
        self._count += 1
        if len(self._rows) > MAX_ROWS:
            self._rows, self._stride = self._rows[::2], 2 * self._stride

    def _result(self, status: ArmStatus, values: Mapping[str, Any], error: str = "") -> Result:
        seconds = time.monotonic() - self._started_at
        steps = {"steps": self._last} if self._last else {}
        tables = {"curves": tuple(self._rows)} if self._rows else {}
        named = {"metric": self._metric, **values, **steps, "run_seconds": seconds}
        return Result(status=status, values=named, error=error, tables=tables)
