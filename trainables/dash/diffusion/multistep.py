"""Multistep solvers of diffusers on this project's schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.sampling import Denoiser
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS, sampling_timesteps


@torch.inference_mode()
def run(kind: Any, denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Images in [-1, 1] by the scheduler class `kind`, x_0 clamped, at DDIM's timesteps."""
    abar = alphas_cumprod.cpu().double()
    betas = 1 - abar / torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
    scheduler = kind(
        num_train_timesteps=TIMESTEPS,
        trained_betas=betas.float().numpy(),
        solver_order=2,
        thresholding=True,  # with a largest value of 1: a plain clamp of x_0 to [-1, 1]
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(steps, device=noise.device)
    timesteps = torch.tensor(sampling_timesteps(steps))
    if len(scheduler.timesteps) != steps:
        raise RuntimeError(f"{kind.__name__} takes {len(scheduler.timesteps)} steps, not {steps}")
    # Its spacings all differ, and not every kind accepts timesteps: so they are replaced.
    scheduler.timesteps = timesteps.to(noise.device)
    sigmas = ((1 - abar[timesteps]) / abar[timesteps]).sqrt()
    scheduler.sigmas = torch.cat([sigmas, torch.zeros(1, dtype=sigmas.dtype)]).float()  # at last 0: the image
    x = noise
    for t in timesteps.tolist():
        x = scheduler.step(denoise(x, t), t, x, return_dict=False)[0]
    return x.clamp(-1, 1)
