"""An Optuna study behind Ray Tune's Searcher interface: a trial is a cohort of several suggestions.

The study lives in `study.journal` of the run folder: an Optuna journal, which `optuna-dashboard` opens at any time.
It is the only state: a resumed search reads it, and repeats just the suggestions that have no result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from orchestration.design import PlannedArm
from orchestration.search_space import Knob, Search
from orchestration.space import Space
from trainables.settings import setting
from trainables.storage import DamagedError, Storage

JOURNAL = "study.journal"


def open_study(space: Space, design: Search, run: Storage) -> optuna.Study:
    """The run's study; a new one begins with the space's own settings and those of `design.start`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(run.path(JOURNAL)))
    study = optuna.create_study(storage=storage, study_name=run.root.rpartition("/")[2], load_if_exists=True)
    if not study.trials:
        own = {key: setting(space.spec, key) for key in design.space}
        for start in ({}, *design.start):
            study.enqueue_trial(
                {key: value for key, value in (own | start).items() if _holds(design.space[key], value)}
            )
    # A resumed search draws other numbers than it drew before, or it would suggest the same again.
    study.sampler = _sampler(design, seed=design.seed + len(study.trials))
    return study


def best(study: optuna.Study) -> FrozenTrial | None:
    """The finished trial with the lowest value."""
    finished = study.get_trials(states=(TrialState.COMPLETE,))
    return min(finished, key=lambda trial: trial.values[0], default=None)


def searched_arms(study: optuna.Study, design: Search) -> list[PlannedArm]:
    """Every arm the study has asked for, in order."""
    asked = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL)
    return [_arm(trial.number, trial.params, design) for trial in study.get_trials(states=asked)]


class StudySearcher(Searcher):
    """Asks the study for `arms_per_trial` suggestions a trial, and tells it what the run folder holds of them."""

    def __init__(self, study: optuna.Study, design: Search, run: Storage, arms_per_trial: int) -> None:
        super().__init__()
        self._study, self._design, self._run, self._size = study, design, run, arms_per_trial
        self._live: dict[str, list[int]] = {}  # Tune's trial -> the study's trials
        self._repeat: list[int] = []  # asked for by an earlier run that ended before they did
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if not self._tell(trial.number):
                self._repeat.append(trial.number)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        numbers = self._next()
        if not numbers:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = numbers
        params = {trial.number: trial.params for trial in self._study.get_trials(deepcopy=False)}
        arms = [_arm(number, params[number], self._design) for number in numbers]
        described = [{"name": arm.name, "seed": arm.seed, "patch": dict(arm.patch)} for arm in arms]
        return {"cohort": {"trial": arms[0].name, "arms": described}}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        for number in self._live.pop(trial_id, []):
            if not self._tell(number):  # the trial failed for good before this arm had a result
                self._study.tell(number, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; nobody reads that

    def _next(self) -> list[int]:
        numbers, self._repeat = self._repeat[: self._size], self._repeat[self._size :]
        while len(numbers) < self._size and self._wanted() > 0:
            trial = self._study.ask()
            for key, knob in self._design.space.items():
                if all(trial.params.get(other) == value for other, value in knob.when.items()):
                    _suggest(trial, key, knob)
            numbers.append(trial.number)
        return numbers

    def _wanted(self) -> int:
        """Suggestions still to ask for. A failed one is replaced, but at most half as many as were wanted."""
        asked = self._study.get_trials(deepcopy=False)
        done = sum(trial.state in (TrialState.RUNNING, TrialState.COMPLETE) for trial in asked)
        failed = sum(trial.state == TrialState.FAIL for trial in asked)
        return self._design.trials - done - max(0, failed - self._design.trials // 2)

    def _tell(self, number: int) -> bool:
        """Tells the study what became of its trial; False when the run folder does not say."""
        record = f"arms/{_name(number)}.json"
        try:
            content = self._run.read_json(record)
        except (FileNotFoundError, DamagedError):
            return False
        value = content.get("values", {}).get("value", math.nan)
        if content["status"] == "done" and math.isfinite(value):
            self._study.tell(number, value)
        else:
            self._study.tell(number, state=TrialState.FAIL)
        return True


def _name(number: int) -> str:
    return f"search-{number:04d}"


def _arm(number: int, params: Mapping[str, Any], design: Search) -> PlannedArm:
    return PlannedArm(name=_name(number), kind="search", cell="search", block=0, seed=design.seed, patch=dict(params))


def _suggest(trial: optuna.Trial, key: str, knob: Knob) -> None:
    if knob.choice is not None:
        trial.suggest_categorical(key, knob.choice)
    elif knob.integer is not None:
        trial.suggest_int(key, *knob.integer)
    elif knob.log_uniform is not None:
        trial.suggest_float(key, *knob.log_uniform, log=True)
    elif knob.uniform is not None:
        trial.suggest_float(key, *knob.uniform)


def _holds(knob: Knob, value: Any) -> bool:
    """Whether the knob can take this value at all."""
    if knob.choice is not None:
        return value in knob.choice
    interval = knob.uniform or knob.log_uniform or knob.integer
    return interval is not None and interval[0] <= value <= interval[1]


def _sampler(design: Search, seed: int) -> optuna.samplers.BaseSampler:
    match design.algorithm:
        case "optuna_tpe":
            # Suggestions of a cohort are asked for together; the liar keeps them apart.
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        case "optuna_random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "optuna_cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed)
        case "optuna_gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "optuna_nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "optuna_brute_force":
            return optuna.samplers.BruteForceSampler(seed=seed)
