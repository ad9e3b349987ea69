"""Running the trials of a sweep with Ray Tune."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.orchestration.planning.packing import Trial
from branchwise.orchestration.space.model import Resources
from branchwise.trainables.runtime.ray_worker import Job, run_trial
from branchwise.trainables.runtime.storage import Storage

if TYPE_CHECKING:
    from branchwise.orchestration.execution.cohort_queue import Cohort, Cohorts


def run_search_trials(searcher: Cohorts, job: Job, resources: Resources, slots: int, stop: threading.Event) -> None:
    """Runs the cohorts the searcher suggests until it has enough; arms that fail for good are recorded as such.

    Raises Stopped soon after `stop` is set.
    """
    run = Storage(job.run)
    for cohort, traceback in _run(searcher, job, resources, slots, resources.max_retries, stop):
        _record_failure(run, cohort, traceback)


def run_trials(
    trials: Sequence[Trial], job: Job, resources: Resources, slots: int, stop: threading.Event | None = None
) -> None:
    """Runs every trial; arms that cannot be finished, with their cohort nor alone, are recorded as failed. Blocks.

    Raises Stopped soon after `stop` is set.
    """
    from branchwise.orchestration.execution.cohort_queue import InOrder

    run = Storage(job.run)
    cohorts = [
        {"trial": trial.name, "arms": [{"name": a.name, "seed": a.seed, "patch": dict(a.patch)} for a in trial.arms]}
        for trial in trials
    ]
    failed, again = [], []
    for cohort, traceback in _run(InOrder(cohorts), job, resources, slots, resources.max_retries, stop):
        missing = [arm for arm in cohort["arms"] if not run.exists(f"arms/{arm['name']}.json")]
        if len(missing) > 1:  # it may be one arm that fails them all
            trial = cohort["trial"]
            again += [{"trial": f"{trial}.{arm['name']}", "arms": [arm], "out_of": trial} for arm in missing]
        else:
            failed.append((cohort, traceback))
    if again:
        failed += _run(InOrder(again), job, resources, slots, max_retries=0, stop=stop)
    for cohort, traceback in failed:
        _record_failure(run, cohort, traceback)


def _run(
    searcher: Cohorts, job: Job, resources: Resources, slots: int, max_retries: int, stop: threading.Event | None
) -> list[tuple[Cohort, str]]:
    """Runs each cohort the searcher suggests as a Tune trial.

    Returns those that failed more than `max_retries` times, with the traceback.
    """
    from ray import tune
    from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
    from ray.tune.trainable import wrap_function

    from branchwise.orchestration.execution.cohort_queue import StopWhenSet

    # No callbacks, not even Tune's own loggers: at the first of them Ray imports MLflow and W&B, if they are installed,
    # for seconds, to count who uses them. The run folder has all they would write; Tune need not complain of it.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)

    def train(config: Mapping[str, Any]) -> None:
        run_trial(config["cohort"], job)

    run = Storage(job.run)
    sweep = run.root.rpartition("/")[2]
    named = wrap_function(train)

    def actor_name(actor: Any) -> str:
        return _actor_name(sweep, actor.config["cohort"], job)

    named.__repr__ = actor_name  # type: ignore[method-assign]
    # With Ray Train workers the Tune actor only waits: it must take none of the CPUs they need, but it must ask for
    # something, and a byte of memory is always there.
    own: dict[str, float] = (
        {"cpu": 0, "memory": 1} if job.workers else {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    )
    results = Tuner(
        tune.with_resources(named, own),
        param_space={},
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=-1,  # the searcher says when it is enough
            max_concurrent_trials=slots,
            reuse_actors=not job.workers,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            name=f"tune-{len(run.names('ray/tune'))}",
            storage_path=run.path("ray/tune"),
            failure_config=FailureConfig(max_failures=max_retries),
            stop=StopWhenSet(stop) if stop else None,
            verbose=0,
        ),
    ).fit()
    found = [results[index] for index in range(len(results))]
    return [(searcher.begun[Path(r.path).name], str(r.error)) for r in found if r.error is not None]


def _actor_name(sweep: str, cohort: Cohort, job: Job) -> str:
    """What the dashboard calls the actor of a trial. An actor that goes on with other trials keeps its first name."""
    names = [arm["name"] for arm in cohort["arms"]]
    arms = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"{sweep} {'' if job.workers else 'from '}{cohort['trial']}: {arms}"


def _trial_name(trial: Any) -> str:
    return str(trial.config["cohort"]["trial"])


def last_line(traceback: str) -> str:
    """What a traceback comes to."""
    return next((line.strip() for line in reversed(traceback.splitlines()) if line.strip()), "unknown error")


def _record_failure(run: Storage, cohort: Cohort, traceback: str) -> None:
    name = cohort["trial"]
    traceback = re.sub(r"\x1b\[[0-9;]*m", "", traceback)  # Ray colours it for terminals
    run.write(f"logs/{name}.txt", traceback.encode())
    error = last_line(traceback)
    for arm in cohort["arms"]:
        if not run.exists(f"arms/{arm['name']}.json"):
            run.write_json(
                f"arms/{arm['name']}.json", {"arm": arm["name"], "trial": name, "status": "failed", "error": error}
            )
