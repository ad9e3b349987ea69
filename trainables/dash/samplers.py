"""DDIM as a plain function, and the starting points: one seed per image, labels balanced over the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.dash.guidance import mix
from trainables.dash.schedule import TIMESTEPS
from trainables.dash.seeding import generator

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, timesteps (B,)) -> predicted noise, shape of x_t


def starting_noise(seed: int, indices: Sequence[int], shape: Sequence[int], device: torch.device | str) -> Tensor:
    """Standard normal noise (len(indices), *shape), float32. Image i's depends on (seed, i) only, on no batch size.

    Drawn on the CPU, so that every device starts from the same noise.
    """
    return torch.stack([torch.randn(*shape, generator=generator(seed, "sample", i)) for i in indices]).to(device)


def balanced_labels(indices: Sequence[int], classes: int, device: torch.device | str) -> Tensor:
    """Label i mod classes for image i, shape (len(indices),), int64."""
    return torch.tensor(indices, device=device) % classes


def guided(net: torch.nn.Module, labels: Tensor, null_label: int, scales: Tensor) -> Denoiser:
    """The net under guidance `scales` (1000,) as a denoiser; both branches in one batch, none where w is always 1."""
    both = bool((scales != 1).any())
    paired = torch.cat([labels, torch.full_like(labels, null_label)])

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if not both:
            only: Tensor = net(x, t, labels, return_dict=False)[0]
            return only
        cond, uncond = net(torch.cat([x, x]), torch.cat([t, t]), paired, return_dict=False)[0].chunk(2)
        return mix(cond, uncond, scales[t].view(-1, 1, 1, 1))

    return predict


@torch.inference_mode()
def ddim(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """DDIM with eta = 0 (Song et al. 2021) from `noise` (B, C, H, W) to images, about [-1, 1], in `steps` steps.

    Timesteps are leading with stride T // steps (T = 1000, 50 steps: 980, 960, ..., 0). x_0 is clamped, the noise in
    the update is not, as in the reference; the last step returns x_0.
    """
    stride = TIMESTEPS // steps
    x = noise
    for t in range((steps - 1) * stride, -1, -stride):
        eps = denoise(x, torch.full((len(x),), t, device=x.device))
        abar = alphas_cumprod[t]
        x = ((x - (1 - abar).sqrt() * eps) / (abar.sqrt() + 1e-8)).clamp(-1, 1)
        if t > 0:
            before = alphas_cumprod[t - stride]
            x = before.sqrt() * x + (1 - before).sqrt() * eps
    return x
