"""Optuna's side of a search: the studies in `study.journal` of the run folder, one a cell.

The journal is the only state there is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from branchwise.orchestration.designs.knobs import Knob, Search, parse_constraint
from branchwise.orchestration.designs.layout import PlannedArm, PlannedStudy, plan_studies
from branchwise.orchestration.run_folder.results import JOURNAL
from branchwise.orchestration.space.model import Space, TunedDesign
from branchwise.orchestration.tuning.journal import Journal
from branchwise.orchestration.tuning.warm_start import Earlier
from branchwise.trainables.runtime.settings import setting
from branchwise.trainables.runtime.storage import DamagedError, Storage

WARM = "warm_start"  # the attribute of a trial that tells of which earlier arm it is
MOST_OF_A_FRONT = 4  # settings of a Pareto front that are confirmed
ASKED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study and what it is about."""

    plan: PlannedStudy
    study: optuna.Study
    journal: Journal  # of all studies of the run
    design: TunedDesign
    run: Storage

    def asked(self) -> list[FrozenTrial]:
        """The trials of this run, in order; those of earlier runs left out."""
        return [trial for trial in self.study.get_trials(deepcopy=False, states=ASKED) if WARM not in trial.user_attrs]

    def arms(self) -> list[PlannedArm]:
        """Every arm the study has asked for, in order."""
        return [self.arm(trial) for trial in self.asked()]

    def arm(self, trial: FrozenTrial) -> PlannedArm:
        return PlannedArm(
            name=f"{self.plan.cell}-{trial.number:04d}",
            kind="search",
            cell=self.plan.cell,
            block=0,
            seed=self.design.seed,
            components=self.plan.components,
            patch={**self.plan.patch, **self.settings(trial)},
        )

    def ask(self) -> optuna.Trial:
        """A new trial, with a value for every knob that applies."""
        trial = self.study.ask()
        chosen: dict[str, Any] = {}
        for key, knob in self.plan.knobs.items():
            if all(chosen.get(other) == value for other, value in knob.when.items()):
                chosen[key] = _value(_suggest(trial, key, knob), knob)
        return trial

    def settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """The settings that a trial's parameters stand for."""
        return {key: _value(value, self.plan.knobs[key]) for key, value in trial.params.items()}

    def values(self, trial: FrozenTrial) -> Mapping[str, Any]:
        """What was measured of a trial's arm, by column."""
        if WARM in trial.user_attrs:
            return dict(trial.user_attrs["values"])
        record = self.record(trial)
        return record.get("values", {}) if record else {}

    def record(self, trial: FrozenTrial) -> Mapping[str, Any] | None:
        """What the worker left of a trial's arm; None when there is nothing that can be relied on."""
        try:
            found: Mapping[str, Any] = self.run.read_json(f"arms/{self.plan.cell}-{trial.number:04d}.json")
        except (FileNotFoundError, DamagedError):
            return None
        return found

    def best(self) -> list[FrozenTrial]:
        """Of the finished trials that break no constraint, the one with the lowest value.

        With several objectives, up to MOST_OF_A_FRONT of those that no other one beats in all, spread over the first.
        """
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if self.design.constraints:
            finished = [one for one in finished if max(violations(self.design, self.values(one)).values()) <= 0]
        if finished and len(self.study.directions) == 1:
            return [min(finished, key=lambda trial: trial.values)]
        front = [one for one in finished if not any(_beats(other, one) for other in finished)]
        front.sort(key=lambda trial: (trial.values, trial.number))
        front = [
            one for one, before in zip(front, [None, *front], strict=False) if not before or one.values != before.values
        ]
        if len(front) <= MOST_OF_A_FRONT:
            return front
        gap = (len(front) - 1) / (MOST_OF_A_FRONT - 1)
        return [front[round(index * gap)] for index in range(MOST_OF_A_FRONT)]


