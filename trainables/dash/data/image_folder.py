"""A folder of images: which files, which labels, and their pixels."""

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


def fill(pixels: np.ndarray, files: Sequence[Path], settings: ImageFolder) -> None:
    """Decodes the files into `pixels` (N, C, S, S) uint8: each scaled so that it covers the square, cropped centrally.

    Raises ValueError, naming it, for a file that is no image.
    """

    def one(i: int) -> None:
        try:
            pixels[i] = _pixels(files[i], settings)
        except (OSError, SyntaxError) as error:  # SyntaxError is Pillow's word for a broken PNG
            raise ValueError(f"data.path: {files[i]} cannot be read as an image: {error}") from error

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, range(len(files))))


def _pixels(file: Path, settings: ImageFolder) -> np.ndarray:
    """(C, S, S) uint8."""
    with Image.open(file) as image:
        converted = image.convert("RGB" if settings.channels == 3 else "L")
    square = ImageOps.fit(converted, (settings.image_size, settings.image_size), Image.Resampling.BICUBIC)
    return np.asarray(square).reshape(settings.image_size, settings.image_size, settings.channels).transpose(2, 0, 1)
