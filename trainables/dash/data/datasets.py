"""Labeled images as 8-bit pixels, on the device if they fit; batches in [-1, 1].

There is no loader.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.data import decoded, image_folder
from branchwise.trainables.dash.settings.data import FULL_SIZE, Data, Digits, ImageFolder, TorchvisionData
from branchwise.trainables.dash.settings.files import checked_listing, missing_data

SHARE_OF_DEVICE = 0.4  # of a GPU's free memory that images may take


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8 and labels (N,) int64 on the device.

    The images are on the host where they are too many.

    `target_device` is the device that batches go to, if not the images' device; `checksum` that of the pixels,
    if already known. `counts` are the images of each class of a folder, held-out ones included; data sets
    with classes of about equal size have none.
    """

    images: Tensor
    labels: Tensor
    classes: int
    flip: bool = False  # whether batches mirror each image with probability 1/2
    target_device: torch.device | None = None
    checksum: str = ""
    counts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device on which batches are used."""
        return self.target_device if self.target_device is not None and self._on_host else self.images.device

    @property
    def _on_host(self) -> bool:
        return self.target_device is not None and self.images.device.type != self.target_device.type

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Of the pixels and their shape."""
        return self.checksum or decoded.pixels_sha256(self.images.cpu().numpy())

    @cached_property
    def labelled_sha256(self) -> str:
        """Of the pixels, their shape and the labels."""
        labels = self.labels.cpu().numpy().astype("<i8").tobytes()
        return hashlib.sha256(self.sha256.encode() + labels).hexdigest()

    def pick(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images (n, C, H, W) uint8 and labels (n,) of `indices` (n,), on the device."""
        labels = self.labels[indices.to(self.labels.device)]
        if not self._on_host:
            return self.images[indices.to(self.device)], labels
        chosen = self.images[indices.cpu()].pin_memory()  # else the copy waits for all work queued on the GPU
        return chosen.to(self.device, non_blocking=True), labels


def load(settings: Data, device: torch.device | str) -> Dataset:
    """Return the training images of `settings` on `device`; `load_holdout` returns none of them.

    Raises FileNotFoundError, saying what to do, when they are missing, and ValueError when they are not as stated.
    """
    images, labels, checksum = _part(settings, holdout=False)
    if isinstance(settings, TorchvisionData) and settings.split == "train_45k":
        chosen = torch.randperm(len(images), generator=generator(42, "45,000 for training"))[:45_000].sort().values
        images, labels = images[chosen], labels[chosen]
    return _dataset(settings, images, labels, device, checksum)


def load_holdout(settings: Data, device: torch.device | str) -> Dataset:
    """Return the images not used for training, on `device`.

    They are the test set of a data set of torchvision's, else a fixed share of each class.

    Raises as `load` does.
    """
    images, labels, checksum = _part(settings, holdout=True)
    if not len(images):
        raise ValueError(f"data: {settings.name}: no class has two images, so none can be held out")
    return _dataset(settings, images, labels, device, checksum)


def load_reference_images(settings: Data, device: torch.device | str) -> Dataset:
    """Return the images that samples are compared with: all but a test set's.

    They do not depend on which part trains.
    """
    images, labels, checksum = _part(settings, holdout=None)
    return _dataset(settings, images, labels, device, checksum)


def holdout_rows(settings: Digits | ImageFolder, labels: Tensor) -> Tensor:
    """Return the mask (N,) bool of the held-out images of `labels` (N,).

    They are drawn within each class, the same at each call.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(settings.classes):
        rows = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=generator(42, "held out", label))
        chosen[rows[order[: settings.holdout(len(rows), len(labels))]]] = True
    return chosen


