"""bf16 against fp32, and the nets of the paper at their full size.

CIFAR is not on this machine: random images replace it, which checks that training runs, not how well.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.evaluation import features, reference_set
from branchwise.trainables.dash.nets import checkpoint, unet
from branchwise.trainables.dash.settings.spec import UNet
from branchwise.trainables.dash.training import cohort
from branchwise.trainables.runtime.settings import patched

CIFAR_NETS: dict[str, Any] = {
    "data": {"name": "cifar10"},
    "teacher": {"channels": [128, 256, 256, 256], "res_blocks": 2, "attention_at": [16], "dropout": 0.1, "steps": 1},
    "student": {"channels": [64, 128, 128, 128], "res_blocks": 1, "attention_at": [16], "dropout": 0.1},
    "train": {"steps": 100, "batch_size": 2, "log_every": 10},
    "method": {"snr_weighting": "authors"},
    "evaluate": {"samples": 10_000},
}


def test_bf16_losses_are_those_of_fp32_within_its_precision(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path
) -> None:
    curves = {}
    for precision in ("fp32", "bf16"):
        (tmp_path / precision).mkdir()
        arm = Arm(name=precision, seed=0, spec=patched(spec, {"train.precision": precision}))
        dash.run_cohort([arm], calls.context(tmp_path / precision, teacher_folder))
        curves[precision] = calls.results[precision].tables["curves"]
    for exact, rounded in zip(curves["fp32"], curves["bf16"], strict=True):
        assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.03)
    assert curves["fp32"] != curves["bf16"]
    state = checkpoint.from_bytes(calls.checkpoints[1], "cpu")["arms"]["bf16"]
    assert {value.dtype for value in state["weights"].values()} == {torch.float32}


@pytest.fixture
def cifar_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untrained teacher of the paper's size, and random images in place of CIFAR-10, without evaluation."""
    images = torch.randint(0, 256, (256, 3, 32, 32), dtype=torch.uint8)

    def load(settings: Any, device: str) -> datasets.Dataset:
        return datasets.Dataset(images.to(device), (torch.arange(256) % 10).to(device), classes=10)

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(datasets, "load_holdout", load)
    monkeypatch.setattr(features, "extractor_of", lambda spec, device, folder: None)
    monkeypatch.setattr(reference_set, "get", lambda settings, extractor, device: None)
    spec = dash.Spec.model_validate(CIFAR_NETS)
    assert isinstance(spec.teacher, UNet)
    net = unet.build(spec.teacher, (3, 32, 32), 10, seed=0)
    (tmp_path / "teacher").mkdir()
    checkpoint.save_model(tmp_path / "teacher", net, torch.zeros(1000))
    (tmp_path / "teacher/teacher.json").write_text("{}")
    return tmp_path / "teacher"


def losses_of(
    patch: dict[str, Any], device: str, teacher: Path, calls: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """The logged losses of a single arm on CIFAR-size images."""
    stored: dict[str, Any] = {}
    monkeypatch.setattr(cohort, "evaluate_students", lambda students, setting: stored.update(students))
    arm = Arm(name="dash", seed=0, spec=patched(dash.Spec.model_validate(CIFAR_NETS), patch))
    dash.run_cohort([arm], replace(calls.context(teacher.parent, teacher), device=device))
    return [row["loss"] for row in stored["dash"][1].curve]


@pytest.mark.parametrize(
    "steps", [pytest.param(20, marks=pytest.mark.slow(25)), pytest.param(100, marks=pytest.mark.long(110))]
)
def test_steps_of_papers_nets_on_cpu(
    steps: int, cifar_teacher: Path, calls: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = losses_of({"train.steps": steps}, "cpu", cifar_teacher, calls, monkeypatch)
    assert len(losses) == steps // 10
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_1000_steps_of_papers_nets_in_bf16_on_gpu(
    cifar_teacher: Path, calls: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"train.steps": 1000, "train.batch_size": 64}
    exact, rounded = (
        losses_of({**train, "train.precision": precision}, "cuda:0", cifar_teacher, calls, monkeypatch)
        for precision in ("fp32", "bf16")
    )
    assert all(math.isfinite(loss) for loss in rounded)
    assert rounded[-1] == pytest.approx(exact[-1], rel=0.05)
