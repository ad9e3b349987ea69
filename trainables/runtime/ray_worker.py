"""The one file here that knows Ray: runs a cohort or trains a teacher, inline in a Tune actor or on Ray Train workers.

What a worker leaves it writes to the storage itself, each file whole: an arm is finished when its record exists. So
nothing is lost with a driver, an actor or a node but the steps since the last checkpoint.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.contract import Arm, Cohort, Context, Result, Trainable
from branchwise.trainables.runtime import session
from branchwise.trainables.runtime.loading import load_trainable
from branchwise.trainables.runtime.notes import capture_warnings
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import FeatureNets, RunFolder, Teachers
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.stopping import Stopping, keep
from branchwise.trainables.runtime.storage import Storage

REPORT_SECONDS = 1.0  # at least this long between two reports of a worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all cohorts of a sweep have in common, or what a teacher's training needs. Plain values only: it travels to
    other machines."""

    trainable: str
    spec: Mapping[str, Any]  # the space's settings, before any patch; of a teacher: those that ask for it
    storage: str  # the folder of runs and teachers
    run: str  # the name of the run
    workers: int  # Ray Train workers a trial; 0: inline
    threads: int  # CPUs of each
    gpus: float  # of each worker, or of the Tune actor: 0, 1 or a part of a shared GPU
    stopping: Stopping | None = None  # of arms of a search that are behind
    folder: str = ""  # where the space lies
    function_key: str = ""  # of the cluster's key-value store, under which the function of a Python session travels

    def module(self) -> Trainable:
        if self.function_key and not session.is_registered(self.trainable):
            _receive_function(self.trainable, self.function_key)
        return load_trainable(self.trainable, self.spec, self.folder)

    def base_spec(self) -> Any:
        return self.module().Spec.model_validate(self.spec)

    def run_folder(self) -> RunFolder:
        return RunFolder(Storage(self.storage), self.run)

    def teachers(self) -> Teachers:
        return Teachers(Storage(self.storage))

    def feature_nets(self) -> FeatureNets:
        return FeatureNets(Storage(self.storage))


def send_function(trainable: str) -> str:
    """Put a function of this Python session into the cluster's key-value store; return its key.

    It is stored in memory only: no file holds a pickle.
    """
    from ray import cloudpickle
    from ray.experimental.internal_kv import _internal_kv_put

    content = cloudpickle.dumps(session.lookup(trainable))  # type: ignore[no-untyped-call]
    key = f"branchwise:{trainable}:{hashlib.sha256(content).hexdigest()}"
    _internal_kv_put(key, content)
    return key


def _receive_function(trainable: str, key: str) -> None:
    from ray import cloudpickle
    from ray.experimental.internal_kv import _internal_kv_get

    session.register(cloudpickle.loads(_internal_kv_get(key)), trainable.removeprefix(session.PREFIX))


TEACHER = "teacher"  # the name under which a teacher in training reports and saves


def serialize_cohort(cohort: Cohort) -> dict[str, Any]:
    """The cohort as it travels to a worker: plain values, which are read alike whatever Ray makes of them."""
    return {"name": cohort.name, "out_of": cohort.out_of, "arms": [arm.described() for arm in cohort.arms]}


def cohort_of(config: Mapping[str, Any], job: Job) -> Cohort:
    """The cohort that `serialize_cohort` described."""
    base = job.base_spec()
    arms = (Arm(name=arm["arm"], spec=patched(base, arm["patch"]), **_rest(arm)) for arm in config["arms"])
    return Cohort(name=config["name"], out_of=config["out_of"], arms=tuple(arms))


def _rest(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arm.items() if key != "arm"}


