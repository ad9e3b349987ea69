"""The cosine noise schedule (Nichol & Dhariwal 2021, eq. 17) with T = 1000 discrete steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TIMESTEPS = 1000
_OFFSET = 0.008


def cosine_alphas_cumprod(device: torch.device | str = "cpu") -> Tensor:
    """abar_t for t = 0..T-1, shape (1000,), float32, falling from almost 1 to almost 0.

    abar_t = prod(1 - beta), beta_i = 1 - f(i) / f(i-1) clipped to [1e-4, 0.9999]. Computed in float32, as the
    reference does: in float64 the last abar_t, a product of a thousand factors, differ by up to 2e-4 of their size.
    """
    i = torch.arange(TIMESTEPS + 1, dtype=torch.float32)
    f = torch.cos((i / TIMESTEPS + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2
    f = f / f[0]
    betas = (1 - f[1:] / f[:-1]).clamp(1e-4, 0.9999)
    return torch.cumprod(1 - betas, dim=0).to(device)


def sampling_timesteps(steps: int) -> list[int]:
    """Return the sampler's timesteps, noise to image: floor(i T / steps), i = steps - 1 .. 0.

    They are even to within 1, end at 0 and begin T / steps, rounded up, below T. Where steps divide T they are the
    authors' (50 steps: 980, 960, ..., 0). The minimum is two steps: a single step would be at t = 0.
    """
    return [i * TIMESTEPS // steps for i in reversed(range(steps))]


def snr(alphas_cumprod: Tensor) -> Tensor:
    """Return the signal-to-noise ratio of each timestep, shape as given.

    The reference's 1e-8 guards the first steps.
    """
    return alphas_cumprod / (1 - alphas_cumprod + 1e-8)


def add_noise(images: Tensor, noise: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """Return x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.

    Images and noise are (B, C, H, W), timesteps (B,) int64.
    """
    abar = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return abar.sqrt() * images + (1 - abar).sqrt() * noise
