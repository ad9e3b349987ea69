"""Optuna's side of a search: a study for each searched cell, in the run folder's journal.

The journal is the only state.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from branchwise.analysis.declared.distributions import distribution, token
from branchwise.orchestration.designs.base import BestConfigs
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.designs.tuning import CellSearch, Hyperparameter, Tuning, objectives
from branchwise.orchestration.space import Space
from branchwise.orchestration.tuning.journal import Journal
from branchwise.orchestration.tuning.warm_start import WarmStartTrial
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables import Arm
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.settings import setting

WARM = "warm_start"  # the attribute of an Optuna trial with the name of its earlier arm
MAX_FRONT = 4  # settings of a Pareto front that are confirmed
STARTED_SEEDS = "begun"  # the attribute with the number of seeds on which a suggestion was handed out
REQUESTED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study and its subject.

    `objectives` are columns, each with the sign that makes less of it better.
    """

    search: CellSearch
    study: optuna.Study
    journal: Journal  # of all studies of the run
    method: Method
    run: RunFolder
    objectives: tuple[tuple[str, float], ...]
    sampler_seed: int

    @property
    def seeds(self) -> int:
        """Arms of a suggestion: it runs on so many seeds."""
        return self.search.options.seeds_each

    def requested_trials(self) -> list[FrozenTrial]:
        """The suggestions of this run, in order; arms of earlier runs omitted."""
        return [
            trial for trial in self.study.get_trials(deepcopy=False, states=REQUESTED) if WARM not in trial.user_attrs
        ]

    def arms(self) -> list[Arm]:
        """Each arm that the study has requested, in order."""
        return [self.arm(trial, i) for trial in self.requested_trials() for i in range(self.started_seeds(trial))]

    def started_seeds(self, trial: FrozenTrial) -> int:
        """The number of seeds on which a suggestion was handed out."""
        return 1 if self.seeds == 1 else int(trial.user_attrs.get(STARTED_SEEDS, 0))

    def arm(self, trial: FrozenTrial, i: int = 0) -> Arm:
        """The arm of a suggestion on its seed number `i`."""
        return self.method.arm(
            name=self.arm_name(trial, i),
            kind="search",
            cell=self.search.cell,
            block=i,
            seed=self.search.options.searched_seeds[i],
            components=self.search.components,
            patch={**self.search.patch, **self.settings(trial)},
        )

    def arm_name(self, trial: FrozenTrial, i: int = 0) -> str:
        name = f"{self.search.cell}-{trial.number:04d}"
        return name if self.seeds == 1 else f"{name}-s{i}"

    def ask(self) -> optuna.Trial:
        """A new suggestion, with a value for each knob that applies."""
        if self.seeds > 1:  # by the number of the suggestion, so that a resumed search makes the same ones
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = _sampler(self.search.options, self.sampler_seed + number)
        trial = self.study.ask()
        chosen: dict[str, Any] = {}
        for key, knob in self.search.knobs.items():
            if all(chosen.get(other) == value for other, value in knob.when.items()):
                chosen[key] = _value(_suggest(trial, key, knob), knob)
        return trial

    def settings(self, trial: FrozenTrial | optuna.Trial) -> dict[str, Any]:
        """The settings of a suggestion's parameters."""
        return {key: _value(value, self.search.knobs[key]) for key, value in trial.params.items()}

    def values(self, trial: FrozenTrial) -> Mapping[str, Any]:
        """The measured values of a suggestion, by column: of multiple seeds, the means."""
        if WARM in trial.user_attrs:
            return dict(trial.user_attrs["values"])
        measured = [record["values"] for i in range(self.seeds) if (record := self.record(trial, i))]
        return measured[0] if len(measured) == 1 else _means(measured)

    def record(self, trial: FrozenTrial, i: int = 0) -> Mapping[str, Any] | None:
        """The worker's record of a suggestion's arm; None if missing or unreliable."""
        try:
            result: Mapping[str, Any] = self.run.read_record(self.arm_name(trial, i))
        except (FileNotFoundError, DamagedError):
            return None
        return result

    def best(self) -> list[FrozenTrial]:
        """Of the finished suggestions that break no constraint, the best.

        With multiple objectives, up to MAX_FRONT of those that no other beats in all, spread over the first.
        """
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if self.search.options.constraint_texts:
            options = self.search.options
            finished = [trial for trial in finished if max(violations(options, self.values(trial)).values()) <= 0]
        if finished and len(self.objectives) == 1:
            return [min(finished, key=self._cost)]
        costs = [self._cost(trial) for trial in finished]
        front = [trial for trial, cost in zip(finished, costs, strict=True) if not any(_beats(c, cost) for c in costs)]
        front.sort(key=lambda trial: (self._cost(trial), trial.number))
        front = [next(equal) for _, equal in itertools.groupby(front, key=lambda trial: trial.values)]
        if len(front) <= MAX_FRONT:
            return front
        gap = (len(front) - 1) / (MAX_FRONT - 1)
        return [front[round(index * gap)] for index in range(MAX_FRONT)]

    def _cost(self, trial: FrozenTrial) -> list[float]:
        """A suggestion's values, turned so that less is better."""
        return [sign * value for (_, sign), value in zip(self.objectives, trial.values, strict=True)]


