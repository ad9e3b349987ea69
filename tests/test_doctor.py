"""The doctor and the calibration on a CPU, and the doctor where only torch and diffusers are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import branchwise.trainables.dash as dash
from branchwise.cli import main as branchwise
from branchwise.commands import calibrate, doctor
from branchwise.orchestration.planning.plan import plan_new
from branchwise.orchestration.planning.rates import processor, read_rates
from branchwise.orchestration.space import load_space
from branchwise.trainables.dash.machine import checks
from branchwise.trainables.dash.machine.checks import MachineCheck, NotPossibleError, checked
from branchwise.trainables.runtime.storage import storage_at

# As on an image with CUDA, torch and little else; diffusers and pydantic are carried along.
BARE = """
import importlib.util
import sys

NAMES = {"ray", "torch_fidelity", "torchvision", "pandas", "pyarrow", "optuna", "sklearn", "matplotlib", "rich"}
find = importlib.util.find_spec


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in NAMES else find(name, *rest)
sys.path.insert(0, ".")
from branchwise.commands import doctor

sys.exit(doctor.main([], "doctor"))
"""


@pytest.mark.long(60)
def test_doctor_runs_where_only_torch_and_diffusers_are(root: Path) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", BARE], cwd=root, capture_output=True, text=True, timeout=500, env=environment
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[-1] == "4 passed, 0 failed, 4 not possible here"
    for passed in ("bf16 against fp32", "resumed bit for bit", "several workers", "golden values"):
        assert any(line.startswith("passed") and passed in line for line in lines), passed
    for impossible in ("a GPU that torch sees", "CPU and on the GPU", "`fast` against `exact`", "gpus_per_trial: 1"):
        assert any(line.startswith("not possible here") and impossible in line for line in lines), impossible


def test_crashing_check_fails_with_reason() -> None:
    def broken() -> str:
        raise RuntimeError("NCCL error\n  in ring")

    def impossible() -> str:
        raise NotPossibleError("there is one GPU")

    assert checked("a", broken) == MachineCheck("a", "failed", "NCCL error in ring")
    assert checked("b", impossible) == MachineCheck("b", "not possible here", "there is one GPU")
    assert checked("c", lambda: "fine") == MachineCheck("c", "passed", "fine")


@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_numbers_that_differ_fail(wrong: float) -> None:
    assert "within" in checks.agreement(1e-4, [1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"0\.0001 is allowed"):
        checks.agreement(1e-4, [1.0, wrong], [1.0, 2.0])


def test_workers_exceed_single_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(NotPossibleError, match="one GPU"):
        checks.workers_agree("cuda:0", dash.Spec.model_validate(checks.SMALL))


def test_doctor_runs_gpu_sweep_and_reports_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the command."""
    requested: list[Any] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        requested.append(command)
        return SimpleNamespace(returncode=code, stdout=lines, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    code, lines = 0, "Starting Ray\n10 of 10 arms done in 50 s.\n"
    assert doctor.smoke("cuda:0") == "10 of 10 arms done in 50 s."
    assert "resources.gpus_per_trial=1" in requested[0]
    code, lines = 3, "run_sweep: the teacher's training failed\n"
    assert checked("smoke", lambda: doctor.smoke("cuda:0")).detail.endswith("the teacher's training failed")


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "importable", lambda name: name != "diffusers")
    assert branchwise(["doctor"]) == 2
    assert capsys.readouterr().err == "branchwise doctor: diffusers cannot be imported; install what is missing\n"


def test_rates_of_processes_are_averaged() -> None:
    first, other = (
        [{"kind": "train", "seconds": 1.0}, {"kind": "teach", "seconds": 5.0}],
        [{"kind": "train", "seconds": 3.0}],
    )
    assert calibrate.average_rates([first, other]) == [{"kind": "train", "seconds": 2.0}]


@pytest.mark.long(90)
def test_calibrated_plans_use_measured_rates(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(root))  # of the processes that measure
    file = root / "search_spaces/smoke.yaml"
    assert branchwise(["calibrate", "--space", str(file), "--seconds", "4"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "cache/branchwise/rates") in printed
    rates = read_rates(processor())
    assert {"train", "teach", "sample", "features"} <= {rate["kind"] for rate in rates}
    assert all(rate["seconds"] > 0 for rate in rates)
    space = load_space(file)
    plan = plan_new(space, storage_at(tmp_path / "runs"), None)
    assert plan.device is not None
    assert plan.device.rates == rates
    estimate = space.module.cohort_cost([space.spec], plan.device, 1)
    assert estimate is not None
    assert estimate.measured == pytest.approx(1.0)
    from branchwise.commands import run_sweep

    assert run_sweep.main(["--space", str(file), "--dry-run", "--storage", str(tmp_path / "runs")]) == 0
    assert "by rates that `branchwise calibrate` measured" in " ".join(capsys.readouterr().out.split())


def test_what_measures_no_rates_is_refused(surface_space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert branchwise(["calibrate", "--space", str(surface_space), "--seconds", "1"]) == 2
    assert "surface has no measure_rates" in capsys.readouterr().err


@pytest.mark.long(60)
def test_benchmark_of_gpu_fills_its_table_on_cpu_too(root: Path) -> None:
    """The script, with minimal settings; its numbers here are meaningless."""
    small = [
        "--device",
        "cpu",
        "--batch",
        "2",
        "--steps",
        "1",
        "--arms",
        "1",
        "2",
        "--images",
        "2",
        "--sampler-steps",
        "2",
    ]
    command = [str(root / "benchmarks/gpu.sh"), *small, "--threads", "1"]
    environment = os.environ | {"PYTHON": sys.executable}
    ran = subprocess.run(command, cwd=root.parent, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for row in (
        "the plain way, fp32",
        "ours, exact, fp32",
        "ours, fast, bf16",
        "cohort of 2, an arm",
        "2 images of the",
    ):
        assert row in ran.stdout, row
