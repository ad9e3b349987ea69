"""A job as it travels to a worker, and the context that a worker runs it in.

What a worker leaves it writes to the storage itself, each file whole: an arm is finished when its record exists. A
lost driver, actor or node costs only the steps since the last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.contract import Arm, Cohort, Context, Result, Trainable
from branchwise.trainables.runtime.loading import load_trainable
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import Measurements, RunFolder
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.shared_models import FeatureNetStore, TeacherStore
from branchwise.trainables.runtime.stopping import Stopping, is_kept
from branchwise.trainables.runtime.storage import Storage

REPORT_SECONDS = 1.0  # at least this long between two reports of a worker
# The cohorts, without arms, that train a teacher and a feature net. An arm called TEACHER is the teacher, measured.
TEACHER, FEATURES = "teacher", "features"

JobKind = Literal["cohort", "measurement", "teacher", "features"]
Publish = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Settings shared by the cohorts of a sweep or measurement, or to train a shared model.

    Shared models are teachers and feature nets. Plain values only: it travels to other machines.
    """

    kind: JobKind = "cohort"
    trainable: str
    spec: Mapping[str, Any]  # the space's settings, before any patch; of a shared model, those that request it
    storage: str  # the folder of runs and teachers
    run: str = ""  # the name of the run
    key: str = ""  # the address of the teacher or feature net to train
    workers: int  # Ray Train workers a trial; 0: inline
    threads: int  # CPUs of each
    gpus: float  # of each worker, or of the Tune actor: 0, 1 or a part of a shared GPU
    stopping: Stopping | None = None  # of arms of a search that are behind
    folder: str = ""  # of the space
    function_key: str = ""  # of the cluster's key-value store, under which the function of a Python session travels

    def module(self) -> Trainable:
        return load_trainable(self.trainable, self.spec, self.folder)

    def base_spec(self) -> Any:
        return self.module().Spec.model_validate(self.spec)

    def run_folder(self) -> RunFolder:
        return RunFolder(Storage(self.storage), self.run)

    def measurements(self) -> Measurements:
        return Measurements(self.run_folder())

    def teachers(self) -> TeacherStore:
        return TeacherStore(Storage(self.storage))

    def feature_nets(self) -> FeatureNetStore:
        return FeatureNetStore(Storage(self.storage))

    def work_folder(self) -> RunFolder:
        """The folder of its progress, checkpoints and logs."""
        if self.kind == "teacher":
            return self.teachers().unfinished(self.key)
        if self.kind == "features":
            return self.feature_nets().unfinished(self.key)
        return self.measurements().work() if self.kind == "measurement" else self.run_folder()

    def is_finished(self, arm: Arm) -> bool:
        """Whether the result of an arm is stored, so that it need not be trained or measured."""
        if self.kind != "measurement":
            return self.run_folder().has_record(arm.name)
        settings = self.module().evaluation_key(arm.spec)
        if arm.name == TEACHER:
            return self.teachers().read_evaluation(str(arm.teacher), settings) is not None
        return self.measurements().folder(settings).has_record(arm.name)


def serialize_cohort(cohort: Cohort) -> dict[str, Any]:
    """The cohort as plain values for a worker, independent of how Ray serializes them."""
    return {"name": cohort.name, "out_of": cohort.out_of, "arms": [arm.described() for arm in cohort.arms]}


def cohort_of(config: Mapping[str, Any], job: Job) -> Cohort:
    """The cohort that `serialize_cohort` described."""
    base = job.base_spec()
    arms = (Arm(name=arm["arm"], spec=patched(base, arm["patch"]), **_rest(arm)) for arm in config["arms"])
    return Cohort(name=config["name"], out_of=config["out_of"], arms=tuple(arms))


def _rest(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arm.items() if key != "arm"}