def _means(match: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each column that is a number in all of them."""
    columns: dict[str, list[Any]] = {key: [values.get(key) for values in match] for key in (match[0] if match else ())}
    return {
        key: fmean(values)
        for key, values in columns.items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    }


def _beats(item: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(item, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def violations(options: Tuning, values: Mapping[str, Any]) -> dict[str, float]:
    """The violation of each constraint; not above 0 where it is met."""
    return {constraint.text: constraint.violation(values) for constraint in options.constraints()}


def best_configs(studies: Sequence[OpenStudy]) -> BestConfigs | None:
    """The patches that each search has found.

    None while a search still has suggestions to make, or to finish.
    """
    for study in studies:
        required = study.requested_trials()
        is_running = any(trial.state == TrialState.RUNNING for trial in required)
        if is_running or len(required) < study.search.options.searched:
            return None
    return {
        study.search.cell: [{**study.search.patch, **study.settings(trial)} for trial in study.best()]
        for study in studies
    }


def recorded_arms(space: Space, run: RunFolder) -> tuple[Arm, ...]:
    """Each arm that a search has so far.

    Those searched and, once its studies are over, those of the second stage.
    """
    if not run.searching():
        return ()
    studies = open_studies(space, run)
    searched = tuple(arm for study in studies for arm in study.arms())
    settings = best_configs(studies)
    return searched if settings is None else (*searched, *space.design.arms(space.method, settings))


def open_studies(space: Space, run: RunFolder, earlier: Sequence[WarmStartTrial] = ()) -> tuple[OpenStudy, ...]:
    """The run's studies.

    A new study begins with `earlier` arms, the space's settings and those of `design.start`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = Journal(run)
    storage = JournalStorage(journal)
    open_study = []
    for index, search in enumerate(space.design.searches()):
        signed = objectives(search.options, space.module.COLUMNS)
        study = _study(storage, space, search, signed, earlier)
        # A resumed search draws new random numbers; otherwise it would repeat its suggestions.
        seed = search.options.seed + 1000 * index
        study.sampler = _sampler(search.options, seed + len(study.trials))
        open_study.append(
            OpenStudy(
                search=search,
                study=study,
                journal=journal,
                method=space.method,
                run=run,
                objectives=signed,
                sampler_seed=seed,
            )
        )
    return tuple(open_study)


def _study(
    storage: JournalStorage,
    space: Space,
    search: CellSearch,
    signed: Sequence[tuple[str, float]],
    earlier: Sequence[WarmStartTrial],
) -> optuna.Study:
    try:
        study = optuna.load_study(storage=storage, study_name=search.cell)
    except KeyError:
        minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
        directions = [minimize if sign > 0 else maximize for _, sign in signed]
        study = optuna.create_study(storage=storage, study_name=search.cell, directions=directions)
    if not study.trials:
        for arm in earlier:
            if arm.cell == search.cell:
                study.add_trial(_earlier_trial(arm, search, signed))
        defaults = {key: setting(space.spec, key) for key in search.knobs}
        for start in ({}, *search.options.start):
            expected = {key: value for key, value in (defaults | start).items() if key in search.knobs}
            study.enqueue_trial(
                {key: token(value) for key, value in expected.items() if search.knobs[key].holds(value)},
                skip_if_exists=True,
            )
    return study


def _earlier_trial(arm: WarmStartTrial, search: CellSearch, signed: Sequence[tuple[str, float]]) -> FrozenTrial:
    return create_trial(
        params={key: token(value) for key, value in arm.settings.items()},
        distributions={key: distribution(search.knobs[key].described()) for key in arm.settings},
        values=[arm.values[objective] for objective, _ in signed],
        constraints=violations(search.options, arm.values),
        user_attrs={WARM: arm.source, "values": dict(arm.values)},
    )


def _suggest(trial: optuna.Trial, key: str, knob: Hyperparameter) -> Any:
    drawn = distribution(knob.described())
    if isinstance(drawn, CategoricalDistribution):
        return trial.suggest_categorical(key, drawn.choices)
    if isinstance(drawn, IntDistribution):
        return trial.suggest_int(key, drawn.low, drawn.high, step=drawn.step, log=drawn.log)
    return trial.suggest_float(key, drawn.low, drawn.high, step=drawn.step, log=drawn.log)


def _value(drawn: Any, knob: Hyperparameter) -> Any:
    """The value of the space that Optuna drew."""
    return drawn if knob.choice is None else next(value for value in knob.choice if token(value) == drawn)


def _sampler(options: Tuning, seed: int) -> optuna.samplers.BaseSampler:
    match options.algorithm:
        case "optuna_tpe":
            # Suggestions of a cohort are requested together; the liar separates them.
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
            return _BruteForce(seed=seed)


class _BruteForce(optuna.samplers.BruteForceSampler):
    def after_trial(self, *arguments: Any) -> None:
        """Do nothing: Optuna's method would end its loop after the last combination.

        This code has no such loop.
        """
