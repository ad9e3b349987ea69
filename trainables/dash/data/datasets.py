"""Labelled images: the whole set on the device as 8-bit pixels, batches in [-1, 1] from it without a loader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.data import image_folder
from branchwise.trainables.dash.settings.data import Data, Digits, TorchvisionData
from branchwise.trainables.dash.settings.files import missing_data


@dataclass(frozen=True)
class Dataset:
    """`images` (N, C, H, W) uint8 and `labels` (N,) int64 on one device."""

    images: Tensor
    labels: Tensor
    classes: int
    flip: bool = False  # whether batches mirror each image with probability 1/2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width


def load(settings: Data, device: torch.device | str) -> Dataset:
    """The training images of `settings` on `device`.

    Raises FileNotFoundError, saying what to do, when they are not there, and ValueError when they are not as stated.
    """
    if isinstance(settings, Digits):
        images, labels = _digits()
    elif isinstance(settings, TorchvisionData):
        images, labels = _torchvision(settings)
    else:
        images, labels = image_folder.read(settings)
    flip = not isinstance(settings, Digits) and settings.flip
    return Dataset(images.to(device), labels.to(device), settings.classes, flip)


def load_reference_images(settings: Data, device: torch.device | str) -> Dataset:
    """The images that samples are compared with: all training images, whatever part of them trains."""
    if isinstance(settings, TorchvisionData):
        settings = settings.model_copy(update={"split": "train"})
    return load(settings, device)


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images / 16 * 255).round().to(torch.uint8)  # 17 grey levels
    return pixels.unsqueeze(1), torch.from_numpy(digits.target).to(torch.int64)


def _torchvision(settings: TorchvisionData) -> tuple[Tensor, Tensor]:
    from torchvision import datasets

    kind = getattr(datasets, settings.known.torchvision)
    root = Path(settings.path).expanduser()
    try:
        if settings.download:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{settings.name}.lock"):  # several workers may ask at once
                found = kind(root, train=True, download=True)
        else:
            found = kind(root, train=True, download=False)
    except RuntimeError as error:  # torchvision's word for not found
        raise FileNotFoundError(missing_data(settings)) from error
    images, labels = torch.as_tensor(found.data), torch.as_tensor(found.targets, dtype=torch.int64)
    # (N, 32, 32, 3) to (N, 3, 32, 32); (N, 28, 28) to (N, 1, 32, 32)
    images = (
        images.permute(0, 3, 1, 2).contiguous() if images.ndim == 4 else functional.pad(images, (2, 2, 2, 2))[:, None]
    )
    if settings.split == "train_45k":
        chosen = torch.randperm(len(images), generator=generator(42, "45,000 for training"))[:45_000].sort().values
        images, labels = images[chosen], labels[chosen]
    return images, labels


def to_float(pixels: Tensor) -> Tensor:
    """8-bit pixels to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """Float images to 8-bit pixels; what lies outside [-1, 1] is clipped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def of_each_class(dataset: Dataset, count: int) -> Tensor:
    """The first images of each class, `count` in all, of classes 0, 1, 2, ... in turn; a class without one is black."""
    seen = [0] * dataset.classes
    shown = dataset.images.new_zeros(count, *dataset.images.shape[1:])
    places = [torch.nonzero(dataset.labels == label).flatten() for label in range(dataset.classes)]
    for i in range(count):
        label = i % dataset.classes
        if len(places[label]):
            shown[i] = dataset.images[places[label][seen[label] % len(places[label])]]
            seen[label] += 1
    return shown


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
