"""GPUs are reserved as they are used, a part of a GPU for a single process, and missing GPUs are named at once.

The test machine has no GPU: Ray is configured with a GPU, and nvidia-smi is a script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import patience

from branchwise.cli import main as branchwise
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning.machine import Cluster, gpu_names, machine, shortages, slots
from branchwise.orchestration.space import load_space
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.job import Job
from branchwise.trainables.runtime.ray_worker import run_on_workers


def asking(gpus: float, workers: int, cpus: int = 1) -> list[str]:
    return [
        f"resources.gpus_per_trial={gpus}",
        f"resources.workers={workers}",
        f"resources.cpus_per_trial={cpus}",
    ]


@pytest.mark.parametrize(("gpus", "workers"), [(2, 0), (2, 1), (1.5, 1), (1, 2), (0.5, 2), (3, 2)])
def test_gpus_that_workers_cannot_use_are_refused(surface_space: Path, gpus: float, workers: int) -> None:
    with pytest.raises(UserError, match=f"resources: gpus_per_trial {gpus:g} is not allowed with workers {workers}"):
        load_space(surface_space, asking(gpus, workers))


@pytest.mark.parametrize(
    ("gpus", "workers", "of_each", "at_a_time"),
    [(0, 0, 0, 8), (1, 0, 1, 4), (1, 1, 1, 4), (0.5, 1, 0.5, 8), (0.3, 0, 0.3, 8), (2, 2, 1, 2), (4, 4, 1, 1)],
)
def test_as_many_trials_run_as_gpus_hold(
    surface_space: Path, gpus: float, workers: int, of_each: float, at_a_time: int
) -> None:
    space = load_space(surface_space, asking(gpus, workers))
    assert space.resources.gpus_per_worker == of_each
    assert slots(space, Cluster(nodes=(8,), gpus=4, dashboard="")) == at_a_time


def test_fractional_gpu_is_on_single_gpu(surface_space: Path) -> None:
    space = load_space(surface_space, asking(0.6, 1))
    assert slots(space, Cluster(nodes=(8,), gpus=3, dashboard="")) == 3, "0.4 of each are left over"


def test_scarce_resources_are_named(surface_space: Path) -> None:
    space = load_space(surface_space, asking(4, 4, cpus=4))
    assert slots(space, Cluster(nodes=(3,), gpus=0, dashboard="")) == 0
    cpus, gpus = shortages(space, Cluster(nodes=(3,), gpus=0, dashboard=""))
    assert cpus == "resources.workers: 4 is not allowed here: the machines have room for 3 of 1 CPUs each"
    assert gpus == "resources.gpus_per_trial: 4 is not allowed here: there is no GPU"
    (few,) = shortages(space, Cluster(nodes=(8,), gpus=2, dashboard=""))
    assert few == "resources.gpus_per_trial: 4 is not allowed here: the machines have 2 GPUs"
    assert shortages(space, Cluster(nodes=(4,), gpus=4, dashboard="")) == []


def test_dry_run_names_all_that_is_missing_and_exits_with_2(
    sweep: Callable[..., tuple[int, str]], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("BRANCHWISE_INCEPTION_WEIGHTS", str(tmp_path / "nowhere.pth"))
    settings = ["--set", f"data.path={tmp_path}", "--set", "resources.cpus_per_trial=4096"]
    space = ["--space", root / "search_spaces/cifar10_quick.yaml", "--storage", tmp_path / "runs", *settings]
    code, output = sweep(*space, "--dry-run")
    assert code == 2
    message = " ".join(output.split())
    for missing in ("resources.cpus_per_trial", "resources.gpus_per_trial", "data: cifar10 is not in", "nowhere.pth"):
        assert missing in message, message
    code, output = sweep(*space)
    assert (code, len(output.splitlines())) == (2, 1), output
    assert not (tmp_path / "runs").exists()


def test_teacher_on_gpus_needs_gpus(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    space = str(root / "search_spaces/smoke.yaml")
    gpu = ["--set", "resources.gpus_per_trial=1", "--set", "resources.workers=1"]
    assert branchwise(["train-teacher", "--space", space, "--storage", str(tmp_path / "runs"), *gpu]) == 2
    assert "resources.gpus_per_trial: 1 is not allowed here: there is no GPU" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("", 0), ("1", 1), ("0,1", 2), ("-1", 0)])
def test_gpus_are_counted_by_their_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3'\necho 'NVIDIA H100 80GB HBM3'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names() == ("NVIDIA H100 80GB HBM3",) * count
    assert machine().gpus == count


def test_driver_that_fails_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate'\nexit 9\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_names() == ()


def job_of(storage: Path, workers: int, gpus: float, trainable: str = "surface") -> Job:
    return Job(
        trainable=trainable,
        spec={},
        storage=str(storage),
        run="run",
        workers=workers,
        threads=1,
        gpus=gpus,
    )


@pytest.mark.parametrize("gpus", [0.0, 0.5, 1.0])
def test_each_worker_requests_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float) -> None:
    """Up to where Ray Train would start NCCL on the GPU."""
    import ray.train.torch

    requested: dict[str, Any] = {}

    def trainer(loop: object, **options: Any) -> SimpleNamespace:
        requested.update(options)
        return SimpleNamespace(fit=lambda: None)

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", trainer)
    run_on_workers(Cohort(name="t0000", arms=()), job_of(tmp_path, 2, gpus))
    scaling = requested["scaling_config"]
    assert scaling.num_workers == 2
    assert scaling.use_gpu == (gpus > 0)
    assert scaling.resources_per_worker == {"CPU": 1} | ({"GPU": gpus} if gpus else {})


WHERE = '''"""The surface, which also tells on which device it ran and which GPU Ray gave it."""

import dataclasses, time
from branchwise.trainables.surface import *  # noqa: F403
from branchwise.trainables.surface import run_cohort as run_surface


def run_cohort(arms, context):
    import ray

    begun = time.time()
    time.sleep(3)

    def finish(arm, result, folder):
        told = {"device": context.device, "trail": f"{ray.get_gpu_ids()} {begun} {time.time()}"}
        context.finish(arm, dataclasses.replace(result, values={**result.values, **told}), folder)

    run_surface(arms, dataclasses.replace(context, finish=finish))
'''

HALVES = """
import json, sys
import ray
from branchwise.orchestration.execution.trials import run_cohorts
from branchwise.orchestration.planning.machine import Cluster, slots
from branchwise.orchestration.space import load_space
from branchwise.trainables import Cohort
from branchwise.trainables.runtime.job import Job

