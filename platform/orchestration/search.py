"""A search from its first suggestion to the confirmation of the best settings on fresh seeds.

Optuna is imported when a search begins, not for other designs.
"""

from __future__ import annotations

import math

from orchestration.design import PlannedArm
from orchestration.progress import Display, watch
from orchestration.search_space import Search
from orchestration.space import Space
from orchestration.trials import run_search_trials
from trainables.ray_worker import Job
from trainables.storage import Storage

ROUNDS = 4  # at least so often should the searcher learn from what came before
LARGEST_COHORT = 8
FRESH_SEED = 1000  # seeds of the confirmation begin here; the searched ones are never reported as results


def run_search(space: Space, design: Search, job: Job, slots: int, display: Display) -> None:
    """Searches until the study has its trials; goes on with a study that an earlier run left. Blocks."""
    from orchestration.searcher import StudySearcher, open_study, searched_arms

    run = Storage(job.run)
    study = open_study(space, design, run)
    searcher = StudySearcher(study, design, run, arms_per_trial(space, design, slots))
    display.begin_arms(0.0)

    def show() -> None:
        display.search(run, {arm.name for arm in searched_arms(study, design)}, design.trials)

    watch(lambda: run_search_trials(searcher, job, space.resources, slots), show)


def arms_per_trial(space: Space, design: Search, slots: int) -> int:
    """Suggestions of one cohort: as many as share a teacher pass without the searcher learning too seldom."""
    if space.resources.arms_per_trial != "auto":
        return space.resources.arms_per_trial
    return max(1, min(LARGEST_COHORT, math.ceil(design.trials / (ROUNDS * slots))))


def search_arms(space: Space, design: Search, run: Storage) -> tuple[PlannedArm, ...]:
    """Every arm so far: the searched ones, and once all are there, the best and the space's own on fresh seeds."""
    from orchestration.searcher import JOURNAL, best, open_study, searched_arms

    if not run.exists(JOURNAL):
        return ()
    study = open_study(space, design, run)
    searched = searched_arms(study, design)
    found = best(study)
    if found is None or len(searched) < design.trials:
        return tuple(searched)
    patches = {"best": found.params, "own": {}}
    confirmed = [
        PlannedArm(
            name=f"{cell}-b{block}", kind="confirm", cell=cell, block=block, seed=FRESH_SEED + block, patch=patch
        )
        for block in range(design.blocks)
        for cell, patch in patches.items()
    ]
    return (*searched, *confirmed)
