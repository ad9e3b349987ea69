"""What a plan counts without torch is what the nets have: parameters, arithmetic, memory. Tensors here are fake."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

import branchwise.trainables.dash as dash
from branchwise.orchestration.space import load_space
from branchwise.trainables import Device
from branchwise.trainables.dash.costs import memory, work
from branchwise.trainables.dash.costs.counts import count
from branchwise.trainables.dash.costs.seconds import flop, measured_ratio, pass_seconds, rate_of
from branchwise.trainables.dash.machine import fixtures
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.settings.spec import UNet
from branchwise.trainables.runtime.settings import patched

CIFAR, DIGITS = (3, 32, 32), (1, 8, 8)
NETS = {
    "cifar teacher": (UNet(channels=(128, 256, 256, 256), res_blocks=2, attention_at=(16,), dropout=0.1), CIFAR, 10),
    "cifar student": (UNet(channels=(64, 128, 128, 128), res_blocks=1, attention_at=(16,), dropout=0.1), CIFAR, 10),
    "imagenet student": (
        UNet(channels=(64, 128, 192, 256), res_blocks=2, attention_at=(16, 8), dropout=0.1), (3, 64, 64), 1000,
    ),
    "digits teacher": (UNet(channels=(16, 32), res_blocks=1, attention_at=(4,), norm_groups=8), DIGITS, 10),
    "digits student": (UNet(channels=(8, 12), res_blocks=1, attention_at=(4,), norm_groups=4), DIGITS, 10),
}  # fmt: skip
ROWS = 4
GPU = Device(
    name="a GPU",
    memory=80e9,
    flops={"fp32": 50e12, "tf32": 400e12, "bf16": 800e12},
    efficiency={"fp32": 0.5, "tf32": 0.25, "bf16": 0.25},
    launch_seconds={"exact": 1e-5, "fast": 2e-6},
)


@contextmanager
def fake(name: str, device: str = "cpu") -> Iterator[tuple[nn.Module, tuple[Tensor, Tensor, Tensor]]]:
    """The net and a batch of `ROWS` samples, all without memory behind them."""
    spec, shape, classes = NETS[name]
    with FakeTensorMode(), torch.device(device):
        net = unet.build(spec, shape, classes, seed=0)
        batch = torch.randn(ROWS, *shape), torch.randint(0, 1000, (ROWS,)), torch.randint(0, classes, (ROWS,))
        yield net, batch


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_arithmetic_are_those_of_net(name: str) -> None:
    spec, shape, classes = NETS[name]
    result = count(spec, shape, classes)
    with fake(name) as (net, batch), FlopCounterMode(display=False) as counted, torch.no_grad():
        net(*batch, return_dict=False)
    assert result.parameters == unet.size(net)
    assert 2 * result.macs * ROWS == pytest.approx(counted.get_total_flops(), rel=0.01)


def test_macs_are_papers() -> None:
    assert count(*NETS["cifar teacher"]).macs == pytest.approx(6.22e9, rel=1e-3)
    assert count(*NETS["cifar student"]).macs == pytest.approx(1.08e9, rel=5e-3)


@pytest.mark.parametrize("name", NETS)
def test_training_pass_keeps_what_is_counted(name: str) -> None:
    """As PyTorch would keep it on a GPU, in fp32 and under autocast; the counted numbers are within 10%."""
    result = count(*NETS[name])
    for precision in ("fp32", "bf16"):
        counted = ROWS * memory.activation_bytes(result, precision) + memory.cast_bytes(result, precision)
        assert counted == pytest.approx(saved_bytes(name, precision), rel=0.1), precision


def saved_bytes(name: str, precision: str) -> int:
    """Bytes of all tensors that a forward pass saves, parameters aside, on a fake GPU."""
    with pytest.MonkeyPatch.context() as patch, fake(name, "cuda") as (net, batch):
        # Without a GPU, autocast would disable itself; half is of the same size as bf16, which it checks on a GPU.
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        storages = {p.untyped_storage()._cdata for p in net.parameters()}
        saved: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in storages:
                saved[storage._cdata] = storage
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cuda", torch.float16, enabled=precision == "bf16"):
            eps = net.train()(*batch, return_dict=False)[0]
        assert eps.device.type == "cuda"
        return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize("name", NETS)
def test_sampling_holds_what_is_counted(name: str) -> None:
    result = count(*NETS[name])
    with fake(name) as (net, batch):
        tracker = MemTracker()
        tracker.track_external(net)
        with tracker, torch.no_grad():
            net.eval()(*batch, return_dict=False)
        (peak,) = tracker.get_tracker_snapshot("peak").values()
    activations = next(size for kind, size in peak.items() if str(kind).endswith("ACT"))
    assert 4 * result.live * ROWS == pytest.approx(activations, rel=0.1)


def test_seconds_on_gpu_by_hand() -> None:
    spec, shape, classes = NETS["cifar student"]
    first = work.Pass(kind="train", net=spec, rows=128, times=1, precision="bf16", mode="exact")
    arithmetic = 2 * 3 * 1.0760e9 * 128 / (800e12 * 0.25)
    assert flop(first, shape, classes) == pytest.approx(832e9, rel=0.01), "as counted by FlopCounterMode, once"
    kernels = 3 * count(spec, shape, classes).kernels + 60
    seconds, measured = pass_seconds(first, shape, classes, GPU)
    assert not measured
    assert seconds == pytest.approx(max(arithmetic, kernels * 1e-5))
    large = work.Pass(kind="train", net=spec, rows=128_000, times=2, precision="bf16", mode="exact")
    assert pass_seconds(large, shape, classes, GPU)[0] == pytest.approx(2000 * arithmetic, rel=0.005)


def test_gpu_without_rate_uses_fp32_rate() -> None:
    spec, shape, classes = NETS["cifar student"]
    old = Device(
        name="old", memory=16e9, flops={"fp32": 8e12}, efficiency={"fp32": 0.5}, launch_seconds=GPU.launch_seconds
    )
    first = work.Pass(kind="sample", net=spec, rows=500, times=1, precision="bf16", mode="fast")
    assert pass_seconds(first, shape, classes, old)[0] == pytest.approx(2 * 1.0760e9 * 500 / 4e12, rel=0.005)


def test_measured_rates_correct_formula_at_nearest_batch() -> None:
    spec, shape, _ = NETS["digits student"]
    other = NETS["digits teacher"][0]
    first = work.Pass(kind="train", net=spec, rows=64, times=10, precision="fp32", mode="exact")

    def rate(net: UNet, rows: int, times_slower: float) -> dict[str, Any]:
        """As if such a pass had taken so many times the formula's seconds."""
        measured = replace(first, net=net, rows=rows, times=1)
        return rate_of(measured, shape, 10, 1, times_slower * pass_seconds(measured, shape, 10, Device())[0])

    storages, strange = [rate(spec, 8, 3.0), rate(spec, 50, 2.0)], rate(other, 64, 9.0)
    assert measured_ratio(first, shape, 10, Device(rates=[*storages, strange])) == pytest.approx(2.0)
    assert measured_ratio(first, shape, 10, Device(rates=[strange])) == pytest.approx(9.0), "another net is some help"
    assert measured_ratio(first, shape, 10, Device(threads=2, rates=storages)) is None
    assert measured_ratio(replace(first, precision="bf16"), shape, 10, Device(rates=storages)) is None
    plain, rates = pass_seconds(first, shape, 10, Device())
    assert not rates
    corrected, rates = pass_seconds(first, shape, 10, Device(rates=storages))
    assert rates
    assert corrected == pytest.approx(2 * plain)


