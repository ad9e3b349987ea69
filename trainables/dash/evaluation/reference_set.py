"""The reference of samples: features of all images but a test set's, and their moments.

They are cached per machine.

Features are in a file that is mapped into memory, below $XDG_CACHE_HOME/branchwise under a key of the pixels, the
weights and the version of torch-fidelity; a single process computes them while the others wait.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from torch import Tensor

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.compute.memory import AdaptiveBatcher
from branchwise.trainables.dash.data.datasets import Dataset, load_reference_images
from branchwise.trainables.dash.evaluation import features, metrics, neighbors
from branchwise.trainables.dash.settings.content import cache_root, cached_folder
from branchwise.trainables.dash.settings.data import Data
from branchwise.trainables.dash.settings.features import DIGITS

BATCH = 250  # images at once
PART = 40 * BATCH  # images per write of features
RADII = "radii64.npy"
MAX_SEALED = 2 << 30  # bytes of features that are read through to see that they are the ones written


@dataclass(frozen=True)
class ReferenceSet:
    extractor: features.Extractor
    features: Tensor  # (N, d) float32, on the CPU, mapped from a file where they are cached
    labels: Tensor  # (N,) int64, on the CPU
    statistics: metrics.Statistics
    sha256: str  # of pixels and their shape
    device: torch.device
    folder: Path | None = None  # the cache of the machine

    @cached_property
    def chosen(self) -> Tensor:
        """The references to compare samples with, (M, d): all, or `neighbors.MAX_REFERENCES`."""
        return self.features[neighbors.chosen(len(self.features))]

    @cached_property
    def radii(self) -> Tensor:
        """Distances (M, 2) of each of `chosen` to its neighbors, on the device.

        They are cached next to the features.
        """
        if self.folder is None:
            return neighbors.radii(self.chosen, self.device)
        with FileLock(self.folder.with_suffix(".lock")):
            result = _cached_radii(self.folder, len(self.chosen))
            if result is None:
                result = neighbors.radii(self.chosen, self.device).cpu()
                _keep_radii(self.folder, result)
        return result.to(self.device)


def get(settings: Data, extractor: features.Extractor, device: torch.device | str) -> ReferenceSet:
    """Return the reference of a data set in the space of `extractor`, computed on `device`.

    Raises as datasets.load does.
    """
    dataset = load_reference_images(settings, device)
    rows, statistics = _features_and_moments(extractor, dataset)
    folder = None if extractor.name == DIGITS else cache_root() / _folder_name(extractor, dataset.sha256)
    return ReferenceSet(extractor, rows, dataset.labels.cpu(), statistics, dataset.sha256, dataset.device, folder)


def features_of(extractor: features.Extractor, dataset: Dataset) -> Tensor:
    """The features (N, d) of a data set's images, on the CPU, cached for later runs."""
    return _features_and_moments(extractor, dataset)[0]


def _features_and_moments(extractor: features.Extractor, dataset: Dataset) -> tuple[Tensor, metrics.Statistics]:
    if extractor.name == DIGITS:  # computed sooner than read
        rows = torch.cat(list(_extracted(extractor, dataset)))
        return rows, metrics.statistics(rows)
    return cached_folder(
        _folder_name(extractor, dataset.sha256),
        lambda folder: _cached(folder, (len(dataset), extractor.dims)),
        lambda folder: _keep(folder, extractor, dataset),
    )


@torch.inference_mode()
def extract(extractor: features.Extractor, pixels: Tensor) -> Tensor:
    """Features and logits (N, dims + logits) on the CPU of 8-bit images (N, C, H, W)."""
    return AdaptiveBatcher(BATCH, "features of the reference").run(
        lambda rows: extractor.net(pixels[rows]).cpu(), len(pixels)
    )


def _extracted(extractor: features.Extractor, dataset: Dataset) -> Iterator[Tensor]:
    """Features (n, dims) of the images, part by part, on the CPU."""
    for start in range(0, len(dataset), PART):
        pixels = dataset.images[start : start + PART].to(dataset.device)
        rows = extract(extractor, pixels)[:, : extractor.dims].contiguous()
        if not bool(rows.isfinite().all()):
            raise ValueError(f"evaluate.features: {extractor.name} gives real images features that are not finite")
        yield rows


def _folder_name(extractor: features.Extractor, pixels_sha256: str) -> str:
    key = f"{extractor.weights_sha256}/{pixels_sha256}/{version('torch-fidelity')}"
    file_stem = extractor.name.replace(":", ".")
    return f"features-{file_stem}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _cached(folder: Path, shape: tuple[int, int]) -> tuple[Tensor, metrics.Statistics] | None:
    """The content of `folder`; None, so that it is recomputed, when it is missing or modified."""
    try:
        description = json.loads((folder / "about.json").read_text())
        if sha256_of(folder / "moments.npz") != description["moments_sha256"]:
            return None
        small = (folder / "features.npy").stat().st_size <= MAX_SEALED
        if small and sha256_of(folder / "features.npy") != description["features_sha256"]:
            return None
        rows = np.load(folder / "features.npy", mmap_mode="c")  # copy on write: changes do not reach the file
        with np.load(folder / "moments.npz") as moments:
            statistics = {name: moments[name] for name in ("mu", "sigma")}
    except (FileNotFoundError, KeyError, ValueError):
        return None
    return (torch.from_numpy(rows), statistics) if rows.shape == shape else None


def _keep(folder: Path, extractor: features.Extractor, dataset: Dataset) -> None:
    """Compute features and moments and write them into `folder`."""
    rows = open_memmap(folder / "features.npy", mode="w+", dtype=np.float32, shape=(len(dataset), extractor.dims))
    start = 0
    for batch in _extracted(extractor, dataset):
        rows[start : start + len(batch)] = batch.numpy()
        start += len(batch)
    rows.flush()
    statistics = metrics.statistics(torch.from_numpy(rows))
    np.savez(folder / "moments.npz", mu=statistics["mu"], sigma=statistics["sigma"])
    sums = {f"{name}_sha256": sha256_of(folder / file) for name, file in
            (("features", "features.npy"), ("moments", "moments.npz"))}  # fmt: skip
    (folder / "about.json").write_text(json.dumps(sums) + "\n")


def _cached_radii(folder: Path, count: int) -> Tensor | None:
    """Return the radii that `_keep_radii` wrote; None when they are missing or modified."""
    try:
        if sha256_of(folder / RADII) != (folder / f"{RADII}.sha256").read_text():
            return None
        result = torch.from_numpy(np.load(folder / RADII))
    except (FileNotFoundError, ValueError):
        return None
    return result if result.shape == (count, len(neighbors.NEAREST)) else None


def _keep_radii(folder: Path, radii: Tensor) -> None:
    """Write the radii, then their file's SHA-256, without which they are ignored.

    A full disk or a folder that was removed costs the next process some seconds, but no measurement.
    """
    with suppress(OSError):
        np.save(folder / RADII, radii.numpy())
        (folder / f"{RADII}.sha256").write_text(sha256_of(folder / RADII))
