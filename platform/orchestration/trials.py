"""Running the trials of a sweep with Ray Tune."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestration.packing import Trial
from orchestration.space import Resources
from trainables.ray_worker import Job, run_trial
from trainables.storage import Storage


def run_trials(trials: Sequence[Trial], job: Job, resources: Resources, slots: int) -> None:
    """Runs every trial; when one fails for good, its unfinished arms are recorded as failed. Blocks."""
    from ray import tune
    from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

    def train(config: Mapping[str, Any]) -> None:
        run_trial(config["cohort"], job)

    run = Storage(job.run)
    cohorts = [
        {"trial": trial.name, "arms": [{"name": a.name, "seed": a.seed, "patch": dict(a.patch)} for a in trial.arms]}
        for trial in trials
    ]
    # With Ray Train workers the Tune actor only waits; the workers hold the resources.
    own = {"cpu": 0.01} if job.workers else {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    results = Tuner(
        tune.with_resources(train, own),
        param_space={"cohort": tune.grid_search(cohorts)},
        tune_config=TuneConfig(
            max_concurrent_trials=slots,
            reuse_actors=not job.workers,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            name=f"tune-{len(run.names('ray/tune'))}",
            storage_path=run.path("ray/tune"),
            failure_config=FailureConfig(max_failures=resources.max_retries),
            verbose=0,
        ),
    ).fit()
    for result in (results[index] for index in range(len(results))):
        if result.error is not None and result.config is not None:
            _record_failure(run, result.config["cohort"], str(result.error))


def _trial_name(trial: Any) -> str:
    return str(trial.config["cohort"]["trial"])


def _record_failure(run: Storage, cohort: Mapping[str, Any], traceback: str) -> None:
    name = cohort["trial"]
    traceback = re.sub(r"\x1b\[[0-9;]*m", "", traceback)  # Ray colours it for terminals
    run.write(f"logs/{name}.txt", traceback.encode())
    error = next((line.strip() for line in reversed(traceback.splitlines()) if line.strip()), "unknown error")
    for arm in cohort["arms"]:
        if not run.exists(f"arms/{arm['name']}.json"):
            run.write_json(
                f"arms/{arm['name']}.json", {"arm": arm["name"], "trial": name, "status": "failed", "error": error}
            )
