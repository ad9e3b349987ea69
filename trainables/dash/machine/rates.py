"""Measure this machine's speed on the passes of a space; the results correct plans."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from branchwise.trainables.contract import Device
from branchwise.trainables.dash.compute import modes
from branchwise.trainables.dash.compute.memory import release_memory
from branchwise.trainables.dash.costs.seconds import FEATURES, pass_seconds, rate_of
from branchwise.trainables.dash.costs.work import Kind, Pass
from branchwise.trainables.dash.diffusion import sampling, schedule
from branchwise.trainables.dash.diffusion.guidance import scales
from branchwise.trainables.dash.machine import fixtures
from branchwise.trainables.dash.nets import unet
from branchwise.trainables.dash.settings.objectives import OBJECTIVES
from branchwise.trainables.dash.settings.spec import Mode, Spec, Teacher, UNet
from branchwise.trainables.dash.training import steps
from branchwise.trainables.dash.training.trainee import Trainee

Rate = dict[str, Any]
TOGETHER = 4  # arms of the cohort that is compared with a single arm
PASSES = 5  # of a computation: a cohort's steps, one and multiple arms; the teacher's; sampling of both nets
SAMPLER_STEPS = 4
SAMPLED = 500  # rows of a sampler's pass on a CPU; on a GPU four times as many


def measure(spec: Spec, device: str, threads: int, seconds: float) -> list[Rate]:
    """Return the rates of the space's nets, in its precision and mode first.

    Others follow while time remains.

    On images drawn at random, with a teacher that is not trained: neither changes the duration of a pass. Batches are
    smaller where the space's would take too long. On a CPU both modes are the same.
    """
    trained_teacher(spec)
    torch.set_num_threads(threads)
    has_started = time.monotonic()
    rates: list[Rate] = []
    kinds: tuple[Mode, ...] = ("exact",) if device == "cpu" else ("exact", "fast")
    ways = sorted(
        itertools.product(("fp32", "bf16"), kinds),
        key=lambda setup: setup != (spec.train.precision, spec.train.mode if device != "cpu" else "exact"),
    )
    remaining = [seconds / len(ways) * number for number in range(1, len(ways) + 1)]
    for (precision, mode), until in zip(ways, remaining, strict=True):
        if not rates or time.monotonic() - has_started < until:
            rates += _setup_rates(spec, device, threads, precision, mode, (seconds / len(ways)) / PASSES)
            release_memory()
    return [*rates, *_features(spec, device, threads)]


def _setup_rates(spec: Spec, device: str, threads: int, precision: str, mode: Mode, seconds: float) -> Iterator[Rate]:
    on = fixtures.context(device, threads)
    modes.choose(mode, device)
    setup = {"precision": precision, "mode": mode}
    yield from _cohort(spec, on, setup, seconds)
    yield _teacher(spec, on, setup, seconds)
    for net in (spec.student, trained_teacher(spec)):
        yield _sampling(net, spec, on, setup, seconds)


def trained_teacher(spec: Spec) -> Teacher:
    """Return the teacher that the space trains.

    Raises ValueError for an existing teacher, of unknown size.
    """
    if not isinstance(spec.teacher, Teacher):
        raise ValueError("teacher.checkpoint: rates are measured of a space that describes its teacher")
    return spec.teacher


def _pass(kind: Kind, net: UNet, rows: int, setup: dict[str, Any]) -> Pass:
    return Pass(kind=kind, net=net, rows=rows, times=1, **setup)


def _affordable(item: Pass, spec: Spec, threads: int, seconds: float, device: str) -> int:
    """Return the rows of a pass that by formula takes a fourth of `seconds` on a CPU.

    On a GPU they are all of them.
    """
    if device != "cpu":
        return item.rows
    rows = item.rows
    while rows > 8 and pass_seconds(replace(item, rows=rows), *_images(spec), Device(threads=threads))[0] > seconds / 4:
        rows //= 2
    return rows


def _images(spec: Spec) -> tuple[tuple[int, int, int], int]:
    return spec.data.image_shape, spec.data.classes


def _cohort(spec: Spec, on: Any, setup: dict[str, Any], seconds: float) -> Iterator[Rate]:
    """Yield the rates of an arm and of the teacher's pass, by cohorts of one and more arms.

    Their difference is the cost of an arm, the rest the teacher's pass.
    """
    passes = len(OBJECTIVES[spec.method.objective].passes(spec.method))
    complete = _pass("train", spec.student, spec.train.batch_size * passes, setup)
    batch = max(2, _affordable(complete, spec, on.threads, seconds, on.device) // passes)
    setting = fixtures.setting(spec, on)
    elapsed, working = {}, 0
    for count in (1, TOGETHER):
        students = steps.begin(fixtures.arms_of(spec, count, batch_size=batch, **setup), setting)
        numbers, arm_seconds = itertools.count(), dict.fromkeys(students, 0.0)

        def step(
            students: Any = students, numbers: Iterator[int] = numbers, arm_seconds: dict[str, float] = arm_seconds
        ) -> None:
            steps.take_step(students, setting, next(numbers), arm_seconds)

        elapsed[count] = fixtures.mean_seconds(step, on.device, seconds)
        working = working or fixtures.working_bytes(step, on.device)
    arm = max((elapsed[TOGETHER] - elapsed[1]) / (TOGETHER - 1), 1e-6)
    train_pass = _pass("train", spec.student, passes * batch, setup)
    yield {**rate_of(train_pass, *_images(spec), on.threads, arm), "working": working}
    shared = max(elapsed[1] - arm, 1e-6)
    yield rate_of(_pass("teach", trained_teacher(spec), 2 * batch, setup), *_images(spec), on.threads, shared)


def _teacher(spec: Spec, on: Any, setup: dict[str, Any], seconds: float) -> Rate:
    """A step of the teacher's training, on a single worker's part of the batch."""
    teacher = trained_teacher(spec)
    complete = _pass("train", teacher, -(-teacher.batch_size // teacher.workers), setup)
    affordable = replace(complete, rows=_affordable(complete, spec, on.threads, seconds, on.device))
    settings = teacher.model_copy(update={"batch_size": affordable.rows, **setup})
    dataset, alphas_cumprod = fixtures.random_images(spec, on.device), schedule.cosine_alphas_cumprod(on.device)
    net = unet.build(settings, *_images(spec), settings.sampling_seed)
    modes.prepare(net.to(on.device), settings.mode, on)
    trainee = Trainee(net, settings, settings, None, alphas_cumprod, on)
    numbers = itertools.count()

    def step() -> None:
        steps.take_teacher_step(trainee, settings, dataset, next(numbers))

    elapsed = fixtures.mean_seconds(step, on.device, seconds)
    return {
        **rate_of(affordable, *_images(spec), on.threads, elapsed),
        "working": fixtures.working_bytes(step, on.device),
    }


@torch.inference_mode()
def _sampling(net: UNet, spec: Spec, on: Any, setup: dict[str, Any], seconds: float) -> Rate:
    """A sampler's pass under guidance."""
    complete = _pass("sample", net, SAMPLED if on.device == "cpu" else 4 * SAMPLED, setup)
    sample_pass = replace(complete, rows=_affordable(complete, spec, on.threads, seconds / SAMPLER_STEPS, on.device))
    model = unet.build(net, *_images(spec), seed=0).to(on.device).eval()
    modes.prepare(model, setup["mode"], on)
    chosen, null = range(sample_pass.rows // 2), spec.data.classes
    labels = sampling.balanced_labels(chosen, null, on.device)
    noise = sampling.starting_noise(0, chosen, spec.data.image_shape, on.device)
    denoise = sampling.guided(model, labels, null, scales(2.0, on.device), setup["precision"])
    sample, alphas_cumprod = sampling.sampler(spec.evaluate.sampler), schedule.cosine_alphas_cumprod(on.device)
    elapsed = fixtures.mean_seconds(lambda: sample(denoise, noise, alphas_cumprod, SAMPLER_STEPS), on.device, seconds)
    return rate_of(sample_pass, *_images(spec), on.threads, elapsed / SAMPLER_STEPS)


def _features(spec: Spec, device: str, threads: int) -> Iterator[Rate]:
    """Yield the rate of features and distances of random images.

    Nothing is yielded where their net or torch-fidelity is missing.
    """
    try:
        from branchwise.trainables.dash.evaluation import features, measurement, metrics
        from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet, extract

        extractor = features.extractor_of(spec, device)
    except (ImportError, OSError, ValueError):
        return
    images = fixtures.random_images(spec, device).images
    rows = spec.evaluate.samples if extractor.dims < 100 else 32 if device == "cpu" else 2000
    pixels = images.repeat(-(-rows // len(images)), 1, 1, 1)[:rows]
    result = extract(extractor, pixels)
    elapsed = fixtures.mean_seconds(lambda: extract(extractor, pixels), device, 5.0)
    if extractor.dims < 100:  # distances of as many rows cost seconds, those of Inception's features minutes
        reference = result[:, : extractor.dims].contiguous()
        labels = torch.zeros(rows, dtype=torch.int64)  # which distances do not use
        against = ReferenceSet(extractor, reference, labels, metrics.statistics(reference), "", torch.device(device))
        elapsed += fixtures.mean_seconds(lambda: measurement._distances(result, against), device, 5.0)
    yield {"kind": FEATURES, "net": spec.features, "rows": rows, "threads": threads, "seconds": elapsed}
