"""Feature extractors of the distances between sets of images."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from branchwise.trainables.dash.compute.modes import full_precision
from branchwise.trainables.dash.data.datasets import Dataset
from branchwise.trainables.dash.evaluation.feature_nets import classifier, pretrained
from branchwise.trainables.dash.settings.features import (
    A_DIMENSION,
    CLASSIFIER,
    DIGITS,
    DIGITS_DIMS,
    PRETRAINED,
    source_sha256,
    too_few,
)
from branchwise.trainables.dash.settings.files import verify
from branchwise.trainables.dash.settings.spec import Spec

DIGITS_WEIGHTS = Path(__file__).with_name("digits_features.safetensors")
DIGITS_SHA256 = "44aa94e6485b3ded347748029c760a9f41d23f148b582a1cc641840a7c266853"
PROBES = 2  # images that a user's function is tried on before data exist
CHECKED, FEW = 250, 7  # real images that it is tried on, and how many of them in a smaller batch
TOLERANCE = 1e-3  # of the features' standard deviation: rounding differs between batches


class DigitsFeatures(nn.Module):
    """A small classifier of 8x8 digits; 64 penultimate activations are the features.

    They are scaled to unit RMS.
    """

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 8x8 -> 4x4
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 4x4 -> 2x2
            nn.Flatten(),
            nn.Linear(256, 64),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, 10)
        self.register_buffer("scale", torch.ones(()))  # 1 / RMS of the features over the training images

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 1, 8, 8) uint8 -> (N, 64) float32."""
        features: Tensor = self.body(pixels.to(torch.float32) / 255)
        return features * self.scale


@dataclass(frozen=True)
class Extractor:
    """A feature net, and what belongs to the definition of the distances in its space."""

    name: str  # as `evaluate.features` has it, in full
    net: Callable[[Tensor], Tensor]  # (N, C, H, W) uint8 -> (N, dims + logits) float32: features, then logits
    dims: int
    logits: int  # class logits that follow the features: 0, the classes, or for the Inception score 1,008
    weights_sha256: str
    kid_subsets: int = 20
    kid_subset_size: int = 500

    @property
    def min_samples(self) -> int:
        """Images below which a distance in this space means little."""
        return PRETRAINED[self.name].min_samples if self.name in PRETRAINED else A_DIMENSION * self.dims

    def metric(self, samples: int) -> str:
        """Return the name of the Fréchet distance.

        `fid` means Inception features and 50,000 samples only.
        """
        if self.name == "inception":
            return "fid" if samples == 50_000 else f"fid{samples / 1000:g}k"
        if self.name == CLASSIFIER:
            return f"fd_classifier{self.dims}"
        return "fd_" + re.sub(r"\W+", "_", self.name)


def extractor_of(spec: Spec, device: torch.device | str, folder: Path | None = None) -> Extractor:
    """Return the extractor that `spec.evaluate.features` names.

    `folder` is that of the feature net that was trained for it.

    Raises FileNotFoundError or ValueError for missing or modified weights, for a classifier that is not accurate
    enough, and for a function that is not what it should be.
    """
    name = spec.features
    if name == DIGITS:
        return digits(device)
    if name == CLASSIFIER:
        if folder is None:
            raise ValueError("features: classifier needs the folder of a trained feature net")
        net, sha256 = classifier.load(spec, folder, device)
        dims = spec.evaluate.classifier.dims
        return Extractor(name, net, dims, spec.data.classes, sha256)
    if name in PRETRAINED:
        result, logits, sha256 = pretrained.load(name, device)
        return Extractor(name, result, PRETRAINED[name].dims, logits, sha256, kid_subsets=100, kid_subset_size=1000)
    return function(spec, device)


def digits(device: torch.device | str) -> Extractor:
    """Return the committed digits net; raise ValueError when its file was modified.

    train_digits_features.py created it.
    """
    verify(DIGITS_WEIGHTS, DIGITS_SHA256)
    net = DigitsFeatures()
    net.load_state_dict(load_file(DIGITS_WEIGHTS))
    return Extractor(DIGITS, net.to(device).eval(), DIGITS_DIMS, 0, DIGITS_SHA256)


def function(spec: Spec, device: torch.device | str) -> Extractor:
    """A user-defined function: (N, C, H, W) uint8 on the device -> (N, d) floats, finite.

    It is tried on two images, and each later result is checked as well. Raises ValueError when it is missing,
    fails, returns something else, or when samples are too few for its d dimensions.
    """
    module, _, name = spec.features.partition(":")
    try:
        call: Callable[[Tensor], Tensor] = getattr(importlib.import_module(module), name)
    except Exception as error:  # any error of a user's module is reported unchanged
        raise ValueError(f"evaluate.features: {spec.features}: {type(error).__name__}: {error}") from error
    probes = torch.zeros(PROBES, *spec.data.image_shape, dtype=torch.uint8, device=device)
    tried = _call_checked(call, spec.features, probes)
    dims = tried.shape[1]
    fewest = min(evaluation.samples for evaluation in spec.evaluate.evaluations().values())
    if fewest < A_DIMENSION * dims:
        raise ValueError(too_few(fewest, f"{spec.features}, {dims} dimensions", A_DIMENSION * dims))

    def net(pixels: Tensor) -> Tensor:
        return _call_checked(call, spec.features, pixels, dims)

    sha256 = source_sha256(spec.features)
    return Extractor(spec.features, net, dims, 0, sha256)


def _call_checked(call: Callable[[Tensor], Tensor], name: str, pixels: Tensor, dims: int | None = None) -> Tensor:
    """Return the result of a user's function, float32.

    Raises ValueError, naming it, when it is not (N, `dims`) and finite.
    """
    try:
        match: object = call(pixels)
    except Exception as error:  # any error of a user's code is reported unchanged
        raise ValueError(f"evaluate.features: {name}: {type(error).__name__}: {error}") from error
    shaped = isinstance(match, Tensor) and match.ndim == 2 and len(match) == len(pixels) and match.is_floating_point()
    if not isinstance(match, Tensor) or not shaped or match.shape[1] == 0 or dims not in (None, match.shape[1]):
        got = f"{tuple(match.shape)} {match.dtype}" if isinstance(match, Tensor) else type(match).__name__
        expected = f"(N, {dims})" if dims else "(N, d)"
        raise ValueError(
            f"evaluate.features: {name} must return a finite float tensor {expected} for images (N, C, H, W); for "
            f"{len(pixels)} images it returned {got}"
        )
    non_finite = int((~match.isfinite().all(dim=1)).sum())
    if non_finite:
        raise ValueError(
            f"evaluate.features: {name} must return a finite float tensor; of {non_finite} of {len(pixels)} images it "
            "returned NaN or infinity"
        )
    return match.detach().to(torch.float32)


def check_function(extractor: Extractor, dataset: Dataset) -> None:
    """Check a user's function on real images.

    Raises ValueError, naming it, when an image's features depend on the call or on other images.
    """
    pixels = dataset.pick(torch.arange(min(CHECKED, len(dataset))))[0]
    with torch.inference_mode(), full_precision():
        first, repeated, separate = extractor.net(pixels), extractor.net(pixels), extractor.net(pixels[:FEW])
    scale = float(first.std()) or 1.0
    for other, what in ((repeated, "a second call"), (separate, f"a call with {FEW} of them")):
        difference = float((first[: len(other)] - other).abs().max()) / scale
        if difference > TOLERANCE:
            raise ValueError(
                f"evaluate.features: {extractor.name} is not deterministic: for the same images {what} returned other "
                f"features (by {difference:.2g} of their standard deviation); put its net into eval mode and seed it"
            )
