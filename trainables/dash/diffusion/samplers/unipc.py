"""UniPC, through diffusers."""

from __future__ import annotations

from torch import Tensor

from branchwise.trainables.dash.diffusion.multistep import run
from branchwise.trainables.dash.diffusion.sampling import Denoiser


def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """UniPC of order 2 (Zhao et al. 2023) through diffusers, at DDIM's timesteps and with x_0 clamped."""
    from diffusers import UniPCMultistepScheduler

    return run(UniPCMultistepScheduler, denoise, noise, alphas_cumprod, steps)
