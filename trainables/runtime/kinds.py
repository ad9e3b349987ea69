"""Kinds of jobs: train arms, measure finished models, train a teacher or a feature net."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from branchwise.trainables.contract import Cohort, Context
from branchwise.trainables.runtime.job import (
    ALONE,
    TEACHER,
    Job,
    JobKind,
    Placement,
    Publish,
    record_of,
    with_evaluation,
    worker_context,
)
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.shared_models import ContentAddressed

ROOT_LOGGER = "branchwise"  # the root of our loggers


def run_job(cohort: Cohort, job: Job, placement: Placement = ALONE, publish: Publish | None = None) -> None:
    """Do the job for a cohort, on this worker; `publish` passes each report on."""
    folder, rank = job.work_folder(), placement.rank
    with (
        _capture_warnings(folder, f"{cohort.name}-{rank}" if rank else cohort.name),
        worker_context(cohort, job, placement, publish) as context,
    ):
        KINDS[job.kind](cohort, job, context)
    if rank == 0:
        folder.delete_checkpoint(cohort.name)


def _train_arms(cohort: Cohort, job: Job, context: Context) -> None:
    first = cohort.arms[0]
    context = with_evaluation(context, job, first.spec, cohort.teacher)
    if cohort.teacher is not None and not context.evaluation:
        raise ValueError(
            f"{job.teachers().path(cohort.teacher)} has no evaluation under the settings and data of "
            f"{first.name}: the data were changed while the run went on, or are others on this machine"
        )
    job.module().run_cohort(cohort.arms, context)


def _measure_models(cohort: Cohort, job: Job, context: Context) -> None:
    """Measure the models of a cohort of finished arms.

    Each arm has the settings that it is measured with; the arm TEACHER is their teacher.
    """
    trainable = job.module()
    for number, arm in enumerate(cohort.arms):
        measuring = with_evaluation(_share(context, number, len(cohort.arms)), job, arm.spec, arm.teacher)
        if arm.name == TEACHER:
            _evaluate_teacher(arm.spec, str(arm.teacher), job, measuring)
            continue
        model = job.run_folder().get_model(arm.name, context.scratch)
        result = trainable.measure_model(arm, model, measuring)
        if context.rank == 0 and not job.is_finished(arm):
            folder = job.measurements().folder(trainable.evaluation_key(arm.spec))
            folder.write_record(arm.name, record_of(arm, cohort.name, result))


def _share(context: Context, number: int, total: int) -> Context:
    """The context, with the progress of one of `total` measurements as a part of the whole."""

    def report(progress: Mapping[str, Any]) -> None:
        steps = progress["steps"]
        context.report({**progress, "step": number * steps + progress["step"], "steps": total * steps})

    return replace(context, report=report)


def _train_teacher(cohort: Cohort, job: Job, context: Context) -> None:
    """Train the teacher unless it is there, and evaluate it."""
    trainable, spec, teachers = job.module(), job.base_spec(), job.teachers()
    _refuse_changed(job.key, trainable.teacher_key(spec))
    context = with_evaluation(context, job, spec, None)
    _train_once(teachers, job.key, trainable.train_teacher, spec, context)
    folder = teachers.get(job.key, context.scratch)
    _evaluate_teacher(spec, job.key, job, replace(context, teacher=folder))


def _train_features(cohort: Cohort, job: Job, context: Context) -> None:
    """Train the feature net unless it is there."""
    trainable, spec = job.module(), job.base_spec()
    _refuse_changed(job.key, trainable.features_key(spec))
    _train_once(job.feature_nets(), job.key, trainable.train_features, spec, context)


KINDS: Mapping[JobKind, Callable[[Cohort, Job, Context], None]] = {
    "cohort": _train_arms,
    "measurement": _measure_models,
    "teacher": _train_teacher,
    "features": _train_features,
}


def _refuse_changed(planned: str, key: str | None) -> None:
    """Refuse settings or data with another address than the plan's; raise ValueError."""
    if key != planned:
        raise ValueError("the data were changed after the run was planned, or are others on this machine")


def _train_once(
    models: ContentAddressed, key: str, train: Callable[[Any, Path, Context], None], spec: Any, context: Context
) -> None:
    """Train what belongs at this address, on all workers, unless it is there."""
    if not models.trained(key):
        out = context.scratch / "trained"
        train(spec, out, context)
        # A worker of a driver that was killed may have been quicker; what is trained is never replaced.
        if context.rank == 0 and not models.trained(key):
            models.put(out, key)
    _wait_for_all()


def _evaluate_teacher(spec: Any, key: str, job: Job, context: Context) -> None:
    """Measure the teacher in `context.teacher`; store the values and the trainable's files."""
    assert context.teacher is not None
    trainable = job.module()
    files = Path(tempfile.mkdtemp(dir=context.scratch, prefix="evaluation-"))
    values = trainable.evaluate_teacher(spec, context.teacher, replace(context, evaluation_files=files))
    if context.rank == 0:
        job.teachers().write_evaluation(key, trainable.evaluation_key(spec), values, files)


def _wait_for_all() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


@contextmanager
def _capture_warnings(run: RunFolder, name: str) -> Iterator[None]:
    """Within it, a line for each warning is in `logs/<name>-notes.txt` of the run."""
    handler = _Notes(run, f"{name}-notes")
    logger = logging.getLogger(ROOT_LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, run: RunFolder, log: str) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._run, self._log = run, log
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        try:
            self._run.write_log(self._log, "\n".join(self._lines) + "\n")
        except OSError:
            self.handleError(record)  # a failing storage is reported by what must be written
