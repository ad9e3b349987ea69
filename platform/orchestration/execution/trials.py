"""Running cohorts, each as a trial of Ray Tune: their arms are trained, or measured."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.orchestration.input.messages import first_names
from branchwise.orchestration.limits import Meter
from branchwise.orchestration.planning.machine import threads_of_worker
from branchwise.orchestration.space import Resources, Space
from branchwise.trainables import Arm, Cohort, Result
from branchwise.trainables.runtime import session
from branchwise.trainables.runtime.job import Job, JobKind, record_of
from branchwise.trainables.runtime.ray_worker import run_trial, send_function
from branchwise.trainables.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from branchwise.orchestration.tuning.queue import CohortQueue


# What a worker reports when another one ends: by gloo, by NCCL.
LOST_CONNECTION = re.compile(
    "connection (closed|reset)|closed by peer|broken pipe|remote process exited", re.IGNORECASE
)


def job_of(space: Space, run: RunFolder, kind: JobKind = "cohort") -> Job:
    """The job that all cohorts of a run share."""
    return Job(
        kind=kind,
        trainable=space.trainable,
        spec=space.spec.model_dump(mode="json"),
        storage=run.storage.root,
        run=run.name,
        workers=space.resources.workers,
        threads=threads_of_worker(space),
        gpus=space.resources.gpus_per_worker,
        folder=space.folder,
        function_key=send_function(space.trainable) if space.trainable.startswith(session.PREFIX) else "",
    )


def run_queue(queue: CohortQueue, job: Job, resources: Resources, slots: int, stop: threading.Event) -> None:
    """Run the cohorts that a search suggests until it has enough.

    Arms that fail for good are recorded as such. Raises TuneStopped soon after `stop` is set.
    """
    for cohort, traceback in _run(queue, job, resources, slots, resources.max_retries, stop):
        _record_failure(job, cohort, traceback)


def run_cohorts(
    cohorts: Sequence[Cohort],
    job: Job,
    resources: Resources,
    slots: int,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> str:
    """Run each cohort until a limit of the `meter` is reached; return that limit, if any.

    Blocks. What cannot be finished, with its cohort or separately, has its traceback in the logs;
    an arm in training is recorded as failed. Raises TuneStopped soon after `stop` is set.
    """
    from branchwise.orchestration.tuning.queue import FifoQueue, Metered

    failed, repeated = [], []
    queue = Metered(cohorts, meter or Meter.without_limits())
    for cohort, traceback in _run(queue, job, resources, slots, resources.max_retries, stop):
        missing = [arm for arm in cohort.arms if not job.is_finished(arm)]
        if len(missing) > 1 and not queue.reason:  # a single arm may fail them all
            repeated += _single_arms(cohort, missing)
        else:
            failed.append((cohort, traceback))
    if repeated:
        failed += _run(FifoQueue(repeated), job, resources, slots, max_retries=0, stop=stop)
    for cohort, traceback in failed:
        _record_failure(job, cohort, traceback)
    return queue.reason


def _single_arms(cohort: Cohort, arms: Sequence[Arm]) -> list[Cohort]:
    """Split a cohort into cohorts of one arm; a measured one is one arm with multiple settings."""
    names = [arm.name for arm in arms]
    labels = names if len(set(names)) == len(names) else [str(number) for number in range(len(arms))]
    return [
        Cohort(name=f"{cohort.name}.{label}", arms=(arm,), out_of=cohort.name)
        for label, arm in zip(labels, arms, strict=True)
    ]


def _run(
    queue: CohortQueue, job: Job, resources: Resources, slots: int, max_retries: int, stop: threading.Event | None
) -> list[tuple[Cohort, str]]:
    """Run each cohort of the queue as a Tune trial.

    Returns those that failed more than `max_retries` times, with the traceback.
    """
    from ray import tune
    from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
    from ray.tune.trainable import wrap_function

    from branchwise.orchestration.tuning.queue import StopWhenSet

    # No callbacks, not even Tune's loggers: at the first of them Ray imports MLflow and W&B, if they are installed,
    # for seconds, to count who uses them. The run folder has all they would write; Tune need not complain of it.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)

    def train(config: Mapping[str, Any]) -> None:
        run_trial(config["cohort"], job)

    folder = job.work_folder()
    named = wrap_function(train)

    def actor_name(actor: Any) -> str:
        return _actor_name(actor.config["cohort"], job)

    named.__repr__ = actor_name  # type: ignore[method-assign]
    # With Ray Train workers the Tune actor only waits: it must take none of the CPUs they need, but it must ask for
    # a resource, and a byte of memory always exists.
    trial_values: dict[str, float] = (
        {"cpu": 0, "memory": 1} if job.workers else {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    )
    results = Tuner(
        tune.with_resources(named, trial_values),
        param_space={},
        tune_config=TuneConfig(
            search_alg=queue,
            num_samples=-1,  # the queue decides when to stop
            max_concurrent_trials=slots,
            reuse_actors=not job.workers,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            name=folder.next_tune_name(),
            storage_path=folder.tune_path(),
            failure_config=FailureConfig(max_failures=max_retries),
            stop=StopWhenSet(stop) if stop else None,
            verbose=0,
        ),
    ).fit()
    outcomes = [results[index] for index in range(len(results))]
    return [(queue.cohorts_by_name[Path(r.path).name], str(r.error)) for r in outcomes if r.error is not None]


def _actor_name(cohort: Mapping[str, Any], job: Job) -> str:
    """The dashboard's name of a cohort's actor, which keeps its first name with other cohorts."""
    arms = first_names([arm["arm"] for arm in cohort["arms"]], limit=6)
    return f"{job.run} {'' if job.workers else 'from '}{cohort['name']}: {arms}"


def _trial_name(trial: Any) -> str:
    return str(trial.config["cohort"]["name"])


def reason_of(error: str) -> str:
    """The last line of an error's traceback.

    Where several Ray Train workers failed, of the first that did not merely lose its connection to another.
    """
    workers = re.split(r"\[Rank [^\]]*Error Snippet\]:", error)[1:] or [error]
    lines = [next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "") for text in workers]
    return next((line for line in lines if line and not LOST_CONNECTION.search(line)), lines[-1]) or "unknown error"


def _record_failure(job: Job, cohort: Cohort, traceback: str) -> None:
    job.work_folder().write_log(cohort.name, _plain_text(traceback))
    if job.kind == "measurement":
        return  # without a record, the same command measures again
    run, result = job.run_folder(), Result(status="failed", error=reason_of(traceback))
    for arm in cohort.arms:
        if not run.has_record(arm.name):
            run.write_record(arm.name, record_of(arm, cohort.name, result))


def _plain_text(traceback: str) -> str:
    """Return the text without Ray's terminal colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", traceback)
