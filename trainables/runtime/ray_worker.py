"""The one file here that knows Ray: runs a cohort or trains a teacher, inline in a Tune actor or on Ray Train workers.

What a worker leaves behind it writes to the storage itself, each file whole: an arm is finished when
`arms/<arm>.json` exists. So nothing is lost with a driver, an actor or a node but the steps since the last checkpoint.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from branchwise.trainables import Arm, Context, Result, load_trainable
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.stopping import Stopping, keep
from branchwise.trainables.runtime.storage import DamagedError, Storage

REPORT_SECONDS = 1.0  # at least this long between two reports of a worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every trial of a sweep has in common. Plain values only: it travels to other machines."""

    trainable: str
    spec: Mapping[str, Any]  # the space's own settings, before any patch
    run: str  # the run folder; for a teacher, the folder of what its unfinished training left
    teachers: str  # the folder of all teachers
    teacher: str | None  # the key of this sweep's
    workers: int  # Ray Train workers a trial; 0: inline
    threads: int  # CPUs of each
    gpu: bool
    stopping: Stopping | None = None  # of arms of a search that are behind

    def base_spec(self) -> Any:
        return load_trainable(self.trainable).Spec.model_validate(self.spec)


def run_trial(config: Mapping[str, Any], job: Job) -> None:
    """Trains the arms of one Tune trial that have no result yet. `config`: {"trial", "arms": [{name, seed, patch}]},
    each arm of a search with its "study"; and for an arm taken out of its cohort, {"out_of": the cohort's trial}, from
    whose checkpoint it goes on."""
    run = Storage(job.run)
    missing = [arm for arm in config["arms"] if not run.exists(f"arms/{arm['name']}.json")]
    if not missing:
        return
    cohort = {**config, "arms": missing}
    if job.workers:
        train_on_workers(_cohort_loop, {"cohort": cohort, "job": job}, job, config["trial"])
    else:
        _run_cohort(cohort, job, rank=0, world_size=1, device="cpu", publish=_report_to_tune)


