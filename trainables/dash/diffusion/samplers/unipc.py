"""UniPC, through diffusers."""

from __future__ import annotations

from torch import Tensor

from branchwise.trainables.dash.diffusion.multistep import run
from branchwise.trainables.dash.diffusion.sampling import Denoiser


def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Sample by UniPC of order 2 (Zhao et al. 2023) of diffusers, x_0 clamped.

    Timesteps are DDIM's.
    """
    from diffusers import UniPCMultistepScheduler

    return run(UniPCMultistepScheduler, denoise, noise, alphas_cumprod, steps)
