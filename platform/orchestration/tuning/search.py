"""A search from its first suggestion to the confirmation of what it found on fresh seeds.

Optuna is imported when a search begins, not for other designs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from branchwise.orchestration.designs.knobs import Search, Tuning
from branchwise.orchestration.designs.layout import PlannedArm, arm_of, lay_out, plan_studies
from branchwise.orchestration.execution.trials import run_search_trials
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.run_folder.results import JOURNAL
from branchwise.orchestration.space.model import Space, TunedDesign
from branchwise.orchestration.tuning.warm_start import Earlier
from branchwise.trainables.runtime.ray_worker import Job
from branchwise.trainables.runtime.stopping import Stopping
from branchwise.trainables.runtime.storage import Storage

if TYPE_CHECKING:
    from branchwise.orchestration.tuning.studies import OpenStudy

ROUNDS = 4  # at least so often should the searcher learn from what came before
LARGEST_COHORT = 8
FRESH_SEED = 1000  # seeds of the confirmation begin here; the searched ones are never reported as results


def run_search(
    space: Space, design: TunedDesign, job: Job, slots: int, earlier: Sequence[Earlier], display: Display
) -> None:
    """Searches until every study has its trials; goes on with what an earlier process left. Blocks."""
    from branchwise.orchestration.tuning.searcher import StudySearcher
    from branchwise.orchestration.tuning.studies import open_studies

    run = Storage(job.run)
    studies = open_studies(space, design, run, earlier)
    searcher = StudySearcher(studies, space, arms_per_trial(space, design, slots))
    if design.scheduler != "none":
        job = replace(job, stopping=Stopping(rule=design.scheduler, rungs=design.rungs, reduction=design.reduction))
    total = design.trials * len(studies)
    display.begin_arms(0.0)

    def show() -> None:
        display.search(run, {arm.name for opened in studies for arm in opened.arms()}, total)

    watch(lambda stop: run_search_trials(searcher, job, space.resources, slots, stop), show)


def arms_per_trial(space: Space, design: TunedDesign, slots: int) -> int:
    """Suggestions of one cohort: as many as share a teacher pass without a searcher learning too seldom."""
    if space.resources.arms_per_trial != "auto":
        return space.resources.arms_per_trial
    total = design.trials * len(plan_studies(space))
    return max(1, min(LARGEST_COHORT, math.ceil(total / (ROUNDS * slots))))


def planned_arms(space: Space) -> int:
    """Arms that a run of this space has when all goes well. Of a Pareto front, which may be larger, one is counted."""
    design = space.design
    if not isinstance(design, Tuning):
        return len(lay_out(space))
    studies = len(plan_studies(space))
    return design.trials * studies + design.blocks * (2 * studies + len(design.baselines))


def known_arms(space: Space, run: Storage) -> tuple[PlannedArm, ...]:
    """Every arm that a run has so far: of a search those asked for, and once all are there, those that confirm it."""
    from branchwise.orchestration.tuning.studies import open_studies

    design = space.design
    if not isinstance(design, Tuning):
        return lay_out(space)
    if not run.exists(JOURNAL):
        return ()
    studies = open_studies(space, design, run)
    searched = [opened.arms() for opened in studies]
    flat = tuple(arm for arms in searched for arm in arms)
    if any(len(arms) < design.trials for arms in searched):
        return flat
    return (*flat, *_confirmation(space, design, studies))


def _confirmation(space: Space, design: TunedDesign, studies: Sequence[OpenStudy]) -> Iterator[PlannedArm]:
    """On fresh seeds: the best settings of every study beside the space's own, and the baselines."""
    for block in range(design.blocks):
        for opened in studies:
            plan = opened.plan
            best = [{**plan.patch, **opened.settings(trial)} for trial in opened.best()]
            if isinstance(design, Search):
                cells = ["best"] if len(best) == 1 else [f"front-{number}" for number in range(1, len(best) + 1)]
                for cell, patch in [*zip(cells, best, strict=True), ("own", {})]:
                    yield arm_of("confirm", cell, block, patch, first_seed=FRESH_SEED)
                continue
            yield arm_of("cell", plan.cell, block, plan.patch, plan.components, first_seed=FRESH_SEED)
            for patch in best:
                yield arm_of("confirm", plan.cell, block, patch, plan.components, first_seed=FRESH_SEED)
        for baseline in design.baselines:
            patch = space.module.BASELINES[baseline]
            yield arm_of("baseline", baseline, block, patch, first_seed=FRESH_SEED)
