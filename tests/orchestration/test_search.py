"""Searching: suggestions in cohorts, each result told once, and better than chance."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
from optuna.trial import TrialState
from orchestration.errors import UserError
from orchestration.search import search_arms
from orchestration.search_space import Search
from orchestration.searcher import StudySearcher, best, open_study, searched_arms
from orchestration.space import Space, load_space

from trainables.settings import patched
from trainables.storage import Storage, storage_at
from trainables.surface import log_value

SPACE = """\
name: surface-search
trainable: surface
method: {anchor_weight: 1.0, uncond_weight: 0.2, curriculum: uniform}
design:
  kind: search
  trials: 24
  space:
    anchor_weight: {log_uniform: [0.01, 1.0]}
    uncond_weight: {uniform: [0.1, 3.0]}
    curriculum: {choice: [transfer, learned, min_snr, uniform]}
"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    file = tmp_path / "search.yaml"
    file.write_text(SPACE)
    return load_space(file)


def searched(space: Space, **changes: object) -> Search:
    assert isinstance(space.design, Search)
    return space.design.model_copy(update=changes)


def answer(run: Storage, space: Space, cohort: dict, status: str = "done") -> None:
    """Writes what a worker would leave of this cohort."""
    for arm in cohort["arms"]:
        value = log_value(patched(space.spec, arm["patch"]).method)
        record = {"arm": arm["name"], "trial": cohort["trial"], "status": status, "values": {"value": value}}
        run.write_json(f"arms/{arm['name']}.json", record)


def drive(searcher: StudySearcher, run: Storage, space: Space, stop_after: int = 10**6) -> int:
    """Plays Tune with one trial at a time; returns how many trials it ran."""
    number = 0
    while number < stop_after and isinstance(suggested := searcher.suggest(str(number)), dict):
        answer(run, space, suggested["cohort"])
        searcher.on_trial_complete(str(number))
        number += 1
    return number


def test_a_search_asks_for_as_many_arms_as_wanted_in_cohorts(space: Space, tmp_path: Path) -> None:
    design, run = searched(space), storage_at(tmp_path / "run")
    (tmp_path / "run").mkdir()
    study = open_study(space, design, run)
    assert drive(StudySearcher(study, design, run, arms_per_trial=5), run, space) == 5
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 24
    first = study.trials[0].params
    assert first == {"anchor_weight": 1.0, "uncond_weight": 0.2, "curriculum": "uniform"}, "the space's own come first"
    arms = search_arms(space, design, run)
    assert [arm.kind for arm in arms].count("search") == 24
    confirmed = [arm for arm in arms if arm.kind == "confirm"]
    assert len(confirmed) == 6
    assert not {arm.seed for arm in confirmed} & {arm.seed for arm in arms if arm.kind == "search"}
    assert {arm.cell: arm.patch for arm in confirmed} == {"best": best(study).params, "own": {}}


def test_a_resumed_search_repeats_only_what_has_no_result(space: Space, tmp_path: Path) -> None:
    design, run = searched(space), storage_at(tmp_path / "run")
    (tmp_path / "run").mkdir()
    searcher = StudySearcher(open_study(space, design, run), design, run, arms_per_trial=4)
    drive(searcher, run, space, stop_after=2)
    lost, untold = searcher.suggest("lost"), searcher.suggest("untold")
    answer(run, space, untold["cohort"])  # its worker finished, but the driver died before it heard of it

    study = open_study(space, design, run)
    resumed = StudySearcher(study, design, run, arms_per_trial=4)
    again = resumed.suggest("again")
    assert [arm["patch"] for arm in again["cohort"]["arms"]] == [arm["patch"] for arm in lost["cohort"]["arms"]]
    answer(run, space, again["cohort"])
    resumed.on_trial_complete("again")
    drive(resumed, run, space)
    assert len(study.trials) == 24
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_failures_are_told_and_replaced_up_to_a_cap(space: Space, tmp_path: Path) -> None:
    design, run = searched(space, trials=6), storage_at(tmp_path / "run")
    (tmp_path / "run").mkdir()
    study = open_study(space, design, run)
    searcher = StudySearcher(study, design, run, arms_per_trial=1)
    number = 0
    while isinstance(suggested := searcher.suggest(str(number)), dict):
        answer(run, space, suggested["cohort"], status="diverged")
        searcher.on_trial_complete(str(number))
        number += 1
    assert number == 6 + 3
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
    assert best(study) is None


def test_a_value_that_is_not_finite_is_a_failure(space: Space, tmp_path: Path) -> None:
    design, run = searched(space, trials=1), storage_at(tmp_path / "run")
    (tmp_path / "run").mkdir()
    study = open_study(space, design, run)
    searcher = StudySearcher(study, design, run, arms_per_trial=1)
    arm = searcher.suggest("0")["cohort"]["arms"][0]["name"]
    run.write_json(f"arms/{arm}.json", {"status": "done", "values": {"value": float("nan")}})
    searcher.on_trial_complete("0")
    assert study.trials[0].state == TrialState.FAIL


def test_the_same_seed_gives_the_same_suggestions(space: Space, tmp_path: Path) -> None:
    design = searched(space)
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = storage_at(tmp_path / name)
        study = open_study(space, design, run)
        drive(StudySearcher(study, design, run, arms_per_trial=3), run, space)
        found.append([arm.patch for arm in searched_arms(study, design)])
    assert found[0] == found[1]


@pytest.mark.slow
def test_tpe_beats_random_search(space: Space, tmp_path: Path) -> None:
    means = {}
    for algorithm in ("optuna_tpe", "optuna_random"):
        values = []
        for seed in range(20):
            design, run = searched(space, algorithm=algorithm, seed=seed), storage_at(tmp_path / f"{algorithm}-{seed}")
            Path(run.root).mkdir()
            study = open_study(space, design, run)
            drive(StudySearcher(study, design, run, arms_per_trial=3), run, space)
            values.append(study.best_value)
        means[algorithm] = mean(values)
    assert means["optuna_tpe"] < means["optuna_random"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0, 1.0]", ["anchor_weight", "above 0"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [1.0, 0.1]", ["anchor_weight", "empty"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0.1, 1.0], uniform: [0.1, 1.0]", ["exactly one"]),
        ("uniform: [0.1, 3.0]", "uniform: [-1.0, 3.0]", ["uncond_weight", "-1.0"]),
        ("uniform: [0.1, 3.0]", "unifrom: [0.1, 3.0]", ["unifrom", "did you mean uniform?"]),
        ("min_snr, uniform]", "min_snr, other]", ["curriculum", "'other'"]),
        ("trials: 24", "trials: 0", ["design.trials"]),
        ("trials: 24", "trials: 24\n  algorithm: tpe", ["design.algorithm", "optuna_tpe"]),
        ("trials: 24", "trials: 24\n  start: [{anchor: 1}]", ["start[0]", "anchor_weight"]),
        ("uncond_weight: {", "uncond_wieght: {", ["uncond_wieght", "uncond_weight"]),
        ("uniform: [0.1, 3.0]", "uniform: [0.1, 3.0], when: {curriculum: uniform}", ["when", "listed before"]),
    ],
)
def test_a_bad_search_is_refused(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SPACE
    file = tmp_path / "search.yaml"
    file.write_text(SPACE.replace(old, new, 1))
    with pytest.raises(UserError) as refusal:
        load_space(file)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_the_resolved_search_reads_as_the_same(space: Space, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    again.write_text(space.resolved())
    assert load_space(again) == space
