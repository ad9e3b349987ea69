"""DPM-Solver++(2M), through diffusers."""

from __future__ import annotations

from torch import Tensor

from branchwise.trainables.dash.diffusion.multistep import run
from branchwise.trainables.dash.diffusion.sampling import Denoiser


def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Sample by DPM-Solver++(2M) (Lu et al. 2022) of diffusers, x_0 clamped.

    Timesteps are DDIM's.
    """
    from diffusers import DPMSolverMultistepScheduler

    return run(DPMSolverMultistepScheduler, denoise, noise, alphas_cumprod, steps)
