"""Training what arms share, with Ray Train: feature nets and teachers.

Each is trained once for all sweeps that request it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import FeaturesFailedError, FeaturesRefusedError, TeacherFailedError
from branchwise.orchestration.execution.cluster import on_cluster
from branchwise.orchestration.execution.runner import JobRunner
from branchwise.orchestration.execution.trials import reason_of
from branchwise.orchestration.monitoring.progress import watch
from branchwise.orchestration.run_folder.lock import acquire_blocking
from branchwise.orchestration.run_folder.teachers import SweepTeacher, find_teachers, refresh
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.job import FEATURES, TEACHER, Job
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.ray_worker import run_on_workers
from branchwise.trainables.runtime.shared_models import FeatureNetStore

# Of each kind of training: what its failure is raised as, and what the message calls it.
FAILURES: dict[str, tuple[type[TeacherFailedError], str]] = {
    "teacher": (TeacherFailedError, "the teacher's training"),
    "features": (FeaturesFailedError, "the feature net's training"),
}


def prepare_features(spec: Any, runner: JobRunner) -> None:
    """Train the feature net of these settings if it is required and missing.

    Raises FeaturesFailedError, also for a net that is not good enough.
    """
    module, nets = runner.space.module, FeatureNetStore(runner.storage)
    key = module.features_key(spec)
    if key is None:
        return
    if not nets.trained(key):
        job = _job(runner, kind="features", key=key, spec=spec.model_dump(mode="json"), workers=1)
        _train(job, FEATURES, lambda: nets.trained(key), runner)
        runner.display.trained(FEATURES)
    with scratch_folder() as scratch:
        try:
            module.check_features(spec, nets.get(key, scratch))
        except ValueError as error:
            raise FeaturesRefusedError(str(error)) from error


def prepare_teachers(runner: JobRunner) -> None:
    """Train and evaluate, in turn, the teachers that are not ready. Raises TeacherFailedError."""
    teachers = find_teachers(runner.space, runner.storage)
    waiting = [teacher for teacher in teachers if teacher.evaluation is None]
    for teacher in waiting:
        number = f"{teachers.index(teacher) + 1} of {len(teachers)}, " if len(teachers) > 1 else ""
        _prepare_teacher(teacher, number, runner)
    if waiting:
        runner.display.trained(TEACHER)


def _prepare_teacher(teacher: SweepTeacher, number: str, runner: JobRunner) -> None:
    space, on = runner.space, runner.on
    available = int(on.gpus) if space.resources.gpus_per_trial else on.cpus
    workers = max(1, min(space.module.teacher_workers(teacher.spec), available))
    job = _job(runner, kind="teacher", key=teacher.key, spec=teacher.spec.model_dump(mode="json"), workers=workers)
    _train(job, TEACHER, lambda: refresh(teacher, runner.storage).evaluation is not None, runner, number)


def _job(runner: JobRunner, *, workers: int, **what: Any) -> Job:
    on, space = runner.on, runner.space
    return Job(
        trainable=space.trainable,
        storage=runner.storage.root,
        workers=workers,
        # On a GPU too: distances of the evaluation are computed on CPUs.
        threads=max(n for n in range(1, max(on.nodes) + 1) if n == 1 or on.fit(n) >= workers),
        gpus=float(space.resources.gpus_per_trial > 0),
        folder=space.folder,
        **what,
    )


def _train(job: Job, name: str, is_ready: Callable[[], bool], runner: JobRunner, number: str = "") -> None:
    """Train the model of a job, or wait for another process that is training it.

    `number`: "1 of 2, ", of several. An unfinished training leaves its checkpoint next to the
    models, and the next sweep that requests it continues.
    """
    unfinished = job.work_folder()

    def show() -> None:
        runner.display.training(name, unfinished, number)

    def wait() -> None:
        show()
        interrupts.check()
        runner.check()

    with acquire_blocking(unfinished.files, wait):
        if not is_ready():
            unfinished.delete_unfinished()
            _run(job, name, show, runner)
        unfinished.files.delete("")


def _run(job: Job, name: str, show: Callable[[], None], runner: JobRunner) -> None:
    from ray.train import TrainingFailedError

    arguments = Cohort(name=name, arms=()), job, runner.space.resources.max_retries
    try:
        watch(lambda stop: on_cluster(run_on_workers, *arguments, stop=stop), show, runner.check)
    except TrainingFailedError as error:
        failure, what = FAILURES[job.kind]
        log = job.work_folder().write_log(name, str(error))
        raise failure(f"{what} failed: {reason_of(str(error))}; see {log}") from error
