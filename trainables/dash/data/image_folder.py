"""The images of a folder: which files, which labels, and their pixels. No torch here."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from branchwise.trainables.dash.data.image_decoder import decode, reason
from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.files import checked_listing

MAX_NAMED = 50  # damaged files

Errors = list[tuple[Path, str]]  # files that cannot be read, and why


def listed(settings: ImageFolder) -> tuple[list[Path], np.ndarray]:
    """Return the files and their labels (N,) int64.

    Label k is the k-th sub-folder in alphabetical order.

    Raises FileNotFoundError when the folder is missing, ValueError when it does not hold what is stated.
    """
    listing = checked_listing(settings)
    return listing.paths, np.array(listing.labels, dtype=np.int64)


def fill(pixels: np.ndarray, files: Sequence[Path], settings: ImageFolder, digests: Sequence[str] = ()) -> None:
    """Decode the files, with SHA-256 `digests`, into `pixels` (N, C, S, S) uint8.

    Raises ValueError that names all files that cannot be decoded, or are not the ones that were hashed.
    """
    errors = decode_all(files, settings, pixels.__setitem__, digests)
    if len(errors) == 1:
        file, error = errors[0]
        raise ValueError(f"data.path: {file} cannot be read as an image: {error}")
    if errors:
        raise ValueError(f"data.path: {len(errors):,} files cannot be read as images: {describe_errors(errors)}")


def decode_all(
    files: Sequence[Path],
    settings: ImageFolder,
    keep: Callable[[int, np.ndarray], None],
    digests: Sequence[str] = (),
) -> Errors:
    """Pass each file's number and pixels to `keep`; return the files that cannot be decoded."""

    def decode_image(i: int) -> str:
        try:
            content = files[i].read_bytes()
            keep(i, decode(content, settings))
        except Exception as error:  # of damaged files, Pillow raises more kinds than it documents
            return reason(error)
        if digests and hashlib.sha256(content).hexdigest() != digests[i]:
            return "it was changed while it was read"
        return ""

    # Of Pillow's warnings, what matters is an error here.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        reasons = list(pool.map(decode_image, range(len(files))))
    return [(file, error) for file, error in zip(files, reasons, strict=True) if error]


def describe_errors(errors: Errors) -> str:
    """The files and the reason of each."""
    more = f" and {len(errors) - MAX_NAMED:,} more" if len(errors) > MAX_NAMED else ""
    return "; ".join(f"{file} ({error})" for file, error in errors[:MAX_NAMED]) + more
