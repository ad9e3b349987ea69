"""Optuna studies behind Ray Tune's Searcher interface: a trial is a cohort of several suggestions.

The studies lie in `study.journal` of the run folder, one a cell: an Optuna journal, which `optuna-dashboard` opens at
any time. It is the only state: a resumed search reads it, and repeats just the suggestions that have no result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher

from orchestration.design import PlannedArm, PlannedStudy, plan_studies
from orchestration.results import JOURNAL
from orchestration.search_space import Knob, Search, parse_constraint
from orchestration.space import Space, TunedDesign
from orchestration.warm_start import Earlier
from trainables.settings import setting
from trainables.storage import DamagedError, Storage

WARM = "warm_start"  # the attribute of a trial that tells of which earlier arm it is
MOST_OF_A_FRONT = 4  # settings of a Pareto front that are confirmed
COHORT = "cohort"  # the attribute of a trial that tells with which others it trains
ASKED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study and what it is about."""

    plan: PlannedStudy
    study: optuna.Study
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
        finished = [
            trial
            for trial in self.study.get_trials(states=(TrialState.COMPLETE,))
            if all(violation <= 0 for violation in violations(self.design, self.values(trial)).values())
        ]
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
    storage = JournalStorage(_journal(run))
    return tuple(
        _open(space, design, run, storage, plan, index, earlier) for index, plan in enumerate(plan_studies(space))
    )


def _open(
    space: Space,
    design: TunedDesign,
    run: Storage,
    storage: JournalStorage,
    plan: PlannedStudy,
    index: int,
    earlier: Sequence[Earlier],
) -> OpenStudy:
    try:
        study = optuna.load_study(storage=storage, study_name=plan.cell)
    except KeyError:
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(_objectives(design))
        study = optuna.create_study(storage=storage, study_name=plan.cell, directions=directions)
    opened = OpenStudy(plan=plan, study=study, design=design, run=run)
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
    # A resumed search draws other numbers than it drew before, or it would suggest the same again.
    study.sampler = _sampler(design, design.seed + 1000 * index + len(study.trials))
    return opened


def _earlier_trial(arm: Earlier, knobs: Mapping[str, Knob], design: TunedDesign) -> FrozenTrial:
    return create_trial(
        params={key: _token(value) for key, value in arm.settings.items()},
        distributions={key: _distribution(knobs[key]) for key in arm.settings},
        values=[arm.values[objective] for objective in _objectives(design)],
        constraints=violations(design, arm.values),
        user_attrs={WARM: arm.source, "values": dict(arm.values)},
    )


def _objectives(design: TunedDesign) -> Sequence[str]:
    return design.objectives if isinstance(design, Search) else ("value",)


Asked = tuple[OpenStudy, FrozenTrial]


class StudySearcher(Searcher):
    """Asks the studies in turn for `arms_per_trial` suggestions a trial, and tells them what the run folder holds."""

    def __init__(self, studies: Sequence[OpenStudy], space: Space, arms_per_trial: int) -> None:
        super().__init__()
        self._studies, self._space, self._size = studies, space, arms_per_trial
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

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        name, cohort = self._next()
        if not cohort:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = cohort
        arms = [
            {"name": arm.name, "seed": arm.seed, "patch": dict(arm.patch), "study": arm.cell}
            for arm in (opened.arm(trial) for opened, trial in cohort)
        ]
        return {"cohort": {"trial": name, "arms": arms}}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        for opened, trial in self._live.pop(trial_id, []):
            if not self._tell(opened, trial) and not trial.state.is_finished():  # it failed for good
                opened.study.tell(trial.number, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; nobody reads that

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
        trial = opened.study.ask()
        chosen: dict[str, Any] = {}
        for key, knob in opened.plan.knobs.items():
            if all(chosen.get(other) == value for other, value in knob.when.items()):
                chosen[key] = _value(_suggested(trial, key, _distribution(knob)), knob)
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
        reached = [values.get(objective) for objective in _objectives(opened.design)]
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


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.choice is not None:
        return CategoricalDistribution([_token(value) for value in knob.choice])
    if knob.integer is not None:
        return IntDistribution(*knob.integer)
    low, high = knob.log_uniform or knob.uniform or (0.0, 1.0)
    return FloatDistribution(low, high, log=knob.log_uniform is not None)


def _suggested(trial: optuna.Trial, key: str, among: BaseDistribution) -> Any:
    if isinstance(among, CategoricalDistribution):
        return trial.suggest_categorical(key, among.choices)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(key, among.low, among.high)
    assert isinstance(among, FloatDistribution)
    return trial.suggest_float(key, among.low, among.high, log=among.log)


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


def _journal(run: Storage) -> BaseJournalBackend:
    if run.local is None:
        return _StoredJournal(run)
    run.local.mkdir(parents=True, exist_ok=True)
    return JournalFileBackend(run.path(JOURNAL))


class _StoredJournal(BaseJournalBackend):
    """A journal in an object store, which cannot append: every change stores it anew. One process writes it."""

    def __init__(self, run: Storage) -> None:
        self._run = run
        text = run.read(JOURNAL).decode() if run.exists(JOURNAL) else ""
        self._logs: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs += logs
        self._run.write(JOURNAL, "".join(json.dumps(log) + "\n" for log in self._logs).encode())
