"""Progress reports about once a second, at steps on which all workers agree.

Each worker must report equally often.
"""

from __future__ import annotations

import time
from typing import Any

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.parallel import broadcast_number


class Progress:
    """Reports every few steps, about once a second; each worker calls `advance` once a step."""

    def __init__(self, context: Context, phase: str, steps: int, step: int = 0, **fields: Any) -> None:
        self._context = context
        self._steps = steps
        self._fields = {"phase": phase, **fields}
        self._step = step
        self._interval = 1
        self._due = step + 1
        self._reported_at = (time.monotonic(), step)

    def advance(self, **fields: Any) -> None:
        self._step += 1
        if self._step < self._due and self._step < self._steps:
            return
        then, step = self._reported_at
        now = time.monotonic()
        pace = broadcast_number((now - then) / (self._step - step), self._context)  # seconds a step, rank 0's
        self._reported_at = (now, self._step)
        # No more than twice as far as before: a quick first step is not informative.
        self._interval = max(1, min(2 * self._interval, int(1 / max(pace, 1e-6))))
        self._due = self._step + self._interval
        self._context.report({**self._fields, "step": self._step, "steps": self._steps, **fields})
