"""Cohorts handed to Ray Tune one by one. A grid of them would be copied as a whole for every trial made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.search import Searcher


class InOrder(Searcher):
    """Suggests each of the cohorts once, in their order, until there are no more."""

    def __init__(self, cohorts: Iterable[Mapping[str, Any]]) -> None:
        super().__init__()
        self._left = iter(cohorts)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # FINISHED is text
        cohort = next(self._left, None)
        return Searcher.FINISHED if cohort is None else {"cohort": cohort}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: what a cohort comes to changes no other."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: which arms are finished is written in the run folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed sweep begins with the cohorts that are left."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; nobody reads that
