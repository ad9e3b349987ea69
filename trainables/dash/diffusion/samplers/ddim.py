"""DDIM, as the authors' code has it."""

from __future__ import annotations

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.sampling import Denoiser
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS


@torch.inference_mode()
def sample(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """DDIM with eta = 0 (Song et al. 2021) from `noise` (B, C, H, W) to images, in [-1, 1], in `steps` steps.

    Timesteps are leading with stride T // steps (T = 1000, 50 steps: 980, 960, ..., 0). x_0 is clamped, the noise in
    the update is not, as in the authors' code; the last step returns x_0.
    """
    stride = TIMESTEPS // steps
    x = noise
    for t in range((steps - 1) * stride, -1, -stride):
        eps = denoise(x, t)
        abar = alphas_cumprod[t]
        x = ((x - (1 - abar).sqrt() * eps) / (abar.sqrt() + 1e-8)).clamp(-1, 1)
        if t > 0:
            before = alphas_cumprod[t - stride]
            x = before.sqrt() * x + (1 - before).sqrt() * eps
    return x
