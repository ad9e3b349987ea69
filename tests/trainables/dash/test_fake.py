"""Steps of each objective on fake tensors, and the parts only for GPUs, as far as possible without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.dash.compute import memory, modes
from branchwise.trainables.dash.costs.memory import images_at_once
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.data.datasets import Dataset
from branchwise.trainables.dash.evaluation import measurement
from branchwise.trainables.dash.machine import fixtures
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.nets.forward import forward
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.training import steps
from branchwise.trainables.runtime.settings import patched


def fake_batch(size: int, device: str = "cpu") -> Batch:
    with torch.device(device):
        t = torch.randint(0, 1000, (size,))
        images, noise = torch.randn(size, 1, 8, 8), torch.randn(size, 1, 8, 8)
        return Batch(images, noise, torch.arange(size) % 10, t, torch.rand(size), t, slice(0, size), 1.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_step_of_each_objective(
    spec: dash.Spec, objective: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, averages and the optimizer stay in fp32 on their device, regardless of the precision of the pass."""
    # Fake parameters cannot always be moved, and all of these are where they should be.
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: self)
    patch = dict(dash.BASELINES.get(objective, {"objective": objective}))
    arm = Arm(name=objective, seed=0, spec=patched(spec, {**patch, "train.precision": precision}))
    with FakeTensorMode(allow_non_fake_inputs=True):
        setting = fixtures.setting(spec, fixtures.context("cpu"))
        students = steps.begin([arm], setting)
        trainee = students[objective][1]
        steps.learn_from(fake_batch(16), students, setting, 0, {objective: 0.0})
        state = [value for entry in trainee.optimizer.state.values() for value in entry.values()]
        for tensor in (*trainee.parameters, *trainee.average, *state, trainee.sums):
            assert isinstance(tensor, FakeTensor), "nothing was computed"
            assert (tensor.dtype, tensor.device.type) == (torch.float32, "cpu")
        assert [p.shape for p in trainee.parameters] == [a.shape for a in trainee.average]
        assert len(state) >= 3 * len(trainee.parameters)


@pytest.mark.parametrize("passes", [("cond",), ("cond", "uncond"), ("dropped",)])
def test_outputs_on_gpu_are_on_it_and_in_fp32(
    spec: dash.Spec, passes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTensorMode(), torch.device("cuda"):
        net = unet.build(spec.student, (1, 8, 8), 10, seed=0)
        result = forward(net, passes, fake_batch(4, "cuda"), 10, 0.1)
    assert list(result) == list(passes)
    for eps in result.values():
        assert (eps.shape, eps.dtype, eps.device.type) == ((4, 1, 8, 8), torch.float32, "cuda")


@pytest.fixture
def switches() -> Any:
    """Restore what `modes.choose` sets in this process."""
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize(("mode", "exact"), [("exact", True), ("fast", False)])
def test_switches_of_both_modes_on_gpu(switches: None, mode: Any, exact: bool) -> None:
    modes.choose(mode, "cuda:0")
    assert torch.are_deterministic_algorithms_enabled() == exact
    assert torch.backends.cudnn.benchmark != exact
    assert torch.backends.cuda.matmul.allow_tf32 != exact
    assert torch.backends.cudnn.allow_tf32 != exact


@pytest.mark.parametrize(("workers", "how"), [(1, "reduce-overhead"), (2, "default")])
def test_fast_mode_uses_cuda_graphs_for_single_worker(monkeypatch: pytest.MonkeyPatch, workers: int, how: str) -> None:
    lines: list[str] = []
    monkeypatch.setattr(modes, "compile_module", lambda net, how: lines.append(how))
    net, on = torch.nn.Linear(2, 2), fixtures.context("cuda:0", world_size=workers)
    modes.prepare(net, "fast", on)
    modes.prepare(net, "exact", on)
    modes.prepare(net, "fast", fixtures.context("cpu"))
    assert lines == [how]


def test_what_gpu_holds_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: lines.append("memory"))
    monkeypatch.setattr(torch.compiler, "reset", lambda: lines.append("graphs"))
    modes.release("fast", fixtures.context("cuda:0"))
    assert lines == ["graphs", "memory"]
    memory.release_memory()
    assert lines == ["graphs", "memory", "memory"]


@pytest.mark.parametrize(("gigabytes", "at_once"), [(80, 2000), (16, 533), (4, 250)])
def test_as_many_images_are_sampled_at_once_as_gpu_should_hold(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, at_once: int
) -> None:
    total = gigabytes * 10**9
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=total))
    with FakeTensorMode(), torch.device("cuda"):
        images = Dataset(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), 10)
    assert measurement.batch_size(images) == images_at_once(total, 32) == at_once
