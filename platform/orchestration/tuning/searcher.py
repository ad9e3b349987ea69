"""Optuna studies behind Ray Tune's Searcher interface: a Tune trial is a cohort of several suggestions.

A resumed search repeats just the suggestions that have no result.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from branchwise.analysis.statistics.sequential.searched import RACE_LEVEL, is_behind
from branchwise.orchestration.tuning.queue import CohortQueue
from branchwise.orchestration.tuning.studies import BEGUN, OpenStudy, violations
from branchwise.trainables import Cohort

COHORT = "cohort"  # the attribute of a suggestion that tells with which others it trains
Asked = tuple[OpenStudy, FrozenTrial, int]  # a suggestion on one of its seeds, by number


class StudySearcher(CohortQueue):
    """Asks the studies in turn for `size` suggestions a cohort, and tells them what the run folder holds.

    A suggestion on several seeds trains on one after another, so that a race can stop it; then its study is told the
    mean. A cohort is of one seed, and no new suggestion is asked for while an earlier one waits for its next seed.
    """

    def __init__(self, studies: Sequence[OpenStudy], size: int) -> None:
        super().__init__()
        self._studies, self._size = studies, size
        self._journal = studies[0].journal  # the same for all
        self._live: dict[str, list[Asked]] = {}  # by Tune's trial
        self._waiting: list[Asked] = []  # asked for, in no cohort yet
        self._unfinished: dict[str, list[Asked]] = {}  # cohorts of an earlier process that ended before they did
        self._writable: dict[tuple[str, int], optuna.Trial] = {}
        following, new = [], []
        for opened in studies:
            if opened.search.options.scheduler == "wilcoxon":
                opened.study.pruner = wilcoxon_pruner()
            for trial in opened.asked():
                requested = self._take_up(opened, trial)
                following += [item for item in requested if item[2]]
                new += [entry for entry in requested if not entry[2]]
        self._waiting = [*following, *new]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        name, cohort = self._next()
        self._journal.flush()  # before anyone trains what is not written down
        if not cohort:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = cohort
        return Cohort(name=name, arms=tuple(opened.arm(trial, i) for opened, trial, i in cohort))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        following = []
        for opened, trial, i in self._live.pop(trial_id, []):
            if opened.record(trial, i) is not None:
                following += self._tell(opened, trial, i)
            elif not _now(opened, trial).state.is_finished():  # it failed for good
                opened.study.tell(trial.number, state=TrialState.FAIL)
        self._waiting[:0] = following

    def _take_up(self, opened: OpenStudy, trial: FrozenTrial) -> list[Asked]:
        """Goes on with a suggestion where an earlier process left it; returns what of it waits for a cohort."""
        begun = opened.begun(trial)
        lost = [i for i in range(begun) if opened.record(trial, i) is None]
        if trial.state == TrialState.RUNNING:
            if not begun:
                return [(opened, trial, 0)]
            if not lost:
                return self._tell(opened, trial, begun - 1)
            if opened.seeds == 1 and COHORT not in trial.user_attrs:
                return [(opened, trial, 0)]
            last = lost[0] == begun - 1  # else its record was damaged
            name = trial.user_attrs[COHORT] if last else opened.arm_name(trial, lost[0])
            self._unfinished.setdefault(name, []).append((opened, trial, lost[0]))
        elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            for i in lost:
                name = opened.arm_name(trial, i)  # its record was damaged: the study knows its value, nobody the rest
                opened.run.delete_record(name)
                self._unfinished[name] = [(opened, trial, i)]
        return []

    def _next(self) -> tuple[str, list[Asked]]:
        """The next cohort and its name: an unfinished one, whose checkpoint goes by that name, or as many new arms as
        can train together."""
        if self._unfinished:
            return self._unfinished.popitem()
        following = any(i for _, _, i in self._waiting)
        while not following and len(self._waiting) < self._size and (opened := self._study_with_most_remaining()):
            self._waiting.append((opened, self._ask(opened), 0))
        keys = [(i, opened.method.cohort_key(opened.arm(trial, i))) for opened, trial, i in self._waiting]
        alike = [index for index, key in enumerate(keys) if key == keys[0]][: self._size]
        cohort = [self._waiting[index] for index in alike]
        self._waiting = [item for index, item in enumerate(self._waiting) if index not in alike]
        if not cohort:
            return "", []
        opened, first, i = cohort[0]
        name = opened.arm_name(first, i)
        for opened, trial, i in cohort:
            if not _now(opened, trial).state.is_finished():
                self._note(opened, trial, i, name, alone=len(cohort) == 1)
        return name, cohort

    def _note(self, opened: OpenStudy, trial: FrozenTrial, i: int, cohort: str, alone: bool) -> None:
        """Writes down what is handed out, and in which cohort."""
        writable = self._open(opened, trial)
        if opened.seeds > 1:
            writable.set_user_attr(BEGUN, max(i + 1, opened.begun(_now(opened, trial))))
        if opened.seeds > 1 or not alone:
            writable.set_user_attr(COHORT, cohort)

    def _study_with_most_remaining(self) -> OpenStudy | None:
        """The study with most suggestions still to ask for."""
        expected = [(_wanted(opened), opened) for opened in self._studies]
        most, neediest = max(expected, key=lambda pair: pair[0])
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

    def _tell(self, opened: OpenStudy, trial: FrozenTrial, i: int) -> list[Asked]:
        """Tells the study what became of its suggestion on this seed, whose record is there.

        Returns its next seed, where it has one.
        """
        if _now(opened, trial).state.is_finished():
            return []  # it was only run again for its record
        record = opened.record(trial, i)
        assert record is not None
        values = record["values"]
        reached = [values.get(objective) for objective, _ in opened.objectives]
        if record["status"] == "stopped":
            self._open(opened, trial).report(values["rung_value"], values["steps"])
            opened.study.tell(trial.number, state=TrialState.PRUNED)
        elif record["status"] != "done" or not all(value is not None and math.isfinite(value) for value in reached):
            opened.study.tell(trial.number, state=TrialState.FAIL)
        else:
            return self._tell_done(opened, trial, i, reached[0])
        return []

    def _tell_done(self, opened: OpenStudy, trial: FrozenTrial, i: int, value: float) -> list[Asked]:
        requested = self._open(opened, trial)
        if opened.seeds > 1 and len(opened.objectives) == 1 and i not in _now(opened, trial).intermediate_values:
            requested.report(value, i)
        if i + 1 < opened.seeds:
            if not self._stops(opened, trial, i + 1):
                return [(opened, trial, i + 1)]
            opened.study.tell(trial.number, state=TrialState.PRUNED)
            return []
        means = opened.values(trial)
        for constraint, violation in violations(opened.search.options, means).items():
            requested.set_constraint(constraint, violation)
        opened.study.tell(trial.number, [means[objective] for objective, _ in opened.objectives])
        return []

    def _stops(self, opened: OpenStudy, trial: FrozenTrial, seeds: int) -> bool:
        """Whether a suggestion is so far behind the best one after this many seeds that it gets no further one."""
        options = opened.search.options
        if seeds not in options.early_looks:
            return False
        if options.scheduler == "wilcoxon":
            return self._open(opened, trial).should_prune()
        best = next((item for item in opened.best() if item.number != trial.number), None)
        if best is None:
            return False
        ((_, sign),) = opened.objectives
        own, other = _now(opened, trial).intermediate_values, best.intermediate_values
        return is_behind([sign * own[i] for i in range(seeds)], [sign * other[i] for i in range(seeds)])


def wilcoxon_pruner() -> optuna.pruners.BasePruner:
    """Optuna's, which stops what is behind the best suggestion on the seeds that both have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=RACE_LEVEL)


def _now(opened: OpenStudy, trial: FrozenTrial) -> FrozenTrial:
    """The suggestion as the study has it now."""
    return opened.study.get_trials(deepcopy=False)[trial.number]


def _wanted(opened: OpenStudy) -> int:
    """Suggestions still to ask for. A failed one is replaced, but at most half as many as were wanted."""
    requested, expected = opened.asked(), opened.search.options.searched
    failed = sum(trial.state == TrialState.FAIL for trial in requested)
    return expected - (len(requested) - failed) - max(0, failed - expected // 2)
