"""Fixtures for steps only: random images, an untrained teacher, a context without files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.data import batches
from branchwise.trainables.dash.data.batches import Batch
from branchwise.trainables.dash.data.datasets import Dataset
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation.reference import EvaluationReference
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.settings.spec import Spec, Teacher
from branchwise.trainables.dash.training import steps
from branchwise.trainables.runtime.settings import patched

IMAGES = 1024
WARM_UP = 3  # calls that do not count: CUDA graphs are recorded in the second and third


def context(device: str, threads: int = 1, rank: int = 0, world_size: int = 1) -> Context:
    """A context for work that is inspected and then forgotten."""
    return Context(
        rank=rank,
        world_size=world_size,
        device=device,
        threads=threads,
        scratch=Path(tempfile.gettempdir()),
        teacher=None,
        report=lambda progress: None,
        save=lambda content: None,
        load=lambda: None,
        finish=lambda arm, result, folder: None,
    )


def random_images(spec: Spec, device: str) -> Dataset:
    """Images of the shape of the space's data, always the same."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, *spec.data.image_shape), dtype=torch.uint8, generator=draw)
    labels = torch.arange(IMAGES) % spec.data.classes
    return Dataset(images.to(device), labels.to(device), classes=spec.data.classes)


def setting(spec: Spec, on: Context) -> steps.Setting:
    """Return a cohort's setting with an untrained teacher.

    Raises ValueError for a teacher that exists: its net is unknown from the settings.
    """
    if not isinstance(spec.teacher, Teacher):
        raise ValueError("teacher.checkpoint: a space that describes its teacher is needed here")
    teacher = unet.build(spec.teacher, spec.data.image_shape, spec.data.classes, seed=0).to(on.device).eval()
    images = random_images(spec, on.device)
    return steps.Setting(
        context=on,
        seed=0,
        reference=EvaluationReference(
            dataset=images,
            holdout=images,
            alphas_cumprod=schedule.cosine_alphas_cumprod(on.device),
            against=cast(Any, None),  # without evaluation
        ),
        teacher=teacher,
        teacher_importance=torch.zeros(1000, device=on.device),
        evaluations=spec.evaluate.evaluations(),
        teacher_samples={},
    )


def arms_of(spec: Spec, count: int, **settings: Any) -> list[Arm]:
    """So many arms of the space's method; settings are those of `train`."""
    tuned = patched(spec, {f"train.{name}": value for name, value in settings.items()})
    return [Arm(name=f"arm{number}", seed=0, spec=tuned) for number in range(count)]


def losses(spec: Spec, on: Context, last: int, drawn_on: str = "", **settings: Any) -> list[float]:
    """Return loss and gradient norm of each of the steps 0 to `last` of an arm.

    `settings` are those of `train`.

    Batches are drawn on the same device, or on `drawn_on`, which may draw others.
    """
    modes.choose(settings.get("mode", "exact"), on.device)
    own = setting(spec, on)
    students = steps.begin(arms_of(spec, 1, **settings), own)
    ((arm, trainee),) = students.values()
    source = setting(spec, context(drawn_on)) if drawn_on else own
    arm_seconds, result = {arm.name: 0.0}, []
    for step in range(last):
        modes.begin_step(trainee.settings.mode, on)
        size, drawn = spec.train.batch_size, source.reference
        batch = batches.draw(drawn.dataset, drawn.alphas_cumprod, size, arm.seed, step, source.context)
        steps.learn_from(_batch_on(batch, on.device), students, own, step, arm_seconds)
        trainee.log(step)
        result += [trainee.curve[-1]["loss"], trainee.curve[-1]["grad_norm"]]
    modes.choose("exact", on.device)
    return result


def _batch_on(batch: Batch, device: str) -> Batch:
    """The batch on another device."""
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **moved)


def timed(call: Callable[[], object], device: str) -> float:
    """Seconds until `call` has returned and the device has finished its work."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Until the device has finished its work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def mean_seconds(call: Callable[[], object], device: str, seconds: float) -> float:
    """The mean over the calls that fit into `seconds` (1 or more), after a warm-up.

    The mean, since a run pays for its slow steps too.
    """
    spent = [timed(call, device) for _ in range(WARM_UP)]
    times: list[float] = []
    while not times or sum(spent) + sum(times) < seconds:
        times.append(timed(call, device))
    return sum(times) / len(times)


def working_bytes(call: Callable[[], object], device: str) -> int:
    """Return the temporary bytes of a call on a GPU; 0 on a CPU.

    They are all that is reserved for it, as a graph's memory is not counted as allocated.
    """
    if device == "cpu":
        return 0
    wait(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    stays = torch.cuda.memory_allocated(device)
    call()
    wait(device)
    return torch.cuda.max_memory_reserved(device) - stays
