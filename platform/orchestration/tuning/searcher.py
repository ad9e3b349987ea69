"""Optuna studies behind Ray Tune's Searcher interface: a trial is a cohort of suggestions.

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
from branchwise.orchestration.tuning.studies import STARTED_SEEDS, OpenStudy, violations
from branchwise.trainables import Cohort

COHORT = "cohort"  # the attribute of a suggestion with the name of its cohort
SeedTrial = tuple[OpenStudy, FrozenTrial, int]  # a suggestion and the number of a seed


class StudySearcher(CohortQueue):
    """A queue that asks the study with the most remaining suggestions and reports results to it.

    It asks for up to `size` per cohort. With multiple seeds, a suggestion trains one seed at a
    time, so that a race can stop it early; its study gets the mean. A cohort has one seed. A
    suggestion that waits for its next seed comes before new suggestions.
    """

    def __init__(self, studies: Sequence[OpenStudy], size: int) -> None:
        super().__init__()
        self._studies, self._size = studies, size
        self._journal = studies[0].journal  # the same for all
        self._live: dict[str, list[SeedTrial]] = {}  # by Tune's trial
        self._waiting: list[SeedTrial] = []  # requested, in no cohort yet
        self._unfinished: dict[str, list[SeedTrial]] = {}  # cohorts of an earlier process that ended before they did
        self._writable: dict[tuple[str, int], optuna.Trial] = {}
        following, new = [], []
        for study in studies:
            if study.search.options.scheduler == "wilcoxon":
                study.study.pruner = wilcoxon_pruner()
            for trial in study.requested_trials():
                pending = self._resume_trial(study, trial)
                following += [item for item in pending if item[2]]
                new += [item for item in pending if not item[2]]
        self._waiting = [*following, *new]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def next_cohort(self, trial_id: str) -> Cohort | str | None:
        name, cohort = self._next()
        self._journal.flush()  # before training starts
        if not cohort:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = cohort
        return Cohort(name=name, arms=tuple(study.arm(trial, i) for study, trial, i in cohort))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        following = []
        for study, trial, i in self._live.pop(trial_id, []):
            if study.record(trial, i) is not None:
                following += self._tell(study, trial, i)
            elif not _current_trial(study, trial).state.is_finished():  # it failed for good
                study.study.tell(trial.number, state=TrialState.FAIL)
        self._waiting[:0] = following

    def _resume_trial(self, study: OpenStudy, trial: FrozenTrial) -> list[SeedTrial]:
        """Continue a suggestion of an earlier process; return its seeds that wait for a cohort."""
        started_count = study.started_seeds(trial)
        failed = [i for i in range(started_count) if study.record(trial, i) is None]
        if trial.state == TrialState.RUNNING:
            if not started_count:
                return [(study, trial, 0)]
            if not failed:
                return self._tell(study, trial, started_count - 1)
            if study.seeds == 1 and COHORT not in trial.user_attrs:
                return [(study, trial, 0)]
            last = failed[0] == started_count - 1  # else its record was damaged
            name = trial.user_attrs[COHORT] if last else study.arm_name(trial, failed[0])
            self._unfinished.setdefault(name, []).append((study, trial, failed[0]))
        elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            for i in failed:
                name = study.arm_name(trial, i)  # its record was damaged: only the value is known, from the study
                study.run.delete_record(name)
                self._unfinished[name] = [(study, trial, i)]
        return []

    def _next(self) -> tuple[str, list[SeedTrial]]:
        """The next cohort and its name.

        An unfinished cohort, with a checkpoint of that name, or as many new arms as can train
        together.
        """
        if self._unfinished:
            return self._unfinished.popitem()
        following = any(i for _, _, i in self._waiting)
        while not following and len(self._waiting) < self._size and (study := self._study_with_most_remaining()):
            self._waiting.append((study, self._ask(study), 0))
        keys = [(i, study.method.cohort_key(study.arm(trial, i))) for study, trial, i in self._waiting]
        matching = [index for index, key in enumerate(keys) if key == keys[0]][: self._size]
        cohort = [self._waiting[index] for index in matching]
        self._waiting = [item for index, item in enumerate(self._waiting) if index not in matching]
        if not cohort:
            return "", []
        study, first, i = cohort[0]
        name = study.arm_name(first, i)
        for study, trial, i in cohort:
            if not _current_trial(study, trial).state.is_finished():
                self._mark_started(study, trial, i, name, is_single=len(cohort) == 1)
        return name, cohort

    def _mark_started(self, study: OpenStudy, trial: FrozenTrial, i: int, cohort: str, is_single: bool) -> None:
        """Record that the suggestion started on seed `i`, and in which cohort."""
        writable = self._open(study, trial)
        if study.seeds > 1:
            writable.set_user_attr(STARTED_SEEDS, max(i + 1, study.started_seeds(_current_trial(study, trial))))
        if study.seeds > 1 or not is_single:
            writable.set_user_attr(COHORT, cohort)

    def _study_with_most_remaining(self) -> OpenStudy | None:
        """The study with the largest number of outstanding suggestions."""
        remaining, study = max(((_remaining_trials(study), study) for study in self._studies), key=lambda pair: pair[0])
        return study if remaining > 0 else None

    def _ask(self, study: OpenStudy) -> FrozenTrial:
        trial = study.ask()
        self._writable[study.search.cell, trial.number] = trial
        return study.study.get_trials(deepcopy=False)[trial.number]

    def _open(self, study: OpenStudy, trial: FrozenTrial) -> optuna.Trial:
        """The suggestion, writable also when an earlier process requested it."""
        key = (study.search.cell, trial.number)
        if key not in self._writable:
            self._writable[key] = optuna.Trial(study.study, trial._trial_id)
        return self._writable[key]

    def _tell(self, study: OpenStudy, trial: FrozenTrial, i: int) -> list[SeedTrial]:
        """Report the suggestion's recorded result on this seed to the study.

        Returns its next seed, if any.
        """
        if _current_trial(study, trial).state.is_finished():
            return []  # it was only rerun for its record
        record = study.record(trial, i)
        assert record is not None
        values = record["values"]
        reached = [values.get(objective) for objective, _ in study.objectives]
        if record["status"] == "stopped":
            self._open(study, trial).report(values["rung_value"], values["steps"])
            study.study.tell(trial.number, state=TrialState.PRUNED)
        elif record["status"] != "done" or not all(value is not None and math.isfinite(value) for value in reached):
            study.study.tell(trial.number, state=TrialState.FAIL)
        else:
            return self._tell_done(study, trial, i, reached[0])
        return []

    def _tell_done(self, study: OpenStudy, trial: FrozenTrial, i: int, value: float) -> list[SeedTrial]:
        writable = self._open(study, trial)
        if study.seeds > 1 and len(study.objectives) == 1 and i not in _current_trial(study, trial).intermediate_values:
            writable.report(value, i)
        if i + 1 < study.seeds:
            if not self._is_stopped(study, trial, i + 1):
                return [(study, trial, i + 1)]
            study.study.tell(trial.number, state=TrialState.PRUNED)
            return []
        means = study.values(trial)
        for constraint, violation in violations(study.search.options, means).items():
            writable.set_constraint(constraint, violation)
        study.study.tell(trial.number, [means[objective] for objective, _ in study.objectives])
        return []

    def _is_stopped(self, study: OpenStudy, trial: FrozenTrial, seeds: int) -> bool:
        """Whether a suggestion is too far behind the best after this many seeds to get another one."""
        options = study.search.options
        if seeds not in options.early_looks:
            return False
        if options.scheduler == "wilcoxon":
            return self._open(study, trial).should_prune()
        best = next((item for item in study.best() if item.number != trial.number), None)
        if best is None:
            return False
        ((_, sign),) = study.objectives
        trial_values, other = _current_trial(study, trial).intermediate_values, best.intermediate_values
        return is_behind([sign * trial_values[i] for i in range(seeds)], [sign * other[i] for i in range(seeds)])


def wilcoxon_pruner() -> optuna.pruners.BasePruner:
    """Optuna's, which stops what is behind the best suggestion on the seeds that both have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=RACE_LEVEL)


def _current_trial(study: OpenStudy, trial: FrozenTrial) -> FrozenTrial:
    """The suggestion as the study has it now."""
    return study.study.get_trials(deepcopy=False)[trial.number]


def _remaining_trials(study: OpenStudy) -> int:
    """Return the number of suggestions left to ask for.

    Failed ones are replaced, up to half the number to search.
    """
    suggestions, target = study.requested_trials(), study.search.options.searched
    failed = sum(trial.state == TrialState.FAIL for trial in suggestions)
    return target - (len(suggestions) - failed) - max(0, failed - target // 2)
