"""DDIM with noise that agrees with its clipped image."""

from __future__ import annotations

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.sampling import Denoiser
from branchwise.trainables.dash.diffusion.schedule import sampling_timesteps


@torch.inference_mode()
def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Sample images in [-1, 1] from `noise` (B, C, H, W) by DDIM, eta = 0, and clamped x_0.

    The noise is recomputed from the clamped x_0.

    It is `use_clipped_model_output` of diffusers' DDIMScheduler. Plain `ddim` keeps the noise of the unclamped image
    as the authors' code does: under guidance its images then leave the model's, the more so with more steps.
    """
    timesteps = sampling_timesteps(steps)
    x = noise
    for i, t in enumerate(timesteps):
        abar = alphas_cumprod[t]
        image = ((x - (1 - abar).sqrt() * denoise(x, t)) / (abar.sqrt() + 1e-8)).clamp(-1, 1)
        if t > 0:
            after = alphas_cumprod[timesteps[i + 1]]
            eps = (x - abar.sqrt() * image) / (1 - abar).sqrt()
            x = after.sqrt() * image + (1 - after).sqrt() * eps
    return image
