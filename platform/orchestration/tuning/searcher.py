"""Optuna studies behind Ray Tune's Searcher interface: a Tune trial is a cohort of several suggestions.

A resumed search repeats just the suggestions that have no result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from branchwise.orchestration.tuning.queue import CohortQueue
from branchwise.orchestration.tuning.studies import OpenStudy, violations
from branchwise.trainables import Cohort

COHORT = "cohort"  # the attribute of a suggestion that tells with which others it trains
Asked = tuple[OpenStudy, FrozenTrial]


class StudySearcher(CohortQueue):
    """Asks the studies in turn for `size` suggestions a cohort, and tells them what the run folder holds."""

    def __init__(self, studies: Sequence[OpenStudy], size: int) -> None:
        super().__init__()
        self._studies, self._size = studies, size
        self._journal = studies[0].journal  # the same for all
        self._live: dict[str, list[Asked]] = {}  # by Tune's trial
        self._waiting: list[Asked] = []  # asked for, in no cohort yet
        self._unfinished: dict[str, list[Asked]] = {}  # cohorts of an earlier process that ended before they did
        self._writable: dict[tuple[str, int], optuna.Trial] = {}
        for opened in studies:
            for trial in opened.asked():
                if trial.state == TrialState.RUNNING and not self._tell(opened, trial):
                    if COHORT in trial.user_attrs:
                        self._unfinished.setdefault(trial.user_attrs[COHORT], []).append((opened, trial))
                    else:
                        self._waiting.append((opened, trial))
                elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and opened.record(trial) is None:
                    name = opened.arm_name(trial)  # its record was damaged: the study knows its value, nobody the rest
                    opened.run.delete_record(name)
                    self._unfinished[name] = [(opened, trial)]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        name, cohort = self._next()
        self._journal.flush()  # before anyone trains what is not written down
        if not cohort:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = cohort
        return Cohort(name=name, arms=tuple(opened.arm(trial) for opened, trial in cohort))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        for opened, trial in self._live.pop(trial_id, []):
            if not self._tell(opened, trial) and not trial.state.is_finished():  # it failed for good
                opened.study.tell(trial.number, state=TrialState.FAIL)

    def _next(self) -> tuple[str, list[Asked]]:
        """The next cohort and its name: an unfinished one, whose checkpoint goes by that name, or as many new arms as
        can train together."""
        if self._unfinished:
            return self._unfinished.popitem()
        while len(self._waiting) < self._size and (opened := self._neediest()):
            self._waiting.append((opened, self._ask(opened)))
        keys = [opened.method.cohort_key(opened.arm(trial)) for opened, trial in self._waiting]
        alike = [index for index, key in enumerate(keys) if key == keys[0]][: self._size]
        cohort = [self._waiting[index] for index in alike]
        self._waiting = [one for index, one in enumerate(self._waiting) if index not in alike]
        if not cohort:
            return "", []
        opened, first = cohort[0]
        name = opened.arm_name(first)
        if len(cohort) > 1:
            for opened, trial in cohort:
                if not trial.state.is_finished():
                    self._open(opened, trial).set_user_attr(COHORT, name)
        return name, cohort

    def _neediest(self) -> OpenStudy | None:
        """The study with most suggestions still to ask for."""
        wanted = [(_wanted(opened), opened) for opened in self._studies]
        most, neediest = max(wanted, key=lambda pair: pair[0])
        return neediest if most > 0 else None

    def _ask(self, opened: OpenStudy) -> FrozenTrial:
        trial = opened.ask()
        self._writable[opened.search.cell, trial.number] = trial
        return opened.study.get_trials(deepcopy=False)[trial.number]

    def _open(self, opened: OpenStudy, trial: FrozenTrial) -> optuna.Trial:
        """The suggestion as one that can be written to, also when an earlier process asked for it."""
        key = (opened.search.cell, trial.number)
        if key not in self._writable:
            self._writable[key] = optuna.Trial(opened.study, trial._trial_id)
        return self._writable[key]

    def _tell(self, opened: OpenStudy, trial: FrozenTrial) -> bool:
        """Tells the study what became of its suggestion; False when the run folder does not say."""
        record = opened.record(trial)
        if record is None:
            return False
        if trial.state.is_finished():
            return True  # it was only run again for its record
        values = record["values"]
        reached = [values.get(objective) for objective, _ in opened.objectives]
        if record["status"] == "stopped":
            self._open(opened, trial).report(values["rung_value"], values["steps"])
            opened.study.tell(trial.number, state=TrialState.PRUNED)
        elif record["status"] == "done" and all(value is not None and math.isfinite(value) for value in reached):
            asked = self._open(opened, trial)
            for constraint, violation in violations(opened.search.options, values).items():
                asked.set_constraint(constraint, violation)
            opened.study.tell(trial.number, reached)
        else:
            opened.study.tell(trial.number, state=TrialState.FAIL)
        return True


def _wanted(opened: OpenStudy) -> int:
    """Suggestions still to ask for. A failed one is replaced, but at most half as many as were wanted."""
    asked, wanted = opened.asked(), opened.search.options.searched
    failed = sum(trial.state == TrialState.FAIL for trial in asked)
    return wanted - (len(asked) - failed) - max(0, failed - wanted // 2)
