"""Grids of samples, at their native size in pixels, as PNG."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from branchwise.trainables.dash.data.datasets import to_pixels
from branchwise.trainables.dash.diffusion import sampling, schedule
from branchwise.trainables.dash.diffusion.guidance import scales
from branchwise.trainables.dash.nets import checkpoint
from branchwise.trainables.dash.settings.guidance import IntervalGuidance, TagGuidance

ROWS = 8
ACROSS = 20


def save_grid(path: Path, pixels: Tensor, classes: int, description: str = "") -> None:
    """Write images (n, C, H, W) uint8 of labels i mod `classes` as a grid.

    The grid is up to 20 classes across and has up to 8 rows.

    description: a phrase stored in the file.
    """
    rows = max(1, min(ROWS, len(pixels) // classes))
    visible = pixels[: rows * classes]
    tiles = visible.reshape(rows, -1, *pixels.shape[1:])[:, :ACROSS]
    _write(path, tiles, description)


def sample_model(
    folder: Path,
    out: Path,
    *,
    label: int | None,
    count: int,
    guidance: float | TagGuidance | IntervalGuidance,
    sampler: str,
    steps: int,
    seed: int,
    batch: int = 100,
) -> None:
    """Sample the model in `folder` into the PNG `out`: `count` images of `label`, or per class.

    `batch` images are sampled at once, which changes them by rounding only. Raises OSError without a model or
    `out` cannot be written, ValueError for a class the model does not know, or for guidance of a model that has no
    unconditional branch.
    """
    net, _ = checkpoint.load_model(folder, "cpu")
    config: Any = net.config
    if config.num_class_embeds is None:
        raise ValueError(f"{folder} is not a class-conditional model")
    classes = config.num_class_embeds - 1
    if label is not None and not 0 <= label < classes:
        raise ValueError(f"class {label}: the model knows 0 to {classes - 1}")
    described = folder / "student.json"
    if guidance != 1 and described.is_file() and json.loads(described.read_text())["guidance_inside"]:
        raise ValueError(f"{folder} has its guidance inside and no unconditional branch: guidance must be 1")
    labels = torch.arange(classes).repeat(count) if label is None else torch.full((count,), label)
    shape = (config.in_channels, config.sample_size, config.sample_size)
    abar = schedule.cosine_alphas_cumprod()
    batches = []
    for start in range(0, len(labels), batch):
        chosen = range(start, min(start + batch, len(labels)))
        noise = sampling.starting_noise(seed, chosen, shape, "cpu")
        denoise = sampling.guided(net, labels[chosen.start : chosen.stop], classes, scales(guidance))
        images = sampling.draw(sampler, denoise, noise, abar, steps)
        if not bool(images.isfinite().all()):
            raise ValueError(f"{folder}: samples under this guidance are not finite")
        batches.append(to_pixels(images))
    pixels = torch.cat(batches)
    across = classes if label is None else math.ceil(math.sqrt(count))
    missing = -len(pixels) % across
    tiles = torch.cat([pixels, pixels.new_zeros(missing, *shape)]).reshape(-1, across, *shape)
    _write(out, tiles)


def _write(path: Path, tiles: Tensor, description: str = "") -> None:
    """Write `tiles` (rows, across, C, H, W) uint8 into a PNG that states their size.

    The size is in the PNG text `Tile`, WIDTHxHEIGHT.
    """
    rows, across, channels, height, width = tiles.shape
    image = tiles.cpu().permute(0, 3, 1, 4, 2).reshape(rows * height, across * width, channels)
    described = PngInfo()
    described.add_text("Tile", f"{width}x{height}")
    if description:
        described.add_text("Description", description)
    Image.fromarray((image.squeeze(-1) if channels == 1 else image).numpy()).save(path, pnginfo=described)
