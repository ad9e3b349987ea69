"""One distillation step of the paper's nets: ours with one arm, against the authors' public code and a plain loop.

    python benchmarks/step.py [--reference DIR] [--batch 4] [--steps 7] [--threads 1] [--device cpu] [--mode exact]

DIR is a checkout of the authors' repository. Its `train_student.train` runs as it is, but for where its images and its
teacher come from: both are handed to it in memory, untrained, so that reading them costs it nothing. `the plain way` is
the same loop on diffusers' nets: a pass for each branch, PyTorch's default optimizer, an average updated tensor by
tensor, and losses read from the device in each step. All run in turn, in one process. The authors' mixed
precision is only for CUDA: on a CPU their step is in fp32.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from _common import clock, in_turn, median, paper_setting, range_text, show, timed, wait

FUSED, HALF, PLAIN, AUTHORS = "ours, fp32", "ours, bf16", "the plain way, fp32", "the authors' code, fp32"


class _EnoughError(Exception):
    """Ends the authors' training after the last step that is to be timed."""


def fused_step(setting: Any, spec: Any, batch: int, mode: str, precision: str) -> Callable[[], object]:
    from branchwise.trainables import Arm
    from branchwise.trainables.dash.compute import modes
    from branchwise.trainables.dash.training import steps as training
    from branchwise.trainables.runtime.settings import patched

    arm = Arm(
        name="ours",
        seed=0,
        spec=patched(spec, {"train.batch_size": batch, "train.mode": mode, "train.precision": precision}),
    )
    modes.choose(mode, setting.context.device)
    students, steps = training.begin([arm], setting), itertools.count()
    return lambda: training.take_step(students, setting, next(steps), {"ours": 0.0})


def plain(setting: Any, spec: Any, batch: int) -> Callable[[], object]:
    import torch
    from torch.nn import functional

    from branchwise.trainables.dash.diffusion import schedule
    from branchwise.trainables.dash.nets import unet

    teacher, device = setting.teacher, setting.dataset.device
    student = unet.build(spec.student, setting.dataset.image_shape, setting.dataset.classes, seed=0).to(device).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=spec.train.lr, weight_decay=spec.train.weight_decay)
    average = {name: p.detach().clone() for name, p in student.named_parameters()}
    ratio = schedule.snr(setting.reference.alphas_cumprod).clamp(max=5)

    def step() -> None:
        chosen = torch.randint(0, len(setting.dataset.images), (batch,), device=device)
        images, labels = setting.dataset.images[chosen].float() / 127.5 - 1, setting.dataset.labels[chosen]
        t, noise = torch.randint(0, 1000, (batch,), device=device), torch.randn_like(images)
        x = schedule.add_noise(images, noise, setting.reference.alphas_cumprod, t)
        null = torch.full_like(labels, 10)
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            teacher_cond, teacher_uncond = teacher(x, t, labels).sample, teacher(x, t, null).sample
        cond, uncond = student(x, t, labels).sample, student(x, t, null).sample
        weights = ratio[t] / ratio[t].mean()

        def error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            losses = functional.mse_loss(prediction, target, reduction="none").view(batch, -1).mean(dim=1)
            return (losses * weights).mean()

        imitation, uncond_term, anchor = error(cond, teacher_cond), error(uncond, teacher_uncond), error(cond, noise)
        loss = imitation + uncond_term + 0.1 * anchor
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, p in student.named_parameters():
                average[name].mul_(spec.train.ema).add_(p, alpha=1 - spec.train.ema)
        for value in (loss, imitation, uncond_term, anchor):
            value.item()

    return step


class _Batches:
    """A stand-in for the loader of the authors' loop; its end ends their training."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        yield from self._batches
        raise _EnoughError


def against_reference(
    folder: Path, ways: dict[str, Callable[[], object]], n: int, batch: int, device: str
) -> dict[str, list[float]]:
    """Seconds of `n` steps of the authors' loop and of each of `ways`, in turn: they run while it awaits a batch."""
    import torch

    sys.path.insert(0, str(folder))
    import train_student

    seconds: dict[str, list[float]] = {name: [] for name in (AUTHORS, *ways)}

    def batches() -> Iterator[Any]:
        draw = torch.Generator().manual_seed(0)
        for round_ in range(n + 1):
            spent = {name: timed(call, device) for name, call in ways.items()}
            images = torch.rand(batch, 3, 32, 32, generator=draw) * 2 - 1
            start = clock(device)
            yield images, torch.arange(batch) % 10
            wait(device)
            spent[AUTHORS] = clock(device) - start
            for name in seconds if round_ else ():
                seconds[name].append(spent[name])

    train_student.build_loaders = lambda *args, **kwargs: (_Batches(batches()), None)
    train_student.load_teacher_frozen = lambda net, *args, **kwargs: net.eval().requires_grad_(False) and None
    with tempfile.TemporaryDirectory(prefix="branchwise-bench-") as out, suppress(_EnoughError):
        config = str(folder / "configs/student_cifar10.yaml")
        train_student.train(
            SimpleNamespace(config=config, data_root="", download=False, teacher_ckpt="", out_dir=out, resume=None)
        )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--reference", metavar="DIR", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each; one more comes before")
    parser.add_argument("--threads", type=int, default=1, help="as a trial has them; more that wait count in full")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--mode", choices=("exact", "fast"), default="exact")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)  # the authors' torch.cuda.amp, in each step
    device, batch, n = options.device, options.batch, options.steps
    setting, spec = paper_setting(device, options.threads)
    ways = {
        FUSED: fused_step(setting, spec, batch, options.mode, "fp32"),
        HALF: fused_step(setting, spec, batch, options.mode, "bf16"),
        PLAIN: plain(setting, spec, batch),
    }
    if options.reference:
        seconds = against_reference(options.reference.resolve(), ways, n, batch, device)
    else:
        seconds = in_turn(ways, n, device)
    evaluation_reference = median(seconds[AUTHORS if options.reference else PLAIN])
    limit = "1.3" if device == "cpu" else "5"
    rows = []
    for name, times in seconds.items():
        row = (str(n), f"{median(times):.3f}", range_text(times), f"{evaluation_reference / median(times):.2f}")
        rows.append((name, *row, limit if name in (FUSED, HALF) else ""))
    show(
        f"One step of the paper's nets, batch {batch}, {device}, threads: {options.threads}, {options.mode}",
        ("way", "n", "median s", "spread", f"times {AUTHORS if options.reference else PLAIN}", "limit"),
        rows,
        *(() if options.reference else ("The authors' code was not given (--reference DIR).",)),
    )


if __name__ == "__main__":
    main()
