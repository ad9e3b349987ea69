"""Training the teacher of a sweep with Ray Train, once for every sweep that asks for it."""

from __future__ import annotations

from collections.abc import Callable

from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import TeacherFailedError
from branchwise.orchestration.execution.cluster import on_cluster
from branchwise.orchestration.execution.trials import last_line
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.run_folder.lock import hold_when_free
from branchwise.orchestration.run_folder.teachers import Teacher, find_teacher
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.ray_worker import TEACHER, Job, teacher_loop, train_on_workers
from branchwise.trainables.runtime.run_folder import Teachers
from branchwise.trainables.runtime.storage import Storage


def prepare_teacher(space: Space, storage: Storage, on: Cluster, display: Display, check: Callable[[], None]) -> None:
    """Trains and evaluates the teacher where that is not done yet. Raises TeacherFailedError.

    An unfinished training leaves its checkpoint beside the teachers, and the next sweep that asks for it goes on.
    When another sweep is at it already, waits for that one.
    """
    teacher = find_teacher(space, storage)
    if teacher is None or teacher.evaluation is not None:
        return
    unfinished = Teachers(storage).unfinished(teacher.key)

    def wait() -> None:
        display.teacher(unfinished)
        interrupts.check()
        check()

    with hold_when_free(unfinished.files, wait):
        teacher = find_teacher(space, storage)
        if teacher is not None and teacher.evaluation is None:
            unfinished.delete_unfinished()
            _train(teacher, space, storage, on, display, check)
        unfinished.files.delete("")
    display.teacher_ready()


def _train(
    teacher: Teacher, space: Space, storage: Storage, on: Cluster, display: Display, check: Callable[[], None]
) -> None:
    from ray.train import TrainingFailedError

    unfinished = Teachers(storage).unfinished(teacher.key)
    gpu = space.resources.gpus_per_trial > 0
    wanted = getattr(getattr(space.spec, "teacher", None), "workers", 1)
    workers = max(1, min(wanted, int(on.gpus) if gpu else on.cpus))
    job = Job(
        trainable=space.trainable,
        spec=space.spec.model_dump(mode="json"),
        storage=storage.root,
        run=unfinished.name,
        teacher=teacher.key,
        workers=workers,
        threads=1 if gpu else max(n for n in range(1, max(on.nodes) + 1) if n == 1 or on.fit(n) >= workers),
        gpu=gpu,
    )
    arguments = teacher_loop, {"job": job}, job, unfinished, TEACHER, space.resources.max_retries
    try:
        watch(
            lambda stop: on_cluster(train_on_workers, *arguments, stop=stop),
            lambda: display.teacher(unfinished),
            check,
        )
    except TrainingFailedError as error:
        log = unfinished.write_log(TEACHER, str(error))
        raise TeacherFailedError(f"the teacher's training failed: {last_line(str(error))}; see {log}") from error
