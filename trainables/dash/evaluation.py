"""How good are a network's samples? Sampling, features and distances; images go to the features without files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from trainables import Context
from trainables.dash import features, metrics, samplers
from trainables.dash.data import Dataset, load_reference, to_pixels
from trainables.dash.data_spec import Data
from trainables.dash.guidance import scales
from trainables.dash.parallel import gather_rows, my_slice
from trainables.dash.progress import Progress
from trainables.dash.spec import Evaluate, IntervalGuidance, TagGuidance

BATCH = 250  # images sampled at once
GRID_ROWS = 8


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: the features of the whole training set."""

    extractor: features.Extractor
    features: Tensor  # (N, d) float32, on the CPU
    statistics: metrics.Statistics
    sha256: str  # of pixels


def reference(settings: Data, device: torch.device | str) -> Reference:
    """The reference of a data set, its features computed on `device`. Raises as data.load does."""
    dataset = load_reference(settings, device)
    extractor = features.digits(device)
    found = metrics.extract(extractor.net, dataset.images)
    pixels = hashlib.sha256(dataset.images.cpu().numpy().tobytes()).hexdigest()
    return Reference(extractor, found, metrics.statistics(found), pixels)


def batches_of(settings: Evaluate, context: Context) -> int:
    """Batches one rank samples for one network, the same on every rank."""
    longest = -(-settings.samples // context.world_size)
    return (1 + len(settings.guidance_grid)) * settings.repeats * -(-longest // BATCH)


def measure(
    net: nn.Module,
    dataset: Dataset,
    against: Reference,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[dict[str, Any], tuple[dict[str, float], ...], Tensor]:
    """Samples `net` (in eval mode) and measures the distance of the samples to the reference.

    The noise of image i is drawn by (seed, repeat, i), so that all networks measured under one seed start alike.
    Returns the values (columns), one row for each scale of `guidance_grid`, and the first images of the first repeat
    (n, C, H, W) uint8. The ranks share the samples and all return the same values.
    """

    def repeat(guidance: float | TagGuidance | IntervalGuidance, r: int) -> tuple[float, float, Tensor]:
        found, first = _sampled_features(
            net, dataset, against, alphas_cumprod, settings, guidance, seed + r * 1_000_003, context, progress
        )
        distance = metrics.frechet_distance(metrics.statistics(found), against.statistics)
        return distance, metrics.kernel_distance(found, against.features), first

    repeats = [repeat(settings.guidance, r) for r in range(settings.repeats)]
    values = {
        "metric": against.extractor.metric,
        "value": mean(value for value, _, _ in repeats),
        "value_repeats": [value for value, _, _ in repeats],
        "kid": mean(kid for _, kid, _ in repeats),
        "inception_score": None,
        "comparability_key": metrics.comparability_key(
            against.extractor.metric,
            against.extractor.weights_sha256,
            against.sha256,
            len(against.features),
            settings.samples,
        ),
    }
    grid = []
    for scale in settings.guidance_grid:
        measured = [repeat(scale, r) for r in range(settings.repeats)]
        grid.append({"guidance": scale, "value": mean(m[0] for m in measured), "kid": mean(m[1] for m in measured)})
    return values, tuple(grid), repeats[0][2]


def _sampled_features(
    net: nn.Module,
    dataset: Dataset,
    against: Reference,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    guidance: float | TagGuidance | IntervalGuidance,
    seed: int,
    context: Context,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Features (N, d) of all ranks' samples on the CPU, and the images of this rank's first batch, uint8."""
    here = range(settings.samples)[my_slice(settings.samples, context)]
    longest = -(-settings.samples // context.world_size)
    rows = torch.empty(0, against.extractor.dims, device=dataset.images.device)
    first = torch.empty(0)
    for start in range(0, longest, BATCH):
        indices = here[start : start + BATCH]
        if indices:
            pixels = to_pixels(sample(net, dataset, alphas_cumprod, settings, guidance, seed, indices))
            with torch.inference_mode():
                rows = torch.cat([rows, against.extractor.net(pixels)])
            first = pixels if start == 0 else first
        progress.advance()
    return gather_rows(rows, settings.samples, context).cpu(), first


def sample(
    net: nn.Module,
    dataset: Dataset,
    alphas_cumprod: Tensor,
    settings: Evaluate,
    guidance: float | TagGuidance | IntervalGuidance,
    seed: int,
    indices: range,
) -> Tensor:
    """Images (len(indices), C, H, W), float32, of balanced labels (image i has label i mod classes)."""
    device = dataset.images.device
    labels = samplers.balanced_labels(indices, dataset.classes, device)
    noise = samplers.starting_noise(seed, indices, dataset.image_shape, device)
    denoise = samplers.guided(net, labels, dataset.classes, scales(guidance, device))
    return samplers.SAMPLERS[settings.sampler](denoise, noise, alphas_cumprod, settings.sampler_steps)


def save_grid(path: Path, pixels: Tensor, classes: int) -> None:
    """A PNG of images (n, C, H, W) uint8 at native size: classes across (at most 20), up to 8 rows."""
    across = min(classes, 20)
    rows = max(1, min(GRID_ROWS, len(pixels) // classes))
    channels, height, width = pixels.shape[1:]
    tiles = pixels[: rows * classes].cpu().reshape(rows, -1, channels, height, width)[:, :across]
    tiled = tiles.permute(0, 3, 1, 4, 2).reshape(rows * height, across * width, channels)
    Image.fromarray((tiled.squeeze(-1) if channels == 1 else tiled).numpy()).save(path)
