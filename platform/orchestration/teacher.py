"""The teacher of a sweep: addressed by content, trained once by Ray Train, used by every sweep that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestration.cluster import Cluster
from orchestration.space import Space
from trainables.ray_worker import Job, teacher_loop, train_on_workers
from trainables.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Where the teacher stands: `trained` and `evaluated` for the settings of this sweep, or not yet."""

    key: str
    evaluation_file: str  # its name below the folder of teachers
    trained: bool
    evaluation: Mapping[str, Any] | None


def find_teacher(space: Space, teachers: Storage) -> Teacher | None:
    """The teacher `space` asks for, None when its students need none."""
    key = space.module.teacher_key(space.spec)
    if key is None:
        return None
    evaluation_file = f"{key}/evaluations/{space.module.evaluation_key(space.spec)}.json"
    return Teacher(
        key=key,
        evaluation_file=evaluation_file,
        trained=teachers.exists(f"{key}/teacher.json"),
        evaluation=teachers.read_json(evaluation_file) if teachers.exists(evaluation_file) else None,
    )


def prepare_teacher(space: Space, job: Job, cluster: Cluster) -> None:
    """Trains and evaluates the teacher where that is not done yet. Blocks; raises ray.train.TrainingFailedError."""
    gpus = space.resources.gpus_per_trial > 0
    wanted = getattr(getattr(space.spec, "teacher", None), "workers", 1)
    workers = max(1, min(wanted, int(cluster.gpus) if gpus else cluster.cpus))
    threads = 1 if gpus else max(1, cluster.cpus // workers)
    job = replace(job, workers=workers, threads=threads, gpu=gpus)
    train_on_workers(teacher_loop, {"job": job}, job, "teacher")