def test_remeasurement_uses_device_rates(root: Path) -> None:
    spec = load_space(root / "search_spaces/smoke.yaml").spec
    shape, classes = spec.data.image_shape, spec.data.classes
    (first,) = (replace(match, times=1) for match in work.sampling_passes(spec.student, spec, 1))
    slow = rate_of(first, shape, classes, 1, 3 * pass_seconds(first, shape, classes, Device())[0])
    plain, slower = (dash.estimate_measure(spec, False, Device(rates=rates)) for rates in ((), (slow,)))
    once = spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update={"gap_samples": 0, "at_steps": ()})})
    (sampling,) = work.sampling_passes(spec.student, once, 1)
    sampled, _ = pass_seconds(sampling, shape, classes, Device())
    assert slower - plain == pytest.approx(2 * sampled)
    assert dash.estimate_measure(spec, False, GPU) < plain / 2


def test_measured_memory_replaces_formula(root: Path) -> None:
    spec = load_space(root / "search_spaces/cifar10_ablation.yaml").spec
    shape, classes = spec.data.image_shape, spec.data.classes
    arm, teacher = work.arm_training(spec, 1), work.teacher_training(spec.teacher, 1)
    rates = [
        {**rate_of(replace(item, times=1, rows=32), shape, classes, 1, 0.1), "working": working}
        for item, working in ((arm, 1e9), (teacher, 2e9))
    ]
    measured = replace(GPU, rates=rates)
    assert arm.rows == 128  # of both branches, four times what was measured
    more = 4 * 1e9 - memory.working_bytes(arm, spec, GPU)
    plain, corrected = (dash.cohort_cost([spec] * 2, on, 1).memory["training"] for on in (GPU, measured))
    assert corrected - plain == pytest.approx(more)
    more = teacher.rows / 32 * 2e9 - memory.working_bytes(teacher, spec, GPU)
    plain, corrected = (dash.teacher_cost(spec, on, 1, trained=False).memory["training"] for on in (GPU, measured))
    assert corrected - plain == pytest.approx(more)
    exact = replace(arm, mode="exact")
    assert memory.working_bytes(exact, spec, measured) == memory.working_bytes(exact, spec, GPU), "another way"