def train_on_workers(
    loop: Callable[[dict[str, Any]], None], config: dict[str, Any], job: Job, name: str, max_failures: int = 0
) -> None:
    """Runs `loop(config)` on the job's Ray Train workers and waits. Raises ray.train.TrainingFailedError."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=job.workers,
            use_gpu=job.gpu,
            resources_per_worker={"CPU": job.threads} | ({"GPU": 1} if job.gpu else {}),
        ),
        run_config=RunConfig(
            # The dashboard shows it; a number, since our own checkpoints decide what is resumed, not Ray's.
            name=f"{Path(job.run).name.removesuffix('.unfinished')}-{name}-{time.time_ns()}",
            storage_path=Storage(job.run).path("ray/train"),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    ).fit()


def teacher_loop(config: dict[str, Any]) -> None:
    """On each Ray Train worker: trains the teacher unless it is there, and evaluates it."""
    import ray.train

    job: Job = config["job"]
    trainable, spec = load_trainable(job.trainable), job.base_spec()
    teachers, key = Storage(job.teachers), job.teacher
    rank, world_size, device = _place()
    with _context("teacher", job, {}, rank=rank, world_size=world_size, device=device, publish=None) as context:
        if not teachers.has_folder(str(key)):
            out = context.scratch / "teacher"
            trainable.train_teacher(spec, out, context)
            # A worker of a driver that was killed may have been quicker; a finished teacher is never replaced.
            if rank == 0 and not teachers.has_folder(str(key)):
                teachers.put_folder(out, str(key))
        _wait_for_all()
        folder = teachers.get_folder(str(key), context.scratch)
        values = trainable.evaluate_teacher(spec, folder, context)
        if rank == 0:
            teachers.write_json(f"{key}/evaluations/{trainable.evaluation_key(spec)}.json", values)
    ray.train.report({"value": float(values["value"])})


def _cohort_loop(config: dict[str, Any]) -> None:
    import ray.train

    rank, world_size, device = _place()
    _run_cohort(config["cohort"], config["job"], rank=rank, world_size=world_size, device=device, publish=None)
    ray.train.report({"arms": len(config["cohort"]["arms"])})


def _run_cohort(
    config: Mapping[str, Any], job: Job, *, publish: Callable[..., None] | None, rank: int, **place: Any
) -> None:
    base, trial = job.base_spec(), config["trial"]
    arms = [Arm(name=arm["name"], seed=arm["seed"], spec=patched(base, arm["patch"])) for arm in config["arms"]]
    described = {arm["name"]: arm for arm in config["arms"]}
    with _context(trial, job, described, out_of=config.get("out_of"), publish=publish, rank=rank, **place) as context:
        load_trainable(job.trainable).run_cohort(arms, context)
    if rank == 0:
        Storage(job.run).delete(f"checkpoints/{trial}")


@contextmanager
def _context(
    name: str,
    job: Job,
    described: Mapping[str, Mapping[str, Any]],
    *,
    rank: int,
    world_size: int,
    device: str,
    publish: Callable[..., None] | None,
    out_of: str | None = None,
) -> Iterator[Context]:
    """The context of the cohort or teacher called `name`; `described` are its arms, `publish` passes each report on."""
    run = Storage(job.run)
    scratch = Path(tempfile.mkdtemp(prefix="branchwise-"))
    begun, last_report = time.time(), 0.0
    first: Mapping[str, Any] = {}  # the first report of the phase

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal first, last_report
        if rank == 0 and time.monotonic() - last_report >= REPORT_SECONDS:
            last_report = time.monotonic()
            now = time.time()
            if first.get("phase") != progress["phase"]:
                first = {**progress, "time": now}
            steps, seconds = progress["step"] - first["step"], now - first["time"]
            rate = {"steps_per_second": steps / seconds} if steps and seconds else {}
            about = {"arms": list(described), "begun": begun, "time": now}
            run.write_json(f"progress/{name}.json", {**rate, **progress, **about})
            if publish:
                publish(progress)

    def load() -> bytes | None:
        return _checkpoint(run, name) or (_checkpoint(run, out_of) if out_of else None)

    def finish(arm: Arm, result: Result, student: Path | None) -> None:
        if run.exists(f"arms/{arm.name}.json"):
            return  # a worker of a driver that was killed was quicker; what is finished is never replaced
        if student is not None:
            run.put_folder(student, f"students/{arm.name}")
        about = {"arm": arm.name, "trial": name, "patch": described[arm.name]["patch"]}
        about["seconds"] = time.time() - begun
        run.write_json(f"arms/{arm.name}.json", {**about, **asdict(result)})

    def keeps(arm: Arm, step: int, value: float) -> bool:
        study = described[arm.name].get("study")
        if job.stopping is None or study is None:
            return True
        return _told_by_first(rank == 0 and keep(job.stopping, run, study, arm.name, step, value))

    try:
        folder = None
        if job.teacher is not None and name != "teacher":
            folder = Storage(job.teachers).get_folder(job.teacher, scratch)
        yield Context(
            rank=rank,
            world_size=world_size,
            device=device,
            threads=job.threads,
            scratch=scratch,
            teacher=folder,
            report=report,
            save=lambda content: run.write_sealed(f"checkpoints/{name}", content),
            load=load,
            finish=finish,
            rungs=job.stopping.rungs if job.stopping else (),
            keep=keeps,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _checkpoint(run: Storage, name: str) -> bytes | None:
    """The checkpoint of a cohort or teacher; a damaged one is told of in the logs and passed over."""
    try:
        return run.read_sealed(f"checkpoints/{name}")
    except FileNotFoundError:
        return None
    except DamagedError as error:
        run.write(f"logs/{name}-checkpoint.txt", f"{error}; {name} begins anew\n".encode())
        return None


def _place() -> tuple[int, int, str]:
    """This Ray Train worker's rank, the number of workers, and its device."""
    import ray.train
    import ray.train.torch

    worker = ray.train.get_context()
    return worker.get_world_rank(), worker.get_world_size(), str(ray.train.torch.get_device())


def _wait_for_all() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _told_by_first(answer: bool) -> bool:
    """The answer of rank 0, on every rank."""
    import torch.distributed

    told = [answer]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(told)
    return told[0]


def _report_to_tune(progress: Mapping[str, Any]) -> None:
    from ray import tune

    tune.report(dict(progress))