space_file, storage = sys.argv[1:]
space = load_space(space_file)
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
at_a_time = slots(space, Cluster(nodes=(2,), gpus=1, dashboard=""))
arms = space.design.arms(space.method, {})[:2]
cohorts = [Cohort(name=f"t{number}", arms=(arm,)) for number, arm in enumerate(arms)]
job = Job(trainable=space.trainable, spec=space.spec.model_dump(mode="json"), storage=storage, run="run",
          workers=0, threads=1, gpus=space.resources.gpus_per_worker)
run_cohorts(cohorts, job, space.resources, at_a_time)
run = job.run_folder()
print(json.dumps([run.read_record(arm.name)["values"] for arm in arms]))
"""


@pytest.mark.slow(40)
def test_two_trials_share_gpu_and_train_on_it(surface_space: Path, root: Path, tmp_path: Path) -> None:
    """Real Ray, configured with a single GPU: both trials hold half of it, at the same time, and train on `cuda:0`."""
    (tmp_path / "where_it_runs.py").write_text(WHERE)
    surface_space.write_text(
        surface_space.read_text().replace("trainable: surface", "trainable: where_it_runs")
        + "resources: {gpus_per_trial: 0.5}\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{root}:{tmp_path}", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", HALVES, str(surface_space), str(tmp_path / "runs")]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=patience(240))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    data = json.loads(ran.stdout.splitlines()[-1])
    assert [values["device"] for values in data] == ["cuda:0", "cuda:0"]
    spans = [values["trail"].rsplit(" ", 2) for values in data]
    assert [gpus for gpus, _, _ in spans] == ["[0]", "[0]"]
    (_, has_started, finished), (_, started_2, finished_2) = spans
    assert float(has_started) < float(finished_2)
    assert float(started_2) < float(finished)
