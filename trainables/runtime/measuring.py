"""What a worker does to train a feature net, and to measure finished models again; Ray itself is ray_worker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from branchwise.trainables.contract import Arm, Cohort, Context
from branchwise.trainables.runtime.ray_worker import (
    TEACHER,
    Job,
    cohort_of,
    evaluate_teacher,
    record_of,
    refuse_changed,
    report_to_train,
    report_to_tune,
    train_on_workers,
    wait_for_all,
    worker_context,
    worker_placement,
)
from branchwise.trainables.runtime.run_folder import Measurements

FEATURES = "features"  # the name under which a feature net in training reports


def features_loop(config: dict[str, Any]) -> None:
    """On each Ray Train worker: trains the feature net of the job's settings unless it is there."""
    job: Job = config["job"]
    trainable, spec = job.module(), job.base_spec()
    nets, key = job.feature_nets(), str(config["key"])
    refuse_changed(key, trainable.features_key(spec))
    rank, world_size, device = worker_placement()
    worker: dict[str, Any] = {"rank": rank, "world_size": world_size, "device": device}
    cohort = Cohort(name=FEATURES, arms=())
    with worker_context(cohort, job, nets.unfinished(key), publish=None, needs_features=False, **worker) as context:
        if not nets.trained(key):
            out = context.scratch / "features"
            trainable.train_features(spec, out, context)
            if rank == 0 and not nets.trained(key):
                nets.put(out, key)
        wait_for_all()
    report_to_train({"trained": 1.0})


def measure_trial(config: Mapping[str, Any], job: Job) -> None:
    """Measures what one Tune trial requests and has no result yet; `config` is from `serialize_cohort`.

    Its arms are finished arms under the settings that they are measured with; one called TEACHER means the
    teacher.
    """
    if job.workers:
        work = Measurements(job.run_folder()).work()
        train_on_workers(_measure_loop, {"cohort": dict(config), "job": job}, job, work, config["name"])
    else:
        device = "cuda:0" if job.gpus else "cpu"
        _measure_in_process(cohort_of(config, job), job, rank=0, world_size=1, device=device, publish=report_to_tune)


def _measure_loop(config: dict[str, Any]) -> None:
    rank, world_size, device = worker_placement()
    cohort = cohort_of(config["cohort"], config["job"])
    _measure_in_process(cohort, config["job"], rank=rank, world_size=world_size, device=device, publish=None)
    report_to_train({"arms": len(cohort.arms)})


def _measure_in_process(
    cohort: Cohort, job: Job, *, publish: Callable[..., None] | None, rank: int, **location: Any
) -> None:
    trainable = job.module()
    measurements = Measurements(job.run_folder())
    work = measurements.work()
    with ExitStack() as stack:
        shared = stack.enter_context(
            worker_context(cohort, job, work, publish=publish, rank=rank, needs_features=False, **location)
        )
        for number, arm in enumerate(cohort.arms):
            key = trainable.evaluation_key(arm.spec)
            context = _reporting(shared, number, len(cohort.arms))
            if (net := trainable.features_key(arm.spec)) is not None:
                context = replace(context, features=job.feature_nets().get(net, shared.scratch / "features"))
            if arm.name == TEACHER:
                _measure_teacher(arm, key, job, context)
                continue
            if arm.teacher is not None:
                measured = job.teachers().read_evaluation(arm.teacher, key)
                files = job.teachers().get_evaluation_files(arm.teacher, key, shared.scratch)
                context = replace(context, evaluation=measured or {}, evaluation_files=files)
            folder = measurements.folder(key)
            if folder.has_record(arm.name):
                continue
            model = job.run_folder().get_model(arm.name, shared.scratch)
            result = trainable.measure_model(arm, model, context)
            if rank == 0 and not folder.has_record(arm.name):
                folder.write_record(arm.name, record_of(arm, cohort.name, result))


def _measure_teacher(arm: Arm, key: str, job: Job, context: Context) -> None:
    teachers, teacher = job.teachers(), str(arm.teacher)
    if context.teacher is None or teachers.read_evaluation(teacher, key) is not None:
        return
    values = evaluate_teacher(job.module(), arm.spec, context.teacher, context)
    if context.rank == 0:
        teachers.write_evaluation(teacher, key, *values)


def _reporting(context: Context, number: int, total: int) -> Context:
    """The context, with the progress of one of `total` measures as a part of the whole."""

    def report(progress: Mapping[str, Any]) -> None:
        steps = progress["steps"]
        context.report({**progress, "step": number * steps + progress["step"], "steps": total * steps})

    return replace(context, report=report)
