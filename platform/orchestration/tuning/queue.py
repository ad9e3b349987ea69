"""Cohorts handed to Ray Tune one by one: each is a trial. A grid of them would be copied as a whole for every trial
made of it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from branchwise.trainables import Cohort
from branchwise.trainables.runtime.ray_worker import plain


class CohortQueue(Searcher, ABC):
    """What Tune takes its trials from. Nothing of it is stored: what is finished is written in the run folder."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: dict[str, Cohort] = {}  # by name

    @abstractmethod
    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        """The next one, Searcher.FINISHED after the last, None when it is not known yet."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        cohort = self.next_cohort(trial_id)
        if cohort is None or isinstance(cohort, str):
            return cohort
        self.begun[cohort.name] = cohort
        return {"cohort": plain(cohort)}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Nothing, where the result of a cohort changes no other."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; nobody reads that


class InOrder(CohortQueue):
    """Each of the cohorts once, in their order."""

    def __init__(self, cohorts: Iterable[Cohort]) -> None:
        super().__init__()
        self._left = iter(cohorts)

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        return next(self._left, Searcher.FINISHED)


class Stopped(BaseException):
    """Tune was told to stop. No Exception: at one of those it would first wait for its actors to end."""


class StopWhenSet(Stopper):
    """Makes Tune raise Stopped, within a fraction of a second, once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:  # asked in every round of Tune's loop
        if self._event.is_set():
            raise Stopped
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it; nobody reads that