def test_reserved_memory_covers_step_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def recorded(name: str, value: int, device: object) -> int:
        lines.append(name)
        return value

    for name, value in (("memory_allocated", 300), ("max_memory_reserved", 1000)):
        monkeypatch.setattr(torch.cuda, name, partial(recorded, name, value))
    for name in ("empty_cache", "reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda *device, name=name: lines.append(name))
    assert fixtures.working_bytes(lambda: lines.append("step"), "cuda:0") == 700
    lines = [name for name in lines if name != "synchronize"]
    assert lines == ["empty_cache", "reset_peak_memory_stats", "memory_allocated", "step", "max_memory_reserved"]
    assert fixtures.working_bytes(lambda: None, "cpu") == 0


def test_cohort_on_gpu_by_hand(root: Path) -> None:
    """Fifteen arms of the paper's students: memory and arithmetic as docs/sizing.md works them out."""
    spec = load_space(root / "search_spaces/cifar10_ablation.yaml").spec
    estimate = dash.cohort_cost([spec] * 15, GPU, 1)
    teacher, student = (count(net, (3, 32, 32), 10) for net in (spec.teacher, spec.student))
    step = 2 * (2 * teacher.macs + 15 * 3 * 2 * student.macs) * 64
    # Two sets of samples under the schedule and under the fixed scale, each with both branches; and the gaps.
    sampled = 2 * 15 * student.macs * (2 * 2 * 2 * 50_000 * 50 + 2 * 1000 * 10)
    assert estimate.flop == pytest.approx(190_080 * step + sampled)
    images, context = 50_000 * 3 * 32 * 32, memory.CONTEXT
    learned = 4 * teacher.parameters + 15 * 20 * student.parameters
    stored = 2 * 64 * student.saved * 4 * 0.86 + 2 * student.parameters
    assert estimate.memory["training"] == pytest.approx(images + context + learned + stored)
    assert estimate.memory["sampling"] == pytest.approx(
        images + context + 15 * 20 * student.parameters + 2 * 2000 * student.live * 4
    )


def test_eight_workers_share_batch(root: Path) -> None:
    spec = load_space(root / "search_spaces/imagenet64_ablation.yaml").spec
    first, eight = (dash.teacher_cost(spec, GPU, workers, False) for workers in (1, 8))
    assert eight.total == pytest.approx(first.total / 8, rel=0.01)
    assert eight.flop == pytest.approx(first.flop, rel=0.01)
    assert eight.memory["training"] < first.memory["training"]
    assert dash.teacher_cost(spec, GPU, 8, True).seconds["training"] == 0


def test_models_and_checkpoints_are_read_without_torch(spec: dash.Spec, tmp_path: Path) -> None:
    assert dict(dash.describe_models(spec)) == {
        "models": f"teacher {size_of(spec, spec.teacher):,} parameters, student {size_of(spec, spec.student):,}: "
        f"{size_of(spec, spec.teacher) / size_of(spec, spec.student):.2f} times fewer",
        "evaluation": "guidance 1.5, ddim with 2 steps, 640 samples x 2",
    }
    head = json.dumps({"__metadata__": {}, "a": {"shape": [100, 3]}, "b": {"shape": [7]}}).encode()
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    device_spec = patched(spec, {})
    device_spec = device_spec.model_copy(update={"teacher": dash_checkpoint(tmp_path)})
    assert "teacher 307 parameters" in dict(dash.describe_models(device_spec))["models"]


def size_of(spec: dash.Spec, net: Any) -> int:
    return unet.size(unet.build(net, spec.data.image_shape, spec.data.classes, seed=0))


def dash_checkpoint(folder: Path) -> Any:
    from branchwise.trainables.dash.settings.spec import TeacherCheckpoint

    return TeacherCheckpoint(checkpoint=str(folder))


def test_estimates_need_no_torch(root: Path) -> None:
    code = (
        "import sys, branchwise.trainables.dash as d; from branchwise.trainables import Device;"
        "from branchwise.orchestration.space import load_space;"
        "s = load_space('search_spaces/cifar10_ablation.yaml').spec;"
        "d.cohort_cost([s], Device(), 1), d.teacher_cost(s, Device(), 1, False), list(d.describe_models(s));"
        "print([m for m in ('torch', 'diffusers', 'ray', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"
