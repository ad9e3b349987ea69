"""Run a job inline in a Tune actor or on Ray Train workers; no other file here imports Ray."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from branchwise.trainables.contract import Cohort
from branchwise.trainables.runtime import session
from branchwise.trainables.runtime.job import Job, Placement, cohort_of, serialize_cohort
from branchwise.trainables.runtime.kinds import run_job


def run_trial(config: Mapping[str, Any], job: Job) -> None:
    """Do what a Tune trial's cohort is missing; `config` is from `serialize_cohort`."""
    _receive_function(job)
    cohort = cohort_of(config, job)
    cohort = replace(cohort, arms=tuple(arm for arm in cohort.arms if not job.is_finished(arm)))
    if not cohort.arms:
        return
    if job.workers:
        run_on_workers(cohort, job)
    else:
        # Ray shows an actor the GPU it reserved for it, and no other.
        run_job(cohort, job, Placement(device="cuda:0" if job.gpus else "cpu"), _report_to_tune)


def run_on_workers(cohort: Cohort, job: Job, max_failures: int = 0) -> None:
    """Run the job on its Ray Train workers, and wait. Raises ray.train.TrainingFailedError."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = job.work_folder()
    TorchTrainer(
        _run_on_worker,
        train_loop_config={"cohort": serialize_cohort(cohort), "job": job},
        scaling_config=ScalingConfig(
            num_workers=job.workers,
            use_gpu=job.gpus > 0,
            resources_per_worker={"CPU": job.threads} | ({"GPU": job.gpus} if job.gpus else {}),
        ),
        run_config=RunConfig(
            # The dashboard shows it; a number, since our own checkpoints decide what is resumed, not Ray's.
            name=f"{folder.name.removesuffix('.unfinished')}-{cohort.name}-{time.time_ns()}",
            storage_path=folder.train_path(),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    ).fit()


def _run_on_worker(config: dict[str, Any]) -> None:
    import ray.train
    import ray.train.torch

    job: Job = config["job"]
    _receive_function(job)
    worker = ray.train.get_context()
    device = str(ray.train.torch.get_device())
    placement = Placement(rank=worker.get_world_rank(), world_size=worker.get_world_size(), device=device)
    cohort = cohort_of(config["cohort"], job)
    run_job(cohort, job, placement)
    ray.train.report({"arms": len(cohort.arms)})


def _report_to_tune(progress: Mapping[str, Any]) -> None:
    from ray import tune

    tune.report(dict(progress))


def send_function(trainable: str) -> str:
    """Put a function of this Python session into the cluster's key-value store; return its key.

    It is stored in memory only: no file holds a pickle.
    """
    from ray import cloudpickle
    from ray.experimental.internal_kv import _internal_kv_put

    content = cloudpickle.dumps(session.lookup(trainable))  # type: ignore[no-untyped-call]
    key = f"branchwise:{trainable}:{hashlib.sha256(content).hexdigest()}"
    _internal_kv_put(key, content)
    return key


def _receive_function(job: Job) -> None:
    """Register the function that `send_function` has sent, if the job has one, on this worker."""
    if not job.function_key or session.is_registered(job.trainable):
        return
    from ray import cloudpickle
    from ray.experimental.internal_kv import _internal_kv_get

    session.register(cloudpickle.loads(_internal_kv_get(job.function_key)), job.trainable.removeprefix(session.PREFIX))
