"""A folder of images as one tensor of 8-bit pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.files import class_folders

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def listed(settings: ImageFolder) -> tuple[list[Path], Tensor]:
    """The files and their labels (N,) int64: label k is the k-th sub-folder in alphabetical order.

    Raises FileNotFoundError when the folder is not there, ValueError when it does not hold as many classes as stated or
    a class without images.
    """
    files, labels = [], []
    for label, folder in enumerate(class_folders(settings)):
        found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"data.path: {folder} holds no images ({', '.join(sorted(SUFFIXES))})")
        files += found
        labels += [label] * len(found)
    return files, torch.tensor(labels)


def read(files: Sequence[Path], settings: ImageFolder) -> Tensor:
    """Pixels (N, C, S, S) uint8: each image is scaled so that it covers the square and cropped at its centre."""
    pixels = np.empty((len(files), settings.channels, settings.image_size, settings.image_size), dtype=np.uint8)

    def fill(i: int) -> None:
        pixels[i] = _pixels(files[i], settings)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(fill, range(len(files))))
    return torch.from_numpy(pixels)


def _pixels(file: Path, settings: ImageFolder) -> np.ndarray:
    """(C, S, S) uint8."""
    with Image.open(file) as image:
        converted = image.convert("RGB" if settings.channels == 3 else "L")
    square = ImageOps.fit(converted, (settings.image_size, settings.image_size), Image.Resampling.BICUBIC)
    return np.asarray(square).reshape(settings.image_size, settings.image_size, settings.channels).transpose(2, 0, 1)
