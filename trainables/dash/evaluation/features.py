"""Feature extractors of the distances between sets of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from branchwise.trainables.dash.settings.data import Data, Digits
from branchwise.trainables.dash.settings.files import INCEPTION_SHA256, find_inception_weights, verify

DIGITS_WEIGHTS = Path(__file__).with_name("digits_features.safetensors")
DIGITS_SHA256 = "44aa94e6485b3ded347748029c760a9f41d23f148b582a1cc641840a7c266853"


class DigitsFeatures(nn.Module):
    """A small classifier of 8x8 digits; its 64 penultimate activations, scaled to unit RMS, are the features."""

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

    name: Literal["digits64", "inception"]
    net: Callable[[Tensor], Tensor]  # (N, C, H, W) uint8 -> (N, dims + logits) float32: features, then logits
    dims: int
    logits: int  # class logits that follow the features: 0 or, for the Inception score, 1,008
    weights_sha256: str
    kid_subsets: int
    kid_subset_size: int

    def metric(self, samples: int) -> str:
        """What the Fréchet distance is called: `fid` stands for Inception features and 50,000 samples only."""
        if self.name == "digits64":
            return "fd_digits64"
        return "fid" if samples == 50_000 else f"fid{samples / 1000:g}k"


def extractor_of(data: Data, device: torch.device | str) -> Extractor:
    """The extractor for the images of `data`. Raises FileNotFoundError or ValueError for missing or altered weights."""
    return digits(device) if isinstance(data, Digits) else inception(device)


def digits(device: torch.device | str) -> Extractor:
    """The committed digits net (made by train_digits_features.py). Raises ValueError when its file was altered."""
    verify(DIGITS_WEIGHTS, DIGITS_SHA256)
    net = DigitsFeatures()
    net.load_state_dict(load_file(DIGITS_WEIGHTS))
    return Extractor("digits64", net.to(device).eval(), 64, 0, DIGITS_SHA256, kid_subsets=20, kid_subset_size=500)


def inception(device: torch.device | str) -> Extractor:
    """torch-fidelity's port of the 2015 Inception network, with the standard weights; grey images are made RGB.

    The weights are looked for in $BRANCHWISE_INCEPTION_WEIGHTS, then in torch hub's cache, and never downloaded.
    """
    file = find_inception_weights()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # It unpickles the file freely: safe only because the file has just been found to be the very one.
    net = FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file)
    )
    net = net.to(device)

    def extract(pixels: Tensor) -> Tensor:
        return torch.cat(net(pixels.expand(-1, 3, -1, -1)), dim=1)

    return Extractor("inception", extract, 2048, 1008, INCEPTION_SHA256, kid_subsets=100, kid_subset_size=1000)
