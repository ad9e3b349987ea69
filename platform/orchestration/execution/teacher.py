"""The teacher of a sweep: addressed by content, trained once by Ray Train, used by every sweep that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from branchwise.orchestration.errors import TeacherFailedError, UserError
from branchwise.orchestration.execution.cluster import Cluster, on_cluster
from branchwise.orchestration.execution.trials import last_line
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.run_folder.lock import hold_when_free
from branchwise.orchestration.space.model import Space
from branchwise.trainables.runtime.ray_worker import Job, teacher_loop, train_on_workers
from branchwise.trainables.runtime.storage import DamagedError, Storage


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Where the teacher stands: `trained` and `evaluated` for the settings of this sweep, or not yet."""

    key: str
    trained: bool
    evaluation: Mapping[str, Any] | None


def find_teacher(space: Space, storage: Storage) -> Teacher | None:
    """The teacher `space` asks for, None when students need none.

    Raises UserError when what the space names is not there, or when the stored teacher is damaged.
    """
    try:
        key = space.module.teacher_key(space.spec)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    if key is None:
        return None
    teachers = storage / "teachers"
    trained = teachers.has_folder(key)
    if trained and teachers.local is not None:  # elsewhere the workers check what they fetch
        try:
            teachers.get_folder(key, teachers.local)
        except DamagedError as error:
            raise UserError(f"{error}; delete {teachers.path(key)} to have the teacher trained again") from error
    try:
        evaluation = teachers.read_json(f"{key}/evaluations/{space.module.evaluation_key(space.spec)}.json")
    except (FileNotFoundError, DamagedError):
        evaluation = None  # it is measured, again
    return Teacher(key=key, trained=trained, evaluation=evaluation if trained else None)


def prepare_teacher(space: Space, storage: Storage, on: Cluster, display: Display) -> None:
    """Trains and evaluates the teacher where that is not done yet. Raises TeacherFailedError.

    An unfinished training leaves its checkpoint beside the teachers, and the next sweep that asks for it goes on.
    When another sweep is at it already, waits for that one.
    """
    teacher = find_teacher(space, storage)
    if teacher is None or teacher.evaluation is not None:
        return
    unfinished = storage / f"teachers/{teacher.key}.unfinished"
    with hold_when_free(unfinished, lambda: display.teacher(unfinished)):
        teacher = find_teacher(space, storage)
        if teacher is not None and teacher.evaluation is None:
            unfinished.delete_unfinished("checkpoints")
            _train(teacher, space, storage, on, display)
        unfinished.delete("")


def _train(teacher: Teacher, space: Space, storage: Storage, on: Cluster, display: Display) -> None:
    from ray.train import TrainingFailedError

    unfinished = storage / f"teachers/{teacher.key}.unfinished"
    gpu = space.resources.gpus_per_trial > 0
    wanted = getattr(getattr(space.spec, "teacher", None), "workers", 1)
    workers = max(1, min(wanted, int(on.gpus) if gpu else on.cpus))
    job = Job(
        trainable=space.trainable,
        spec=space.spec.model_dump(mode="json"),
        run=unfinished.root,
        teachers=storage.path("teachers"),
        teacher=teacher.key,
        workers=workers,
        threads=1 if gpu else max(n for n in range(1, max(on.nodes) + 1) if n == 1 or on.fit(n) >= workers),
        gpu=gpu,
    )
    retries = space.resources.max_retries
    try:
        watch(
            lambda stop: on_cluster(train_on_workers, teacher_loop, {"job": job}, job, "teacher", retries, stop=stop),
            lambda: display.teacher(unfinished),
        )
    except TrainingFailedError as error:
        log = f"teachers/{teacher.key}.unfinished/logs/teacher.txt"
        storage.write(log, str(error).encode())
        raise TeacherFailedError(
            f"the teacher's training failed: {last_line(str(error))}; see {storage.path(log)}"
        ) from error
