"""The images of a folder, decoded once a machine into a file that every process maps into its memory.

A million small files take minutes to decode and a second to map. The copy lies in $XDG_CACHE_HOME/branchwise under a
key of the names, sizes and times of the files, so that a folder that changed is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from torch import Tensor

from branchwise.trainables.dash.data import image_folder
from branchwise.trainables.dash.settings.data import ImageFolder

CHUNK = 1 << 14  # images hashed at once


def cache_root() -> Path:
    """Where what can be made again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "branchwise"


def get(files: Sequence[Path], settings: ImageFolder) -> tuple[Tensor, str]:
    """Pixels (N, C, S, S) uint8 of the files, mapped from one file, and the SHA-256 of the pixels and their shape.

    One process decodes while the others wait. Raises ValueError for a file that is no image.
    """
    folder = cache_root() / f"images-{_key(settings, files)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        found = _mapped(folder, len(files), settings)
        if found is None:
            _decode(files, settings, folder)
            found = _mapped(folder, len(files), settings)
    if found is None:
        raise OSError(f"{folder} was removed while it was read")
    return found


def _key(settings: ImageFolder, files: Sequence[Path]) -> str:
    root = Path(settings.path).expanduser()
    digest = hashlib.sha256(json.dumps([settings.image_size, settings.channels]).encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _mapped(folder: Path, count: int, settings: ImageFolder) -> tuple[Tensor, str] | None:
    """The pixels in `folder` and their SHA-256; None when there are none, or not as many as there should be."""
    try:
        about = json.loads((folder / "about.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")  # copy on write: nothing done to them reaches the file
    except (FileNotFoundError, ValueError):
        return None
    shape = (count, settings.channels, settings.image_size, settings.image_size)
    return (torch.from_numpy(pixels), about["sha256"]) if pixels.shape == shape else None


def _decode(files: Sequence[Path], settings: ImageFolder, folder: Path) -> None:
    """Writes `folder` whole or not at all."""
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        beside.chmod(0o755)
        shape = (len(files), settings.channels, settings.image_size, settings.image_size)
        pixels = open_memmap(beside / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        image_folder.fill(pixels, files, settings)
        pixels.flush()
        digest = hashlib.sha256(str(shape).encode())
        for start in range(0, len(files), CHUNK):
            digest.update(pixels[start : start + CHUNK].tobytes())
        (beside / "about.json").write_text(json.dumps({"sha256": digest.hexdigest(), "images": len(files)}) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
