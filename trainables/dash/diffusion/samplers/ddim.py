"""DDIM, as the authors' code has it."""

from __future__ import annotations

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.sampling import Denoiser
from branchwise.trainables.dash.diffusion.schedule import sampling_timesteps


@torch.inference_mode()
def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Sample images in [-1, 1] from `noise` (B, C, H, W) by DDIM, eta = 0 (Song et al. 2021).

    x_0 is clamped, the noise in the update is not, as in the authors' code; the last step returns x_0.
    """
    timesteps = sampling_timesteps(steps)
    x = noise
    for i, t in enumerate(timesteps):
        eps = denoise(x, t)
        abar = alphas_cumprod[t]
        x = ((x - (1 - abar).sqrt() * eps) / (abar.sqrt() + 1e-8)).clamp(-1, 1)
        if t > 0:
            after = alphas_cumprod[timesteps[i + 1]]
            x = after.sqrt() * x + (1 - after).sqrt() * eps
    return x
