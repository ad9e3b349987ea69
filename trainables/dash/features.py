"""Feature extractors of the distances between sets of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.dash.checkpoint import sha256

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
    """A feature net and what the values computed with it are called."""

    net: nn.Module  # (N, C, H, W) uint8 -> (N, dims)
    metric: str
    dims: int
    weights_sha256: str


def digits(device: torch.device | str) -> Extractor:
    """The committed digits net (made by train_digits_features.py). Raises ValueError when its file was altered."""
    found = sha256(DIGITS_WEIGHTS)
    if found != DIGITS_SHA256:
        raise ValueError(f"{DIGITS_WEIGHTS} has SHA-256 {found}, not {DIGITS_SHA256}: its distances would not compare")
    net = DigitsFeatures()
    net.load_state_dict(load_file(DIGITS_WEIGHTS))
    return Extractor(net.to(device).eval(), "fd_digits64", 64, found)
