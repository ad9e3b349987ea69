"""Searching: suggestions in cohorts, each result reported once, and better than chance."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import pytest
from optuna.trial import FrozenTrial, TrialState

from branchwise.analysis.statistics.sequential.searched import is_behind, race_error
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.space import Space, load_space, parse_space
from branchwise.orchestration.tuning.best import best_space
from branchwise.orchestration.tuning.searcher import StudySearcher
from branchwise.orchestration.tuning.studies import OpenStudy, open_studies, recorded_arms
from branchwise.orchestration.tuning.warm_start import WarmStartTrial, earlier_arms
from branchwise.trainables import Arm, Cohort, Result
from branchwise.trainables.contract import ArmStatus
from branchwise.trainables.runtime.job import record_of
from branchwise.trainables.runtime.run_folder import JOURNAL, RunFolder
from branchwise.trainables.runtime.stopping import Stopping, is_kept
from branchwise.trainables.runtime.storage import storage_at
from branchwise.trainables.surface import log_value

DATA = Path(__file__).resolve().parents[1] / "data"
SPACE = (DATA / "surface_search.yaml").read_text()
TUNED = (DATA / "surface_tuned.yaml").read_text()


def read(tmp_path: Path, text: str, **changes: object) -> Space:
    """The space in `text` with keys of its design replaced."""
    file = tmp_path / "search.yaml"
    file.write_text(text)
    return load_space(file, [f"design.{key}={json.dumps(value)}" for key, value in changes.items()])


def folder(tmp_path: Path, name: str = "run") -> RunFolder:
    return RunFolder(storage_at(tmp_path), name)


def answer(run: RunFolder, cohort: Cohort, status: ArmStatus = "done", **more: object) -> None:
    """Writes what a worker would leave of this cohort."""
    for arm in cohort.arms:
        method = arm.spec.method
        values = {"value": log_value(method), "cost": 1000 * method.uncond_weight, **more}
        run.write_record(arm.name, record_of(arm, cohort.name, Result(status=status, values=values)))


def suggest(searcher: StudySearcher, trial: str) -> Cohort | None:
    """The cohort that Tune's trial is given, or None."""
    suggested = searcher.suggest(trial)
    return searcher.cohorts_by_name[suggested["cohort"]["name"]] if isinstance(suggested, dict) else None


def cohort_of(searcher: StudySearcher, trial: str) -> Cohort:
    """The cohort that Tune's trial is given."""
    cohort = suggest(searcher, trial)
    assert cohort is not None
    return cohort


