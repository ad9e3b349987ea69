"""What samples are compared with: the features of all images but a test set's, computed once a machine."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from branchwise.trainables.dash.compute.memory import Portions
from branchwise.trainables.dash.data.datasets import Dataset, load_reference_images
from branchwise.trainables.dash.evaluation import features, metrics
from branchwise.trainables.dash.settings.data import Data

BATCH = 250


@dataclass(frozen=True)
class ReferenceSet:
    extractor: features.Extractor
    features: Tensor  # (N, d) float32, on the CPU
    labels: Tensor  # (N,) int64, on the CPU
    statistics: metrics.Statistics
    sha256: str  # of pixels and their shape


def get(settings: Data, device: torch.device | str) -> ReferenceSet:
    """The reference of a data set, its features computed on `device`.

    Inception features, which take minutes, are kept in $XDG_CACHE_HOME/branchwise under a key of the pixels, the
    weights and the version of torch-fidelity. Raises as data.load and features.extractor_of do.
    """
    extractor = features.extractor_of(settings, device)
    images = load_reference_images(settings, device)
    found = features_of(extractor, images)
    return ReferenceSet(extractor, found, images.labels.cpu(), metrics.statistics(found), images.sha256)


def features_of(extractor: features.Extractor, dataset: Dataset) -> Tensor:
    """The features (N, d) of a data set's images, on the CPU; those of Inception from the cache where they are."""
    if extractor.name != "inception":
        return extract(extractor, dataset.images)[:, : extractor.dims].contiguous()
    file = _cache_file(extractor, dataset.sha256)
    found = _cached(file, len(dataset.images), extractor.dims)
    if found is None:
        found = extract(extractor, dataset.images)[:, : extractor.dims].contiguous()
        _keep(file, found)
    return found


@torch.inference_mode()
def extract(extractor: features.Extractor, pixels: Tensor) -> Tensor:
    """Features and logits (N, dims + logits) on the CPU of 8-bit images (N, C, H, W)."""
    return Portions(BATCH, "features of the reference").run(lambda here: extractor.net(pixels[here]).cpu(), len(pixels))


def _cache_file(extractor: features.Extractor, pixels_sha256: str) -> Path:
    key = f"{extractor.weights_sha256}/{pixels_sha256}/{version('torch-fidelity')}"
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "branchwise" / f"{extractor.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def _cached(file: Path, rows: int, dims: int) -> Tensor | None:
    """The features in `file`; None, so that they are computed again, when there are none, or not the ones written."""
    try:
        with safe_open(file, framework="pt") as content:
            found, seal = content.get_tensor("features"), (content.metadata() or {}).get("sha256")
    except (FileNotFoundError, SafetensorError):
        return None
    return found if found.shape == (rows, dims) and _sha256(found) == seal else None


def _keep(file: Path, found: Tensor) -> None:
    """Writes the features whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=file.parent)
    os.close(handle)
    try:
        save_file({"features": found}, beside, metadata={"sha256": _sha256(found)})
        os.replace(beside, file)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _sha256(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()
