"""Optuna studies behind Ray Tune's Searcher interface: a trial is a cohort of several suggestions.

A resumed search repeats just the suggestions that have no result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from branchwise.orchestration.execution.cohort_queue import Cohort, Cohorts
from branchwise.orchestration.space.model import Space
from branchwise.orchestration.tuning.studies import OpenStudy, objectives, violations

COHORT = "cohort"  # the attribute of a trial that tells with which others it trains
Asked = tuple[OpenStudy, FrozenTrial]


class StudySearcher(Cohorts):
    """Asks the studies in turn for `arms_per_trial` suggestions a trial, and tells them what the run folder holds."""

    def __init__(self, studies: Sequence[OpenStudy], space: Space, arms_per_trial: int) -> None:
        super().__init__()
        self._studies, self._space, self._size = studies, space, arms_per_trial
        self._journal = studies[0].journal  # the same for all
        self._live: dict[str, list[Asked]] = {}  # by Tune's trial
        self._waiting: list[Asked] = []  # asked for, in no cohort yet
        self._unfinished: dict[str, list[Asked]] = {}  # cohorts of an earlier process that ended before they did
        self._trials: dict[tuple[str, int], optuna.Trial] = {}  # those that can still be written to
        for opened in studies:
            for trial in opened.asked():
                if trial.state == TrialState.RUNNING and not self._tell(opened, trial):
                    if COHORT in trial.user_attrs:
                        self._unfinished.setdefault(trial.user_attrs[COHORT], []).append((opened, trial))
                    else:
                        self._waiting.append((opened, trial))
                elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and opened.record(trial) is None:
                    name = opened.arm(trial).name  # its record was damaged: the study knows its value, nobody the rest
                    opened.run.delete(f"arms/{name}.json")
                    self._unfinished[name] = [(opened, trial)]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        name, cohort = self._next()
        self._journal.flush()  # before anyone trains what is not written down
        if not cohort:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = cohort
        arms = [
            {"name": arm.name, "seed": arm.seed, "patch": dict(arm.patch), "study": arm.cell}
            for arm in (opened.arm(trial) for opened, trial in cohort)
        ]
        return {"trial": name, "arms": arms}

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
        keys = [self._space.cohort_key(opened.arm(trial).patch) for opened, trial in self._waiting]
        alike = [index for index, key in enumerate(keys) if key == keys[0]][: self._size]
        cohort = [self._waiting[index] for index in alike]
        self._waiting = [one for index, one in enumerate(self._waiting) if index not in alike]
        if not cohort:
            return "", []
        opened, first = cohort[0]
        name = opened.arm(first).name
        if len(cohort) > 1:
            for opened, trial in cohort:
                if asked := self._trials.get((opened.plan.cell, trial.number)):
                    asked.set_user_attr(COHORT, name)
        return name, cohort

    def _neediest(self) -> OpenStudy | None:
        """The study with most suggestions still to ask for."""
        wanted = [(_wanted(opened), opened) for opened in self._studies]
        most, neediest = max(wanted, key=lambda pair: pair[0])
        return neediest if most > 0 else None

    def _ask(self, opened: OpenStudy) -> FrozenTrial:
        trial = opened.ask()
        self._trials[opened.plan.cell, trial.number] = trial
        return opened.study.get_trials(deepcopy=False)[trial.number]

    def _tell(self, opened: OpenStudy, trial: FrozenTrial) -> bool:
        """Tells the study what became of its trial; False when the run folder does not say."""
        record = opened.record(trial)
        if record is None:
            return False
        if trial.state.is_finished():
            return True  # it was only run again for its record
        values = record.get("values", {})
        reached = [values.get(objective) for objective in objectives(opened.design)]
        asked = self._trials.pop((opened.plan.cell, trial.number), None)  # what an earlier process asked for has none
        if record["status"] == "stopped":
            if asked:
                asked.report(values["rung_value"], values["steps"])
            opened.study.tell(trial.number, state=TrialState.PRUNED)
        elif record["status"] == "done" and all(value is not None and math.isfinite(value) for value in reached):
            if asked:
                for constraint, violation in violations(opened.design, values).items():
                    asked.set_constraint(constraint, violation)
            opened.study.tell(trial.number, reached)
        else:
            opened.study.tell(trial.number, state=TrialState.FAIL)
        return True


def _wanted(opened: OpenStudy) -> int:
    """Suggestions still to ask for. A failed one is replaced, but at most half as many as were wanted."""
    asked = opened.asked()
    failed = sum(trial.state == TrialState.FAIL for trial in asked)
    return opened.design.trials - (len(asked) - failed) - max(0, failed - opened.design.trials // 2)
