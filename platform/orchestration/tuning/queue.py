"""Cohorts handed to Ray Tune individually: each is a trial.

A grid of them would be copied entirely for each trial made of it.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from branchwise.orchestration.limits import Meter
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.job import serialize_cohort


class CohortQueue(Searcher, ABC):
    """The source of Tune's trials. It stores no state: finished arms are in the run folder."""

    def __init__(self) -> None:
        super().__init__()
        self.cohorts_by_name: dict[str, Cohort] = {}  # by name

    @abstractmethod
    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        """The next trial, Searcher.FINISHED after the last, None if not yet determined."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        cohort = self.next_cohort(trial_id)
        if cohort is None or isinstance(cohort, str):
            return cohort
        self.cohorts_by_name[cohort.name] = cohort
        return {"cohort": serialize_cohort(cohort)}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """No-op: the result of a cohort changes no other."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; the pickle is not read


class FifoQueue(CohortQueue):
    """Each of the cohorts once, in their order."""

    def __init__(self, cohorts: Iterable[Cohort]) -> None:
        super().__init__()
        self._remaining = iter(cohorts)

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        return next(self._remaining, Searcher.FINISHED)


class Metered(FifoQueue):
    """The cohorts in their order until a limit is reached; `reason` then states which."""

    def __init__(self, cohorts: Iterable[Cohort], meter: Meter) -> None:
        super().__init__(cohorts)
        self._meter = meter
        self._running: dict[str, tuple[Cohort, float]] = {}
        self._failed, self._trial_seconds = 0, 0.0  # of trials that have finished
        self._per_arm: list[float] = []
        self.reason = ""

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        cohort = super().next_cohort(trial_id)
        if not isinstance(cohort, Cohort):
            return cohort
        self.reason = self.reason or self._meter.exceeded_limit(self._seconds(), self._expected(cohort), self._failed)
        if self.reason:
            return str(Searcher.FINISHED)
        self._running[trial_id] = cohort, time.monotonic()
        return cohort

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        cohort, start = self._running.pop(trial_id, (None, 0.0))
        if cohort is None:
            return
        seconds = time.monotonic() - start
        self._trial_seconds += seconds
        self._per_arm.append(seconds / len(cohort.arms))
        self._failed += len(cohort.arms) if error else 0

    def _seconds(self) -> float:
        """Of all trials so far, those that are running included."""
        return self._trial_seconds + sum(time.monotonic() - start for _, start in self._running.values())

    def _expected(self, cohort: Cohort) -> float:
        """Of this cohort: by those that have finished, else by the plan."""
        if not self._per_arm:
            return cohort.seconds
        return len(cohort.arms) * sum(self._per_arm) / len(self._per_arm)


class TuneStopped(BaseException):
    """A request to stop Tune.

    No Exception: after these it would first wait for its actors to end.
    """


class StopWhenSet(Stopper):
    """Makes Tune raise TuneStopped, within a fraction of a second, once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:  # called in each round of Tune's loop
        if self._event.is_set():
            raise TuneStopped
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it; the pickle is not read
