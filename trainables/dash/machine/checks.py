"""Check that this machine computes correctly.

Each check prints a line, also if it is not possible here.

They take steps of small nets on random images. They need torch, diffusers and pydantic; neither Ray nor torch-fidelity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from branchwise.trainables.dash.authors import golden
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.machine import fixtures, workers
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.spec import Spec
from branchwise.trainables.dash.training import steps

State = Literal["passed", "failed", "not possible here"]
STEPS = 6
# Relative errors. fp32 against fp32 sums in another order; TF32 multiplies with 10 bits, bf16 with 7.
SAME_ARITHMETIC, TF32, BF16 = 1e-4, 2e-2, 5e-2
SMALL: dict[str, Any] = {  # images of 8x8 pixels; each kind of layer that the paper's nets have
    "teacher": {"channels": [32, 64], "norm_groups": 8, "attention_at": [4], "steps": 1, "batch_size": 16},
    "student": {"channels": [16, 32], "norm_groups": 8, "attention_at": [4]},
    "train": {"steps": 1000, "batch_size": 16, "lr": 1e-3},
}


@dataclass(frozen=True)
class MachineCheck:
    name: str
    state: State
    detail: str


class NotPossibleError(Exception):
    """Error of a check whose subject is not on this machine."""


def run(device: str) -> Iterator[MachineCheck]:
    """The checks of `device`, "cpu" or "cuda:0", as they are done."""
    spec = Spec.model_validate(SMALL)
    torch.set_num_threads(1)  # as many as the workers have; more do not help such small nets
    for name, call in (
        ("a GPU that torch sees", lambda: gpu(device)),
        ("a step on the CPU and on the GPU, fp32", lambda: cpu_against(device, spec)),
        ("`fast` against `exact`", lambda: fast_against_exact(device, spec)),
        ("bf16 against fp32", lambda: half_against_single(device, spec)),
        ("resumed bit for bit in `exact`", lambda: resumed(device, spec)),
        ("several workers against one", lambda: workers_agree(device, spec)),
        ("the authors' golden values", lambda: golden_values(device)),
    ):
        yield checked(name, call)


def checked(name: str, call: Callable[[], str]) -> MachineCheck:
    """The result of a check, also if it raises."""
    try:
        return MachineCheck(name, "passed", call())
    except NotPossibleError as error:
        return MachineCheck(name, "not possible here", str(error))
    except Exception as error:  # a check that raises has failed, and the next runs
        message = " ".join(str(error).split()) or type(error).__name__
        return MachineCheck(name, "failed", message[:300])


def gpu(device: str) -> str:
    if device == "cpu":
        raise NotPossibleError("this check runs on the CPU; it needs a GPU and a torch with CUDA")
    properties = torch.cuda.get_device_properties(device)
    bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
    return (
        f"{properties.name}, {properties.total_memory / 1e9:.1f} GB, {bf16} bf16; {torch.cuda.device_count()} of them"
    )


def cpu_against(device: str, spec: Spec) -> str:
    if device == "cpu":
        raise NotPossibleError("this check runs on the CPU; it compares a GPU with it")
    return agreement(SAME_ARITHMETIC, _losses(device, spec), _losses("cpu", spec))


def fast_against_exact(device: str, spec: Spec) -> str:
    if device == "cpu":
        raise NotPossibleError("on a CPU they are one")
    return agreement(TF32, _losses(device, spec, mode="fast"), _losses(device, spec))


def half_against_single(device: str, spec: Spec) -> str:
    return agreement(BF16, _losses(device, spec, precision="bf16"), _losses(device, spec))


def resumed(device: str, spec: Spec) -> str:
    """Check half of the steps, a checkpoint and the other half against all steps at once.

    New learners take the other half.
    """
    complete, half = _trained(device, spec, 0, STEPS, None), _trained(device, spec, 0, STEPS // 2, None)
    repeated = _trained(device, spec, STEPS // 2, STEPS, checkpoint.to_bytes(half))
    for name in ("weights", "average", "optimizer"):
        for item, other in zip(_tensors(complete[name]), _tensors(repeated[name]), strict=True):
            if not torch.equal(item, other):
                raise ValueError(f"the {name} differ by {float((item - other).abs().max()):.3g}")
    return f"{STEPS} steps, resumed after {STEPS // 2}"


def workers_agree(device: str, spec: Spec) -> str:
    """One worker per GPU, over NCCL; two on a CPU, over gloo."""
    count = 2 if device == "cpu" else torch.cuda.device_count()
    if count == 1:
        raise NotPossibleError("there is one GPU")
    alone = fixtures.losses(spec, fixtures.context(device), STEPS)
    message = agreement(SAME_ARITHMETIC, workers.losses(device, SMALL, count, STEPS), alone)
    return f"{count} workers; {message}"


def golden_values(device: str) -> str:
    """Outputs of both nets, with labels and without."""
    try:
        values = golden.read()
    except FileNotFoundError as error:
        raise NotPossibleError(f"{golden.FILE.name} comes with a checkout") from error
    modes.choose("exact", device)
    x, t, y = (torch.from_numpy(values[f"unet_{name}"]).to(device) for name in "xty")
    worst = 0.0
    with torch.inference_mode():
        for net in ("teacher", "student"):
            model = golden.build(values, net, net).to(device)
            for branch, labels in (("cond", y), ("null", torch.full_like(y, golden.CLASSES))):
                reference = torch.from_numpy(values[f"{net}_{branch}"])
                worst = max(worst, golden.relative_error(model(x, t, labels, return_dict=False)[0], reference))
    if worst > SAME_ARITHMETIC:
        raise ValueError(f"outputs differ from the authors' by {worst:.2g}; {SAME_ARITHMETIC:g} is allowed")
    return f"outputs of both nets within {worst:.1e}"


def _losses(device: str, spec: Spec, **settings: Any) -> list[float]:
    """Loss and gradient norm of the steps, on batches drawn on the CPU."""
    return fixtures.losses(spec, fixtures.context(device), STEPS, drawn_on="cpu", **settings)


def _trained(device: str, spec: Spec, first: int, last: int, saved: bytes | None) -> dict[str, Any]:
    """The state of an arm after the steps from `first` to `last`."""
    modes.choose("exact", device)
    setting = fixtures.setting(spec, fixtures.context(device))
    students = steps.begin(fixtures.arms_of(spec, 1), setting)
    ((arm, trainee),) = students.values()
    if saved is not None:
        trainee.restore(checkpoint.from_bytes(saved, device))
    for step in range(first, last):
        steps.take_step(students, setting, step, {arm.name: 0.0})
    return trainee.state()


def _tensors(tree: Any) -> Iterator[Tensor]:
    """Each tensor in nested containers, in their order."""
    if isinstance(tree, Tensor):
        yield tree.detach()
    elif isinstance(tree, dict):
        yield from itertools.chain.from_iterable(map(_tensors, tree.values()))
    elif isinstance(tree, list | tuple):
        yield from itertools.chain.from_iterable(map(_tensors, tree))


def agreement(allowed: float, actual: list[float], expected: list[float]) -> str:
    errors = [abs(item - other) / abs(other) for item, other in zip(actual, expected, strict=True)]
    worst = max(errors)
    if not all(error <= allowed for error in errors):  # NaN is not
        raise ValueError(f"losses and gradient norms of {STEPS} steps differ by {worst:.2g}; {allowed:g} is allowed")
    return f"{STEPS} steps within {worst:.1e}, {allowed:g} is allowed"