def run_trial(config: Mapping[str, Any], job: Job) -> None:
    """Trains the arms of a Tune trial that have no result yet; `config` is from `serialize_cohort`."""
    run = job.run_folder()
    missing = [arm for arm in config["arms"] if not run.has_record(arm["arm"])]
    if not missing:
        return
    cohort = {**config, "arms": missing}
    if job.workers:
        train_on_workers(_cohort_loop, {"cohort": cohort, "job": job}, job, run, config["name"])
    else:
        # Ray shows an actor the GPU it reserved for it, and no other.
        device = "cuda:0" if job.gpus else "cpu"
        run_cohort_in_process(cohort_of(cohort, job), job, rank=0, world_size=1, device=device, publish=report_to_tune)


def train_on_workers(
    loop: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    job: Job,
    folder: RunFolder,
    name: str,
    max_failures: int = 0,
) -> None:
    """Runs `loop(config)` on the job's Ray Train workers and waits. Raises ray.train.TrainingFailedError."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=job.workers,
            use_gpu=job.gpus > 0,
            resources_per_worker={"CPU": job.threads} | ({"GPU": job.gpus} if job.gpus else {}),
        ),
        run_config=RunConfig(
            # The dashboard shows it; a number, since our own checkpoints decide what is resumed, not Ray's.
            name=f"{folder.name.removesuffix('.unfinished')}-{name}-{time.time_ns()}",
            storage_path=folder.train_path(),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    ).fit()


def teacher_loop(config: dict[str, Any]) -> None:
    """On each Ray Train worker: trains the teacher of this key unless it is there, and evaluates it."""
    job: Job = config["job"]
    key: str = config["key"]
    trainable, spec, teachers = job.module(), job.base_spec(), job.teachers()
    rank, world_size, device = worker_placement()
    placement: dict[str, Any] = {"rank": rank, "world_size": world_size, "device": device}
    with worker_context(
        Cohort(name=TEACHER, arms=()), job, teachers.unfinished(key), publish=None, **placement
    ) as context:
        refuse_changed(key, trainable.teacher_key(spec))
        if not teachers.trained(key):
            out = context.scratch / "teacher"
            trainable.train_teacher(spec, out, context)
            # A worker of a driver that was killed may have been quicker; a finished teacher is never replaced.
            if rank == 0 and not teachers.trained(key):
                teachers.put(out, key)
        wait_for_all()
        folder = teachers.get(key, context.scratch)
        values = evaluate_teacher(trainable, spec, folder, context)
        if rank == 0:
            teachers.write_evaluation(key, trainable.evaluation_key(spec), *values)
    report_to_train({"value": float(values[0]["value"])})


def evaluate_teacher(trainable: Trainable, spec: Any, folder: Path, context: Context) -> tuple[Mapping[str, Any], Path]:
    """What the trainable measures of the teacher in `folder`, and the folder of the files that it leaves."""
    files = Path(tempfile.mkdtemp(dir=context.scratch, prefix="evaluation-"))
    return trainable.evaluate_teacher(spec, folder, replace(context, evaluation_files=files)), files


def refuse_changed(planned: str, config: str | None) -> None:
    """Raises ValueError when the settings and data have another address on this worker than they had in the plan."""
    if config != planned:
        raise ValueError("the data were changed after the run was planned, or are others on this machine")


def _cohort_loop(config: dict[str, Any]) -> None:
    rank, world_size, device = worker_placement()
    cohort = cohort_of(config["cohort"], config["job"])
    run_cohort_in_process(cohort, config["job"], rank=rank, world_size=world_size, device=device, publish=None)
    report_to_train({"arms": len(cohort.arms)})


def run_cohort_in_process(
    cohort: Cohort, job: Job, *, publish: Callable[..., None] | None, rank: int, **placement: Any
) -> None:
    run = job.run_folder()
    provided = worker_context(cohort, job, run, publish=publish, rank=rank, **placement)
    with capture_warnings(run, f"{cohort.name}-{rank}" if rank else cohort.name), provided as context:
        job.module().run_cohort(cohort.arms, context)
    if rank == 0:
        run.delete_checkpoint(cohort.name)


@contextmanager
def worker_context(
    cohort: Cohort,
    job: Job,
    run: RunFolder,
    *,
    rank: int,
    world_size: int,
    device: str,
    publish: Callable[..., None] | None,
    needs_features: bool = True,
) -> Iterator[Context]:
    """The context of a cohort, or of the teacher, which is a cohort without arms; `publish` passes each report on.

    `needs_features`: whether something is measured, for which a feature net may have to be there.
    """
    has_started, last_report = time.time(), 0.0
    clock = time.monotonic()  # durations: the time of day may be set meanwhile
    first: Mapping[str, Any] = {}  # the first report of the phase
    name = cohort.name
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

    def keeps(arm: Arm, step: int, value: float) -> bool:
        if job.stopping is None or arm.kind != "search":
            return True
        kept = rank == 0 and keep(job.stopping, run, arm.cell, arm.name, step, value)
        return _broadcast_from_rank0(kept) if world_size > 1 else kept  # torch is not imported for a single worker

    with scratch_folder() as scratch:
        folder, evaluation, files = None, None, None
        if cohort.teacher is not None:
            folder = _teacher_folder(job, cohort.teacher, scratch)
            settings = job.module().evaluation_key(cohort.arms[0].spec)
            evaluation = job.teachers().read_evaluation(cohort.teacher, settings)
            if evaluation is None and needs_features:
                raise ValueError(
                    f"{job.teachers().path(cohort.teacher)} has no evaluation under the settings and data of "
                    f"{cohort.arms[0].name}: the data were changed while the run went on, or are others on this machine"
                )
            files = job.teachers().get_evaluation_files(cohort.teacher, settings, scratch)
        features = None
        measured = cohort.arms[0].spec if cohort.arms else job.base_spec()  # a teacher's job has the teacher's settings
        if needs_features and (net := job.module().features_key(measured)) is not None:
            features = job.feature_nets().get(net, scratch)
        yield Context(
            rank=rank,
            world_size=world_size,
            device=device,
            threads=job.threads,
            scratch=scratch,
            teacher=folder,
            evaluation=evaluation or {},
            evaluation_files=files,
            report=report,
            save=lambda content: run.write_checkpoint(name, content),
            load=load,
            finish=finish,
            rungs=job.stopping.rungs if job.stopping else (),
            keep=keeps,
            features=features,
            workspaces=run.workspaces(),
            log=lambda arm, text: _log(run, arm, text),
        )


def _teacher_folder(job: Job, key: str, scratch: Path) -> Path:
    """A local folder with the teacher. Raises FileNotFoundError and DamagedError."""
    try:
        return job.teachers().get(key, scratch)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{job.teachers().path(key)}: not found; the teacher was deleted during the run, and `branchwise resume` "
            "trains it again"
        ) from error


def _log(run: RunFolder, arm: Arm, text: str) -> None:
    run.write_log(arm.name, text)


def record_of(arm: Arm, cohort: str, result: Result) -> dict[str, Any]:
    """What the run folder keeps of a finished arm: the arm itself, the cohort it ran in, and its result."""
    return {**arm.described(), "trial": cohort, **asdict(result)}


def _checkpoint(run: RunFolder, name: str) -> bytes | None:
    """The checkpoint of a cohort or teacher; a damaged checkpoint is noted in the logs and skipped."""
    try:
        return run.read_checkpoint(name)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        run.write_log(f"{name}-checkpoint", f"{error}; {name} starts from the beginning\n")
        return None


def worker_placement() -> tuple[int, int, str]:
    """This Ray Train worker's rank, the number of workers, and its device."""
    import ray.train
    import ray.train.torch

    worker = ray.train.get_context()
    return worker.get_world_rank(), worker.get_world_size(), str(ray.train.torch.get_device())


def wait_for_all() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _broadcast_from_rank0(answer: bool) -> bool:
    """The answer of rank 0, on each rank."""
    import torch.distributed

    lines = [answer]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(lines)
    return lines[0]


def report_to_tune(progress: Mapping[str, Any]) -> None:
    from ray import tune

    tune.report(dict(progress))


def report_to_train(metrics: Mapping[str, Any]) -> None:
    import ray.train

    ray.train.report(dict(metrics))