def record_of(arm: Arm, cohort: str, result: Result) -> dict[str, Any]:
    """Return the record of a finished arm: the arm, the cohort it ran in, and its result."""
    return {**arm.described(), "trial": cohort, **asdict(result)}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """This process's rank among a job's workers, and its device."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"


ALONE = Placement()


@contextmanager
def worker_context(
    cohort: Cohort, job: Job, placement: Placement = ALONE, publish: Publish | None = None
) -> Iterator[Context]:
    """The context of a cohort, which has no arms where a teacher or a feature net is trained.

    `publish` passes each report on.
    """
    has_started, last_report = time.time(), 0.0
    clock = time.monotonic()  # durations: the time of day may be set meanwhile
    first: Mapping[str, Any] = {}  # the first report of the phase
    run, name, rank = job.work_folder(), cohort.name, placement.rank
    arms = [{"arm": a.name, "cell": a.cell, "block": a.block, "across": dict(a.across)} for a in cohort.arms]

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal first, last_report
        if rank == 0 and time.monotonic() - last_report >= REPORT_SECONDS:
            last_report = time.monotonic()
            if first.get("phase") != progress["phase"]:
                first = {**progress, "clock": last_report}
            steps, seconds = progress["step"] - first["step"], last_report - first["clock"]
            rate = {"steps_per_second": steps / seconds} if steps and seconds else {}
            run.write_progress(name, {**rate, **progress, "arms": arms, "begun": has_started, "time": time.time()})
            if publish:
                publish(progress)

    def load() -> bytes | None:
        return _checkpoint(run, name) or (_checkpoint(run, cohort.out_of) if cohort.out_of else None)

    def finish(arm: Arm, result: Result, student: Path | None) -> None:
        if run.has_record(arm.name):
            return  # a worker of a driver that was killed was quicker; what is finished is never replaced
        if student is not None:
            run.put_model(arm.name, student)
        run.write_record(arm.name, {**record_of(arm, name, result), "seconds": time.monotonic() - clock})
        run.delete_workspace(arm.name)

    def should_continue(arm: Arm, step: int, value: float) -> bool:
        if job.stopping is None or arm.kind != "search":
            return True
        kept = rank == 0 and is_kept(job.stopping, run, arm.cell, arm.name, step, value)
        # torch is not imported for a single worker
        return _broadcast_from_rank0(kept) if placement.world_size > 1 else kept

    def log(arm: Arm, text: str) -> None:
        run.write_log(arm.name, text)

    with scratch_folder() as scratch:
        yield Context(
            rank=rank,
            world_size=placement.world_size,
            device=placement.device,
            threads=job.threads,
            scratch=scratch,
            teacher=None if cohort.teacher is None else _teacher_folder(job, cohort.teacher, scratch),
            report=report,
            save=lambda content: run.write_checkpoint(name, content),
            load=load,
            finish=finish,
            rungs=job.stopping.rungs if job.stopping else (),
            should_continue=should_continue,
            workspaces=run.workspaces(),
            log=log,
        )


def with_evaluation(context: Context, job: Job, spec: Any, teacher: str | None) -> Context:
    """Return the context for measuring under `spec`.

    It has the teacher's evaluation, if there is one, and the feature net.
    """
    trainable, teachers = job.module(), job.teachers()
    evaluation, files, features = None, None, None
    if teacher is not None:
        settings = trainable.evaluation_key(spec)
        evaluation = teachers.read_evaluation(teacher, settings)
        files = teachers.get_evaluation_files(teacher, settings, context.scratch)
    if (net := trainable.features_key(spec)) is not None:
        features = job.feature_nets().get(net, context.scratch / "features")
    return replace(context, evaluation=evaluation or {}, evaluation_files=files, features=features)


def _teacher_folder(job: Job, key: str, scratch: Path) -> Path:
    """A local folder with the teacher. Raises FileNotFoundError and DamagedError."""
    try:
        return job.teachers().get(key, scratch)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{job.teachers().path(key)}: not found; the teacher was deleted during the run, and `branchwise resume` "
            "trains it again"
        ) from error


def _checkpoint(run: RunFolder, name: str) -> bytes | None:
    """Return the checkpoint of a cohort or teacher; log a damaged one and skip it."""
    try:
        return run.read_checkpoint(name)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        run.write_log(f"{name}-checkpoint", f"{error}; {name} starts from the beginning\n")
        return None


def _broadcast_from_rank0(value: bool) -> bool:
    """The value of rank 0, on each rank."""
    import torch.distributed

    values = [value]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(values)
    return values[0]
