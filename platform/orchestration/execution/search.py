"""The first stage of a design that searches: suggestions in cohorts until each has its arms."""

from __future__ import annotations

from dataclasses import replace

from branchwise.orchestration.execution.runner import JobRunner
from branchwise.orchestration.execution.trials import run_queue
from branchwise.orchestration.monitoring.progress import watch
from branchwise.orchestration.planning.plan import Plan, search_cohort_size
from branchwise.trainables.runtime.job import Job
from branchwise.trainables.runtime.stopping import Stopping


def run_searches(plan: Plan, job: Job, runner: JobRunner) -> None:
    """Continue what an earlier process started. Blocks; a no-op for a design without a search."""
    searches = plan.space.design.searches()
    if not searches:
        return
    from branchwise.orchestration.tuning.searcher import StudySearcher
    from branchwise.orchestration.tuning.studies import open_studies

    studies = open_studies(plan.space, plan.run, plan.earlier)
    searcher = StudySearcher(studies, search_cohort_size(plan.space, plan.slots))
    options = searches[0].options  # the same for all
    if options.scheduler == "asha" or options.scheduler == "median":
        job = replace(job, stopping=Stopping(rule=options.scheduler, rungs=options.rungs, reduction=options.reduction))
    total = sum(search.options.searched * search.options.seeds_each for search in searches)
    runner.display.begin_arms(0.0)

    def show() -> None:
        runner.display.arms("search", plan.run, {arm.name for study in studies for arm in study.arms()}, total)

    watch(lambda stop: run_queue(searcher, job, plan.space.resources, plan.slots, stop), show, runner.check)
    show()
