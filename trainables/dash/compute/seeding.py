"""Random numbers as a function of (seed, stream, step).

A resumed run has no generator state to restore.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed for draw `step` of the named `stream` under `seed`: the head of a SHA-256."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` seeded by `derive`."""
    return torch.Generator(device).manual_seed(derive(seed, stream, step))
