"""Labelled images: the whole set on the device as 8-bit pixels, batches in [-1, 1] from it without a loader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from trainables.dash import spec
from trainables.dash.seeding import generator


@dataclass(frozen=True)
class Dataset:
    """`images` (N, C, H, W) uint8 and `labels` (N,) int64 on one device."""

    images: Tensor
    labels: Tensor
    classes: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width


def load(settings: spec.Data, device: torch.device | str) -> Dataset:
    """The training images of `settings` on `device`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images / 16 * 255).round().to(torch.uint8)  # 17 grey levels
    labels = torch.from_numpy(digits.target).to(torch.int64)
    return Dataset(pixels.unsqueeze(1).to(device), labels.to(device), classes=10)


def to_float(pixels: Tensor) -> Tensor:
    """8-bit pixels to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """Float images to 8-bit pixels; what lies outside [-1, 1] is clipped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> Tensor:
    """Which of `size` examples make batch `step` (from 0), shape (batch_size,), int64, on the CPU.

    Epochs are permutations drawn by (seed, epoch), laid end to end, so that each example comes up equally often.
    """
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // size
    parts = [_permutation(seed, e, size)[positions[epochs == e] % size] for e in sorted(set(epochs.tolist()))]
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, "order", epoch))
