"""Training the teachers of a sweep with Ray Train, each once for each sweep that requests it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import TeacherFailedError
from branchwise.orchestration.execution.cluster import on_cluster
from branchwise.orchestration.execution.trials import last_line
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.run_folder.lock import acquire_blocking
from branchwise.orchestration.run_folder.teachers import Teacher, find_teachers, refresh
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.ray_worker import TEACHER, Job, teacher_loop, train_on_workers
from branchwise.trainables.runtime.run_folder import Teachers
from branchwise.trainables.runtime.storage import Storage


def prepare_teachers(space: Space, storage: Storage, on: Cluster, display: Display, check: Callable[[], None]) -> None:
    """Trains and evaluates, in turn, the teachers that are not ready yet. Raises TeacherFailedError.

    An unfinished training leaves its checkpoint next to the teachers, and the next sweep that requests it continues.
    When another sweep is at it already, waits for that one.
    """
    teachers = find_teachers(space, storage)
    waiting = [teacher for teacher in teachers if teacher.evaluation is None]
    for teacher in waiting:
        number = f"{teachers.index(teacher) + 1} of {len(teachers)}" if len(teachers) > 1 else ""
        unfinished = Teachers(storage).unfinished(teacher.key)
        show = partial(display.teacher, unfinished, number)
        with acquire_blocking(unfinished.files, partial(_wait, show, check)):
            if refresh(teacher, storage).evaluation is None:
                unfinished.delete_unfinished()
                _train(teacher, space, storage, on, show, check)
            unfinished.files.delete("")
    if waiting:
        display.teachers_ready()


def _wait(show: Callable[[], None], check: Callable[[], None]) -> None:
    show()
    interrupts.check()
    check()


def _train(
    teacher: Teacher,
    space: Space,
    storage: Storage,
    on: Cluster,
    show: Callable[[], None],
    check: Callable[[], None],
) -> None:
    from ray.train import TrainingFailedError

    unfinished = Teachers(storage).unfinished(teacher.key)
    gpu = space.resources.gpus_per_trial > 0
    expected = space.module.teacher_workers(teacher.spec)
    workers = max(1, min(expected, int(on.gpus) if gpu else on.cpus))
    job = Job(
        trainable=space.trainable,
        spec=teacher.spec.model_dump(mode="json"),
        storage=storage.root,
        run=unfinished.name,
        workers=workers,
        # On a GPU too: distances of the evaluation are computed on CPUs.
        threads=max(n for n in range(1, max(on.nodes) + 1) if n == 1 or on.fit(n) >= workers),
        gpus=float(gpu),
        folder=space.folder,
    )
    config = {"job": job, "key": teacher.key}
    arguments = teacher_loop, config, job, unfinished, TEACHER, space.resources.max_retries
    try:
        watch(lambda stop: on_cluster(train_on_workers, *arguments, stop=stop), show, check)
    except TrainingFailedError as error:
        log = unfinished.write_log(TEACHER, str(error))
        raise TeacherFailedError(f"the teacher's training failed: {last_line(str(error))}; see {log}") from error