def violations(design: TunedDesign, values: Mapping[str, Any]) -> dict[str, float]:
    """By how much each constraint is broken; at most 0 where it is met."""
    found = {}
    for text in design.constraints:
        column, sign, bound = parse_constraint(text)
        value = values.get(column)
        found[text] = math.inf if value is None or math.isnan(value) else sign * (value - bound)
    return found


def _beats(one: FrozenTrial, other: FrozenTrial) -> bool:
    pairs = list(zip(one.values, other.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def open_studies(
    space: Space, design: TunedDesign, run: Storage, earlier: Sequence[Earlier] = ()
) -> tuple[OpenStudy, ...]:
    """The run's studies; a new one begins with `earlier` arms, the space's own settings and those of `design.start`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = Journal(run, JOURNAL)
    storage = JournalStorage(journal)
    opened = []
    for index, plan in enumerate(plan_studies(space)):
        study = _study(storage, space, design, plan, earlier)
        # A resumed search draws other numbers than it drew before, or it would suggest the same again.
        study.sampler = _sampler(design, design.seed + 1000 * index + len(study.trials))
        opened.append(OpenStudy(plan=plan, study=study, journal=journal, design=design, run=run))
    return tuple(opened)


def _study(
    storage: JournalStorage, space: Space, design: TunedDesign, plan: PlannedStudy, earlier: Sequence[Earlier]
) -> optuna.Study:
    try:
        study = optuna.load_study(storage=storage, study_name=plan.cell)
    except KeyError:
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(objectives(design))
        study = optuna.create_study(storage=storage, study_name=plan.cell, directions=directions)
    if not study.trials:
        for arm in earlier:
            if arm.cell == plan.cell:
                study.add_trial(_earlier_trial(arm, plan.knobs, design))
        own = {key: setting(space.spec, key) for key in plan.knobs}
        for start in ({}, *design.start):
            wanted = {key: value for key, value in (own | start).items() if key in plan.knobs}
            study.enqueue_trial(
                {key: _token(value) for key, value in wanted.items() if plan.knobs[key].holds(value)},
                skip_if_exists=True,
            )
    return study


def _earlier_trial(arm: Earlier, knobs: Mapping[str, Knob], design: TunedDesign) -> FrozenTrial:
    return create_trial(
        params={key: _token(value) for key, value in arm.settings.items()},
        distributions={key: _distribution(knobs[key]) for key in arm.settings},
        values=[arm.values[objective] for objective in objectives(design)],
        constraints=violations(design, arm.values),
        user_attrs={WARM: arm.source, "values": dict(arm.values)},
    )


def objectives(design: TunedDesign) -> Sequence[str]:
    return design.objectives if isinstance(design, Search) else ("value",)


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.choice is not None:
        return CategoricalDistribution([_token(value) for value in knob.choice])
    if knob.integer is not None:
        return IntDistribution(*knob.integer)
    low, high = knob.log_uniform or knob.uniform or (0.0, 1.0)
    return FloatDistribution(low, high, log=knob.log_uniform is not None)


def _suggest(trial: optuna.Trial, key: str, knob: Knob) -> Any:
    if knob.choice is not None:
        return trial.suggest_categorical(key, [_token(value) for value in knob.choice])
    if knob.integer is not None:
        return trial.suggest_int(key, *knob.integer)
    low, high = knob.log_uniform or knob.uniform or (0.0, 1.0)
    return trial.suggest_float(key, low, high, log=knob.log_uniform is not None)


def _token(value: Any) -> Any:
    """What Optuna keeps of a value: lists, such as a network's widths, as their text."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _value(token: Any, knob: Knob) -> Any:
    """The value a token stands for."""
    return token if knob.choice is None else next(value for value in knob.choice if _token(value) == token)


def _sampler(design: TunedDesign, seed: int) -> optuna.samplers.BaseSampler:
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
            return _BruteForce(seed=seed)


class _BruteForce(optuna.samplers.BruteForceSampler):
    def after_trial(self, *about: Any) -> None:
        """Nothing: Optuna's would end its own loop after the last combination, and there is no such loop here."""
