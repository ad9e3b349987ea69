"""The teacher of a sweep: addressed by content, trained once by Ray Train, used by every sweep that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.cluster import Cluster
from orchestration.errors import UserError
from orchestration.progress import Display, watch
from orchestration.space import Space
from trainables.ray_worker import Job, teacher_loop, train_on_workers
from trainables.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Where the teacher stands: `trained` and `evaluated` for the settings of this sweep, or not yet."""

    key: str
    trained: bool
    evaluation: Mapping[str, Any] | None


def find_teacher(space: Space, storage: Storage) -> Teacher | None:
    """The teacher `space` asks for, None when students need none. Raises UserError when what it names is not there."""
    try:
        key = space.module.teacher_key(space.spec)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    if key is None:
        return None
    teachers = storage / "teachers"
    evaluation_file = f"{key}/evaluations/{space.module.evaluation_key(space.spec)}.json"
    return Teacher(
        key=key,
        trained=teachers.exists(f"{key}/teacher.json"),
        evaluation=teachers.read_json(evaluation_file) if teachers.exists(evaluation_file) else None,
    )


def prepare_teacher(space: Space, storage: Storage, on: Cluster, display: Display) -> None:
    """Trains and evaluates the teacher where that is not done yet. Raises ray.train.TrainingFailedError.

    An unfinished training leaves its checkpoint beside the teachers, and the next sweep that asks for it goes on.
    """
    teacher = find_teacher(space, storage)
    if teacher is None or teacher.evaluation is not None:
        return
    gpu = space.resources.gpus_per_trial > 0
    wanted = getattr(getattr(space.spec, "teacher", None), "workers", 1)
    workers = max(1, min(wanted, int(on.gpus) if gpu else on.cpus))
    unfinished = storage / f"teachers/{teacher.key}.unfinished"
    job = Job(
        trainable=space.trainable,
        spec=space.spec.model_dump(mode="json"),
        run=unfinished.root,
        teachers=storage.path("teachers"),
        teacher=teacher.key,
        workers=workers,
        threads=1 if gpu else max(1, on.cpus // workers),
        gpu=gpu,
    )
    watch(lambda: train_on_workers(teacher_loop, {"job": job}, job, "teacher"), lambda: display.teacher(unfinished))
    storage.delete(f"teachers/{teacher.key}.unfinished")
