"""How good are a network's samples? Sampling, features and distances; images go to the features without files."""

from __future__ import annotations

import time
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.modes import full_precision
from branchwise.trainables.dash.compute.parallel import gather_rows, my_slice
from branchwise.trainables.dash.compute.progress import Progress
from branchwise.trainables.dash.data.datasets import Dataset, to_pixels
from branchwise.trainables.dash.diffusion import sampling
from branchwise.trainables.dash.diffusion.guidance import Scale, scales
from branchwise.trainables.dash.evaluation import metrics, neighbours
from branchwise.trainables.dash.evaluation.efficiency import peak_memory, sample_gflop
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet
from branchwise.trainables.dash.settings.spec import Evaluate

LEAST, MOST = 250, 2000  # images sampled at once; fewer leave a device idle, more bring nothing
IMAGE_BYTES = 30e6  # of a guided pass of the paper's teacher, counted generously, for 32x32 pixels


def batch_size(dataset: Dataset) -> int:
    """Images sampled at once: as many as should fit on a GPU, the least on a CPU, which gains nothing from more.

    It follows from the kind of device alone, not from what is free: rounding depends on it.
    """
    device = dataset.device
    if device.type != "cuda":
        return LEAST
    _, height, width = dataset.image_shape
    fit = torch.cuda.get_device_properties(device).total_memory / (IMAGE_BYTES * height * width / 32**2)
    return int(min(MOST, max(LEAST, fit)))


def batches_of(settings: Evaluate, dataset: Dataset, context: Context) -> int:
    """Batches one rank samples for one network, the same on every rank."""
    longest = -(-settings.samples // context.world_size)
    return (1 + len(settings.guidance_grid)) * settings.repeats * -(-longest // batch_size(dataset))


def measure(
    net: nn.Module,
    dataset: Dataset,
    against: ReferenceSet,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[dict[str, Any], tuple[dict[str, float | None], ...], Tensor]:
    """Samples `net` (in eval mode) and measures the distance of the samples to the reference.

    The noise of image i is drawn by (seed, repeat, i), so that all networks measured under one seed start alike.
    Returns the values (columns), one row for each scale of `guidance_grid`, and the first images of the first repeat
    (n, C, H, W) uint8. The ranks share the samples and all return the same values.
    """

    def once(guidance: Scale, r: int) -> tuple[dict[str, float | None], Tensor]:
        found, first, costs = _sampled_features(
            net, dataset, against, alphas_cumprod, settings, guidance, seed + r * 1_000_003, context, progress
        )
        return {**_distances(found, against), **costs}, first

    def repeated(guidance: Scale) -> tuple[list[dict[str, float | None]], Tensor]:
        measured = [once(guidance, r) for r in range(settings.repeats)]
        return [values for values, _ in measured], measured[0][1]

    found, images = repeated(settings.guidance)
    values: dict[str, Any] = {
        "metric": against.extractor.metric(settings.samples),
        **_means(found),
        "sample_gflop": sample_gflop(net, dataset.image_shape, settings.guidance, settings.sampler_steps),
        "value_repeats": [values["value"] for values in found],
        "comparability_key": metrics.comparability_key(
            against.extractor, against.sha256, len(against.features), settings.samples, settings.precision
        ),
    }
    grid = tuple({"guidance": scale, **_means(repeated(scale)[0])} for scale in settings.guidance_grid)
    return values, grid, images


def _means(repeats: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Each value averaged over the repeats; None where there is none."""
    names = repeats[0]
    return {name: None if names[name] is None else mean(r[name] or 0.0 for r in repeats) for name in names}


def _distances(found: Tensor, against: ReferenceSet) -> dict[str, float | None]:
    """The distances of features and logits (N, dims + logits) to the reference; None where there are no logits."""
    extractor = against.extractor
    rows, logits = found[:, : extractor.dims].contiguous(), found[:, extractor.dims :]
    values: dict[str, float | None] = {
        "value": metrics.frechet_distance(metrics.statistics(rows), against.statistics),
        "kid": metrics.kernel_distance(rows, against.features, extractor.kid_subsets, extractor.kid_subset_size),
        "inception_score": metrics.inception_score(logits) if extractor.logits else None,
    }
    with full_precision():
        values |= neighbours.compare(rows, against.chosen, against.radii)
        if extractor.name.startswith("clip"):
            values["cmmd"] = neighbours.cmmd(rows, against.chosen, against.device)
    return values


def _sampled_features(
    net: nn.Module,
    dataset: Dataset,
    against: ReferenceSet,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    guidance: Scale,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[Tensor, Tensor, dict[str, float | None]]:
    """Features and logits of all ranks' samples on the CPU, the images of this rank's first batch, uint8, and what one
    image took: seconds, and megabytes at the peak of the first batch."""
    here = range(settings.samples)[my_slice(settings.samples, context)]
    longest = -(-settings.samples // context.world_size)
    rows = torch.empty(0, against.extractor.dims + against.extractor.logits, device=dataset.device)
    first, seconds, megabytes = torch.empty(0), 0.0, None
    size = batch_size(dataset)
    for start in range(0, longest, size):
        indices = here[start : start + size]
        if indices:
            began = time.perf_counter()
            with peak_memory(dataset.device) as peak:
                pixels = to_pixels(sample(net, dataset, alphas_cumprod, settings, guidance, seed, indices))
                if pixels.is_cuda:
                    torch.cuda.synchronize()
            seconds += time.perf_counter() - began
            megabytes = peak.megabytes if start == 0 else megabytes
            with torch.inference_mode(), full_precision():
                rows = torch.cat([rows, against.extractor.net(pixels)])
            first = pixels if start == 0 else first
        progress.advance()
    costs = {"sample_seconds": seconds / max(1, len(here)), "sample_memory": megabytes}
    return gather_rows(rows, settings.samples, context).cpu(), first, costs


def sample(
    net: nn.Module,
    dataset: Dataset,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    guidance: Scale,
    seed: int,
    indices: range,
) -> Tensor:
    """Images (len(indices), C, H, W), float32, of balanced labels (image i has label i mod classes)."""
    device = dataset.device
    labels = sampling.balanced_labels(indices, dataset.classes, device)
    noise = sampling.starting_noise(seed, indices, dataset.image_shape, device)
    denoise = sampling.guided(net, labels, dataset.classes, scales(guidance, device), settings.precision)
    return sampling.sampler(settings.sampler)(denoise, noise, alphas_cumprod, settings.sampler_steps)