def value_of(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def drive(searcher: StudySearcher, run: RunFolder, stop_after: int = 10**6) -> int:
    """Plays Tune with one trial at a time; returns how many trials it ran."""
    number = 0
    while number < stop_after and (cohort := suggest(searcher, str(number))):
        answer(run, cohort)
        searcher.on_trial_complete(str(number))
        number += 1
    return number


def open_searcher(
    space: Space, run: RunFolder, size: int, earlier: tuple[WarmStartTrial, ...] = ()
) -> tuple[OpenStudy, StudySearcher]:
    """The first study of a space, and the searcher over all of them."""
    studies = open_studies(space, run, earlier)
    return studies[0], StudySearcher(studies, size)


def states(study: OpenStudy) -> list[TrialState]:
    return [trial.state for trial in study.study.trials]


def test_search_suggests_requested_number_of_arms(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE), folder(tmp_path)
    study, searcher = open_searcher(space, run, 5)
    assert drive(searcher, run) == 5
    assert states(study) == [TrialState.COMPLETE] * 24
    first = study.study.trials[0].params
    assert first == {"anchor_weight": 1.0, "uncond_weight": 0.2, "curriculum": "uniform"}, "the space's own come first"
    arms = recorded_arms(space, run)
    assert [arm.kind for arm in arms].count("search") == 24
    confirmed = [arm for arm in arms if arm.kind == "confirm"]
    assert len(confirmed) == 6
    assert not {arm.seed for arm in confirmed} & {arm.seed for arm in arms if arm.kind == "search"}
    best = min(study.study.trials, key=value_of)
    assert {arm.cell: arm.patch for arm in confirmed} == {"best": best.params, "own": {}}


def test_resumed_search_repeats_only_what_has_no_result(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    drive(searcher, run, stop_after=2)
    failed, untold = cohort_of(searcher, "lost"), cohort_of(searcher, "untold")
    answer(run, untold)  # its worker finished, but the driver died before it heard of it
    answer(run, replace(failed, arms=failed.arms[:1]))

    first, resumed = open_searcher(space, run, 4)
    repeated = cohort_of(resumed, "again")
    assert repeated.name == failed.name, "or it would not find its checkpoint"
    assert repeated.arms == failed.arms[1:]
    answer(run, repeated)
    resumed.on_trial_complete("again")
    drive(resumed, run)
    assert states(first) == [TrialState.COMPLETE] * 24


def test_damaged_record_is_recomputed_in_same_trial(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, arms=4), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    drive(searcher, run)
    run.files.write("arms/search-0002.json", b"{")
    first, resumed = open_searcher(space, run, 4)
    repeated = cohort_of(resumed, "again")
    assert [arm.name for arm in repeated.arms] == ["search-0002"]
    answer(run, repeated)
    resumed.on_trial_complete("again")
    assert resumed.suggest("more") == "FINISHED"
    assert states(first) == [TrialState.COMPLETE] * 4


def test_failures_are_reported_and_replaced_up_to_cap(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, arms=6), folder(tmp_path)
    first, searcher = open_searcher(space, run, 1)
    number = 0
    while cohort := suggest(searcher, str(number)):
        answer(run, cohort, status="diverged")
        searcher.on_trial_complete(str(number))
        number += 1
    assert number == 6 + 3
    assert set(states(first)) == {TrialState.FAIL}
    assert first.best() == []
    assert {arm.cell for arm in recorded_arms(space, run)} == {"search", "own"}


@pytest.mark.parametrize("value", [float("nan"), None])
def test_value_that_is_missing_or_not_finite_is_failure(tmp_path: Path, value: float | None) -> None:
    space, run = read(tmp_path, SPACE, arms=1), folder(tmp_path)
    first, searcher = open_searcher(space, run, 1)
    answer(run, cohort_of(searcher, "0"), value=value)
    searcher.on_trial_complete("0")
    assert states(first) == [TrialState.FAIL]


def test_equal_seeds_give_equal_suggestions(tmp_path: Path) -> None:
    space, matches = read(tmp_path, SPACE), []
    for name in ("one", "two"):
        run = folder(tmp_path, name)
        first, searcher = open_searcher(space, run, 3)
        drive(searcher, run)
        matches.append([arm.patch for arm in first.arms()])
    assert matches[0] == matches[1]


@pytest.mark.slow
def test_tpe_beats_random_search(tmp_path: Path) -> None:
    means = {}
    for algorithm in ("optuna_tpe", "optuna_random"):
        values = []
        for seed in range(20):
            space = read(tmp_path, SPACE, algorithm=algorithm, seed=seed)
            run = folder(tmp_path, f"{algorithm}{seed}")
            first, searcher = open_searcher(space, run, 3)
            drive(searcher, run)
            values.append(first.study.best_value)
        means[algorithm] = mean(values)
    assert means["optuna_tpe"] < means["optuna_random"]


@pytest.mark.parametrize("algorithm", ["optuna_cmaes", "optuna_gp", "optuna_nsga2", "optuna_brute_force"])
def test_all_algorithms_finish(tmp_path: Path, algorithm: str) -> None:
    knobs: dict[str, dict[str, list[Any]]] = {"curriculum": {"choice": ["transfer", "learned", "min_snr", "uniform"]}}
    if algorithm != "optuna_brute_force":
        knobs["anchor_weight"] = {"log_uniform": [0.01, 1.0]}
    space, run = read(tmp_path, SPACE, algorithm=algorithm, arms=4, knobs=knobs), folder(tmp_path)
    first, searcher = open_searcher(space, run, 2)
    drive(searcher, run)
    assert states(first) == [TrialState.COMPLETE] * 4


def test_multiple_objectives_confirm_feasible_front(tmp_path: Path) -> None:
    space = read(tmp_path, SPACE, objectives=["value", "cost"], constraints=["cost <= 2000"])
    run = folder(tmp_path)
    first, searcher = open_searcher(space, run, 4)
    drive(searcher, run)
    front = first.best()
    assert 1 < len(front) <= 4
    assert all(trial.values[1] <= 2000 for trial in front)
    assert [trial.values[0] for trial in front] == sorted(trial.values[0] for trial in front)
    assert [trial.values[1] for trial in front] == sorted((trial.values[1] for trial in front), reverse=True)
    assert {arm.cell for arm in recorded_arms(space, run) if arm.kind == "confirm"} == {
        "own",
        *(f"front-{number + 1}" for number in range(len(front))),
    }


def test_what_breaks_constraint_is_never_best(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, constraints=["cost >= 2500"]), folder(tmp_path)
    first, searcher = open_searcher(space, run, 2)
    drive(searcher, run)
    (best,) = first.best()
    assert best.params["uncond_weight"] >= 2.5
    assert value_of(best) > value_of(first.study.best_trial) or first.study.best_trial.number == best.number


def test_lists_can_be_searched_and_only_like_arms_share_cohort(tmp_path: Path) -> None:
    knobs = """\
    faults.diverge: {choice: [[7], [8, 9]]}
    train.steps: {choice: [5, 10]}
    anchor_weight: {uniform: [0.1, 0.9], when: {train.steps: 10}}
"""
    text = SPACE[: SPACE.index("    anchor_weight: {log")].replace("24", "12") + knobs
    space, run = read(tmp_path, text), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    visited: list[Arm] = []
    while cohort := suggest(searcher, "one"):
        assert len({arm.patch["train.steps"] for arm in cohort.arms}) == 1
        answer(run, cohort)
        searcher.on_trial_complete("one")
        visited += cohort.arms
    assert len(visited) == 12
    assert {tuple(arm.patch["faults.diverge"]) for arm in visited} == {(7,), (8, 9)}
    assert all(("anchor_weight" in arm.patch) == (arm.patch["train.steps"] == 10) for arm in visited)


def test_stopped_arm_is_pruned_and_counts_as_trial(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, arms=4, scheduler="asha", rungs=[2]), folder(tmp_path)
    first, searcher = open_searcher(space, run, 1)
    for number in range(4):
        cohort = cohort_of(searcher, str(number))
        if number % 2:
            answer(run, cohort, "stopped", rung_value=30.0, steps=2)
        else:
            answer(run, cohort)
        searcher.on_trial_complete(str(number))
    assert searcher.suggest("5") == "FINISHED"
    assert states(first) == [TrialState.COMPLETE, TrialState.PRUNED] * 2
    assert first.study.trials[1].intermediate_values == {2: 30.0}


@pytest.mark.parametrize(
    ("rule", "value", "others", "stored"),
    [
        ("asha", 9.0, [], True),
        ("asha", 9.0, [1.0], True),  # too few to cut
        ("asha", 9.0, [1.0, 2.0], False),
        ("asha", 1.0, [1.0, 2.0], True),
        ("asha", 2.0, [1.0, 3.0, 4.0, 5.0, 6.0], True),  # the second of six, of which two pass
        ("asha", 3.5, [1.0, 3.0, 4.0, 5.0, 6.0], False),
        ("median", 9.0, [1.0, 2.0], True),
        ("median", 2.0, [1.0, 2.0, 3.0], True),
        ("median", 2.1, [1.0, 2.0, 3.0], False),
    ],
)
def test_who_passes_rung(rule: Literal["asha", "median"], value: float, others: list[float], stored: bool) -> None:
    assert Stopping(rule=rule, rungs=(1,), reduction=3).keeps(value, others) is stored


def test_suggestion_pending_at_crash_keeps_its_constraints(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, constraints=["cost <= 100"], arms=4), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    answer(run, cohort_of(searcher, "lost"))  # finished, but the driver dies before it hears of it
    study, _ = open_searcher(space, run, 4)
    assert states(study) == [TrialState.COMPLETE] * 4
    assert all(trial.constraints == {"cost <= 100": study.values(trial)["cost"] - 100} for trial in study.study.trials)


def test_what_is_better_when_higher_is_searched_for_upwards(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, objectives=["gain"]), folder(tmp_path)
    first, searcher = open_searcher(space, run, 4)
    while cohort := suggest(searcher, "one"):
        for arm in cohort.arms:
            values = {"value": 1.0, "gain": -log_value(arm.spec.method)}
            run.write_record(arm.name, record_of(arm, cohort.name, Result(status="done", values=values)))
        searcher.on_trial_complete("one")
    assert first.best()[0].value == max(value_of(trial) for trial in first.study.trials) == first.study.best_value


def test_arms_that_reach_rung_together_see_each_other(tmp_path: Path) -> None:
    run, stopping = folder(tmp_path), Stopping(rule="asha", rungs=(1,), reduction=2)
    visited: list[str] = []

    class Together(RunFolder):
        """The other arm arrives during this arm's look."""

        def rung_values(self, cell: str, step: int) -> dict[str, float]:
            if not visited:
                visited.append("other")
                visited.append("kept" if is_kept(stopping, run, "search", "other", 1, 5.0) else "stopped")
            return super().rung_values(cell, step)

    stored = is_kept(stopping, Together(run.storage, run.name), "search", "first", 1, 1.0)
    assert (stored, visited) == (True, ["other", "stopped"])


def test_cells_are_tuned_with_equal_budget(tmp_path: Path) -> None:
    space, run = read(tmp_path, TUNED), folder(tmp_path)
    studies = open_studies(space, run)
    drive(StudySearcher(studies, 4), run, stop_after=3)
    studies = open_studies(space, run)  # as after a crash
    drive(StudySearcher(studies, 4), run)
    arms = recorded_arms(space, run)
    searched = Counter(arm.cell for arm in arms if arm.kind == "search")
    assert searched == dict.fromkeys(("full", "anchor", "curriculum_transfer", "base"), 6)
    for arm in arms:
        if arm.kind in ("search", "confirm") and not arm.components["anchor"]:
            assert arm.patch["anchor_weight"] == 0
    fixed, tuned = ([arm for arm in arms if arm.kind == kind] for kind in ("cell", "confirm"))
    assert len(fixed) == len(tuned) == 4 * 2
    assert {arm.seed for arm in fixed} == {arm.seed for arm in tuned} == {1000, 1001}
    assert [arm.cell for arm in arms if arm.kind == "baseline"] == ["scratch"] * 2
    assert len({arm.name for arm in arms}) == len(arms)


def test_warm_start_avoids_repeats(tmp_path: Path) -> None:
    storage = storage_at(tmp_path / "runs")
    first, run, second = read(tmp_path, SPACE), RunFolder(storage, "first"), RunFolder(storage, "second")
    _, searcher = open_searcher(first, run, 2)
    drive(searcher, run)
    write_plan(run, first, ())

    narrower = {"anchor_weight": {"log_uniform": [0.05, 1.0]}, "uncond_weight": {"uniform": [0.1, 3.0]}}
    space = read(tmp_path, SPACE.replace("uniform}", "transfer}"), arms=4, knobs=narrower, warm_start=["first"])
    earlier = earlier_arms(space, storage)
    assert all(arm.settings["anchor_weight"] >= 0.05 for arm in earlier)
    study, searcher = open_searcher(space, second, 2, earlier)
    drive(searcher, second)
    assert len(study.study.trials) == len(earlier) + 4
    assert len([arm for arm in recorded_arms(space, second) if arm.kind == "search"]) == 4

    other = read(tmp_path, SPACE.replace("uniform}", "transfer}\ntrain: {steps: 7}"), warm_start=["first"])
    with pytest.raises(UserError, match="first: none of its finished arms"):
        earlier_arms(other, storage)
    missing = read(tmp_path, SPACE, warm_start=["nowhere"])
    with pytest.raises(UserError, match="nowhere: no such run"):
        earlier_arms(missing, storage)


def test_line_of_journal_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    drive(searcher, run, stop_after=2)
    journal = tmp_path / "run" / JOURNAL
    complete = journal.read_bytes()
    journal.write_bytes(complete + b'{"op_code": 5, "wor')
    first, searcher = open_searcher(space, run, 4)
    assert len(first.requested_trials()) == 8
    drive(searcher, run)
    assert len(recorded_arms(space, run)) == 24 + 6
    assert journal.read_bytes().startswith(complete + b'{"op_code": ')


def test_what_has_been_suggested_is_on_disk(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE), folder(tmp_path)
    assert recorded_arms(space, run) == ()
    _, searcher = open_searcher(space, run, 4)
    given = [arm.name for _ in range(2) for arm in cohort_of(searcher, str(_)).arms]
    assert [arm.name for arm in recorded_arms(space, run)] == given


def test_another_process_reads_journal(tmp_path: Path) -> None:
    space, run = read(tmp_path, TUNED), folder(tmp_path)
    _, searcher = open_searcher(space, run, 4)
    drive(searcher, run)
    code = (
        "import sys, optuna; from optuna.storages.journal import JournalFileBackend as File\n"
        "storage = optuna.storages.JournalStorage(File(sys.argv[1]))\n"
        "print(sorted((s.study_name, len(s.trials)) for s in optuna.study.get_all_study_summaries(storage) "
        "for s in [optuna.load_study(study_name=s.study_name, storage=storage)]))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code, run.path(JOURNAL)], capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == str([(name, 6) for name in ("anchor", "base", "curriculum_transfer", "full")])


@pytest.mark.parametrize("text", [SPACE, TUNED], ids=["search", "tuned_factorial"])
def test_best_settings_become_ablation_space(tmp_path: Path, text: str) -> None:
    space = read(tmp_path, text)
    patch = {"uncond_weight": 2.5, "anchor_weight": 0.3}
    written = best_space(space, {search.cell: [{**search.patch, **patch}] for search in space.design.searches()})
    assert written is not None
    best = parse_space("best.yaml", written.encode())
    current = {key: getattr(space.spec.method, key) for key in patch}
    assert {key: getattr(best.spec.method, key) for key in patch} == patch
    assert best.design.component_names() == tuple(key for key in patch if current[key] != patch[key])
    arms = best.design.arms(best.method, {})
    (base,) = {arm.spec.method for arm in arms if arm.cell == "base"}
    assert {key: getattr(base, key) for key in patch} == current
    seeds = {arm.seed for arm in space.design.arms(space.method, {s.cell: [s.patch] for s in space.design.searches()})}
    assert not seeds & {arm.seed for arm in arms}
    assert len({arm.seed for arm in arms}) >= 5


def test_best_defaults_give_no_space(tmp_path: Path) -> None:
    space = read(tmp_path, SPACE)
    assert best_space(space, {"search": [{"uncond_weight": space.spec.method.uncond_weight}]}) is None


FOUR_SEEDS = {"arms": 8, "seeds": 4}


def noisy(run: RunFolder, cohort: Cohort) -> None:
    """As `answer`, with noise per seed that all configurations share and a little independent noise."""
    for arm in cohort.arms:
        current = random.Random(f"{arm.seed}{sorted(arm.patch.items())}").gauss(0, 0.01)
        value = log_value(arm.spec.method) + 0.3 * random.Random(arm.seed).gauss(0, 1) + current
        values = {"value": value, "cost": 1000 * arm.spec.method.uncond_weight}
        run.write_record(arm.name, record_of(arm, cohort.name, Result(status="done", values=values)))


def play(space: Space, run: RunFolder, size: int, stop_after: float = 10**6) -> OpenStudy:
    """Plays Tune with one trial at a time until the search is over, or its process dies: in the midst of a trial, or
    with half a trial more before the report of a finished trial."""
    first, searcher = open_searcher(space, run, size)
    number = 0
    while cohort := suggest(searcher, str(number)):
        if number == stop_after:
            break
        noisy(run, cohort)
        if number + 0.5 == stop_after:
            break
        searcher.on_trial_complete(str(number))
        number += 1
    return first


@pytest.mark.parametrize("scheduler", ["race", "wilcoxon", "none"])
def test_configuration_counts_by_its_mean_over_seeds(tmp_path: Path, scheduler: str) -> None:
    seeds = 6 if scheduler == "wilcoxon" else 4
    space, run = read(tmp_path, SPACE, arms=8, seeds=seeds, scheduler=scheduler), folder(tmp_path)
    study = play(space, run, 1)
    first = study.study.trials[0]
    assert first.state == TrialState.COMPLETE
    values = [run.read_record(f"search-0000-s{i}")["values"]["value"] for i in range(seeds)]
    assert first.value == pytest.approx(mean(values))
    assert first.intermediate_values == dict(enumerate(values))
    arms = [arm for arm in recorded_arms(space, run) if arm.kind == "search"]
    assert {arm.seed for arm in arms} == set(range(seeds))
    assert len(arms) == len(run.record_names())
    stopped = [trial for trial in study.study.trials if trial.state == TrialState.PRUNED]
    assert bool(stopped) == (scheduler != "none")
    for trial in stopped:
        assert 2 <= len(trial.intermediate_values) < seeds
        assert all(value > first.intermediate_values[i] or value_of(study.best()[0]) < value_of(first)
                   for i, value in trial.intermediate_values.items())  # fmt: skip
    assert study.best()[0].value == min(
        value_of(trial) for trial in study.study.trials if trial.state == TrialState.COMPLETE
    )


@pytest.mark.parametrize("algorithm", ["optuna_tpe", "optuna_random", "optuna_cmaes"])
@pytest.mark.parametrize("size", [1, 3])
def test_killed_search_over_seeds_makes_same_suggestions(tmp_path: Path, algorithm: str, size: int) -> None:
    knobs = {"anchor_weight": {"log_uniform": [0.01, 1.0]}, "uncond_weight": {"uniform": [0.1, 3.0]}}
    space = read(tmp_path, SPACE, **FOUR_SEEDS, algorithm=algorithm, knobs=knobs)
    expected, disturbed = folder(tmp_path, "one"), folder(tmp_path, "other")
    play(space, expected, size)
    for stop in (1, 1.5, 3, 2.5, 0, 0.5, 4):
        play(space, disturbed, size, stop_after=stop)
    play(space, disturbed, size)
    matches = [
        [(arm.name, arm.seed, arm.patch, run.read_record(arm.name)["values"]) for arm in recorded_arms(space, run)
         if arm.kind == "search"]
        for run in (expected, disturbed)
    ]  # fmt: skip
    assert matches[0] == matches[1]
    settings = [[arm.patch for arm in recorded_arms(space, run)] for run in (expected, disturbed)]
    assert settings[0] == settings[1]


def test_cohort_has_single_seed(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, **FOUR_SEEDS), folder(tmp_path)
    _, searcher = open_searcher(space, run, 3)
    while cohort := suggest(searcher, "one"):
        assert len({arm.seed for arm in cohort.arms}) == 1
        noisy(run, cohort)
        searcher.on_trial_complete("one")


def test_failed_seed_fails_configuration(tmp_path: Path) -> None:
    space, run = read(tmp_path, SPACE, arms=2, seeds=2), folder(tmp_path)
    first, searcher = open_searcher(space, run, 1)
    answer(run, cohort_of(searcher, "0"))
    searcher.on_trial_complete("0")
    answer(run, cohort_of(searcher, "1"), status="diverged")
    searcher.on_trial_complete("1")
    assert states(first)[0] == TrialState.FAIL
    assert cohort_of(searcher, "2").arms[0].name == "search-0001-s0"


def test_race_stops_what_is_behind_on_shared_seeds() -> None:
    best = [1.0, 5.0, 3.0]
    assert not is_behind([2.0], best[:1])
    assert is_behind([1.1, 5.11], best[:2])
    assert not is_behind([1.5, 4.9], best[:2])
    assert not is_behind([0.9, 4.9, 2.9], best)
    assert is_behind([2.0, 6.0, 4.0], best)  # by the same on each
    assert race_error(3) == pytest.approx(0.10, abs=0.01)
    assert 0.10 < race_error(5) < 0.25