def _dataset(settings: Data, images: Tensor, labels: Tensor, device: torch.device | str, checksum: str) -> Dataset:
    flip = not isinstance(settings, Digits) and settings.flip
    target = torch.device(device)
    if fits(images, target):
        images = images.to(target)
    counts: tuple[int, ...] = ()
    if isinstance(settings, ImageFolder):
        counts = tuple(map(len, checked_listing(settings).files))
    return Dataset(images, labels.to(target), settings.classes, flip, target, checksum, counts)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether images may be on the device: on a GPU they use only a part of the free memory."""
    if device.type != "cuda":
        return True
    return images.nbytes <= SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]


def _part(settings: Data, holdout: bool | None) -> tuple[Tensor, Tensor, str]:
    """Return pixels, labels and the pixels' SHA-256, where available, of a part of the images.

    The part is the held-out images, the others, or (None) all but a test set's.
    """
    if isinstance(settings, TorchvisionData):
        return *_torchvision(settings, train=not holdout), ""
    if isinstance(settings, Digits):
        images, labels = _digits()
    else:
        labels = torch.from_numpy(image_folder.listed(settings)[1])
    if holdout is None:
        rows = torch.arange(len(labels))
    else:
        rows = (holdout_rows(settings, labels) == holdout).nonzero().squeeze(1)
    if isinstance(settings, ImageFolder):
        pixels, sha256 = decoded.get(settings, None if holdout is None else rows.tolist())
        return torch.from_numpy(pixels), labels[rows], sha256
    return images[rows], labels[rows], ""


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images / 16 * 255).round().to(torch.uint8)  # 17 grey levels
    return pixels.unsqueeze(1), torch.from_numpy(digits.target).to(torch.int64)


def _torchvision(settings: TorchvisionData, train: bool) -> tuple[Tensor, Tensor]:
    from torchvision import datasets

    kind = getattr(datasets, settings.known.torchvision)
    root = Path(settings.path).expanduser()
    try:
        if settings.download:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{settings.name}.lock"):  # multiple workers may ask at once
                result = kind(root, train=train, download=True)
        else:
            result = kind(root, train=train, download=False)
    except RuntimeError as error:  # torchvision's error for not found
        why = f"{missing_data(settings)}; downloading failed: {error}" if settings.download else missing_data(settings)
        raise FileNotFoundError(why) from error
    images, labels = torch.as_tensor(result.data), torch.as_tensor(result.targets, dtype=torch.int64)
    # (N, 32, 32, 3) to (N, 3, 32, 32); (N, 28, 28) to (N, 1, 32, 32)
    images = (
        images.permute(0, 3, 1, 2).contiguous() if images.ndim == 4 else functional.pad(images, (2, 2, 2, 2))[:, None]
    )
    return (images if settings.image_size == FULL_SIZE else _halved(images)), labels


def _halved(images: Tensor) -> Tensor:
    """Pixels (N, C, 2S, 2S) to (N, C, S, S): the mean of four, rounded, halves up."""
    four = images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).sum((3, 5), dtype=torch.int16)
    return torch.div(four + 2, 4, rounding_mode="floor").to(torch.uint8)


def to_float(pixels: Tensor) -> Tensor:
    """8-bit pixels to float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """Float images to 8-bit pixels; what is outside [-1, 1] is clipped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def of_each_class(dataset: Dataset, count: int) -> Tensor:
    """Return the first images of each class, `count` in all, of classes 0, 1, 2, ... in turn.

    Missing ones are black.
    """
    visible = dataset.images.new_zeros(count, *dataset.images.shape[1:])
    places = [torch.nonzero(dataset.labels == label).flatten() for label in range(dataset.classes)]
    for i in range(count):
        of_class = places[i % dataset.classes]
        if len(of_class):
            visible[i] = dataset.images[of_class[i // dataset.classes % len(of_class)]]
    return visible


def in_turn(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the images in the order of classes 0, 1, 2, ..., 0, 1, ..., as many as `images`.

    Where a class has too few, they are black.
    """
    visible = images.new_zeros(images.shape)
    places = [(labels == label).nonzero().flatten().tolist() for label in range(classes)]
    for i in range(len(images)):
        of_class = places[i % classes]
        if i // classes < len(of_class):
            visible[i] = images[of_class[i // classes]]
    return visible


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> Tensor:
    """Return the indices of batch `step` (from 0) in `size` examples: (batch_size,) int64, CPU.

    Epochs are permutations drawn by (seed, epoch), concatenated, so that each example occurs equally often.
    """
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // size
    parts = [_permutation(seed, e, size)[positions[epochs == e] % size] for e in sorted(set(epochs.tolist()))]
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, "order", epoch))
