"""The images of a folder, decoded once a machine into a file that each process maps.

A million small files take minutes to decode and a second to map. The copy is in $XDG_CACHE_HOME/branchwise under a
key of the files' content. No torch here: a dry run decodes, too, to name damaged files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from branchwise.trainables.dash.data import image_folder
from branchwise.trainables.dash.settings.content import cached_folder, file_digests
from branchwise.trainables.dash.settings.data import DECODER, ImageFolder
from branchwise.trainables.dash.settings.files import checked_listing

CHUNK = 1 << 14  # images hashed or copied at once
MAX_SEALED = 2 << 30  # bytes of pixels that are read through to see that they are the ones written

Fill = Callable[[np.ndarray], None]


def get(settings: ImageFolder, rows: Sequence[int] | None = None) -> tuple[np.ndarray, str]:
    """Return pixels (N, C, S, S) uint8 of all images, or of `rows`, and the pixels' SHA-256.

    The pixels are mapped from a file.

    A single process decodes while the others wait. Raises FileNotFoundError and ValueError as `image_folder.fill`.
    """
    listing = checked_listing(settings)
    digests = file_digests(listing)
    if rows is None:
        files = listing.paths
        return _cached(settings, digests, lambda pixels: image_folder.fill(pixels, files, settings, digests))

    def copy(pixels: np.ndarray) -> None:
        everything, _ = get(settings)
        for start in range(0, len(rows), CHUNK):
            pixels[start : start + CHUNK] = everything[rows[start : start + CHUNK]]

    return _cached(settings, [digests[i] for i in rows], copy)


def check(settings: ImageFolder) -> None:
    """Check that all images can be decoded, and cache the decoded images for the run.

    Raises ValueError that names each image that cannot be decoded.

    Where the cache cannot be written, they are decoded only for the check.
    """
    try:
        get(settings)
    except OSError:
        files, _ = image_folder.listed(settings)
        shape = (len(files), settings.channels, settings.image_size, settings.image_size)
        image_folder.fill(np.empty(shape, np.uint8), files, settings)


def _cached(settings: ImageFolder, digests: Sequence[str], fill: Fill) -> tuple[np.ndarray, str]:
    shape = (len(digests), settings.channels, settings.image_size, settings.image_size)
    how = [DECODER, settings.image_size, settings.channels, settings.background, settings.white_level]
    key = hashlib.sha256(json.dumps([how, list(digests)]).encode()).hexdigest()[:32]

    def write(folder: Path) -> None:
        pixels = open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        fill(pixels)
        pixels.flush()
        description = {"sha256": pixels_sha256(pixels), "images": len(pixels)}
        (folder / "about.json").write_text(json.dumps(description) + "\n")

    return cached_folder(f"images-{key}", lambda folder: _mapped(folder, shape), write)


def _mapped(folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, str] | None:
    """Return the pixels in `folder` and their SHA-256; None if missing or not as written."""
    try:
        description = json.loads((folder / "about.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")  # copy on write: changes do not reach the file
        if pixels.shape != shape or (pixels.nbytes <= MAX_SEALED and pixels_sha256(pixels) != description["sha256"]):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return pixels, description["sha256"]


def pixels_sha256(pixels: np.ndarray) -> str:
    """The SHA-256 of pixels (N, C, H, W) and their shape."""
    digest = hashlib.sha256(str(pixels.shape).encode())
    for start in range(0, len(pixels), CHUNK):
        digest.update(pixels[start : start + CHUNK].tobytes())
    return digest.hexdigest()
