"""Samplers as plain functions, and their starting points: one seed per image, labels balanced over the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.diffusion.guidance import mix
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS

Denoiser = Callable[[Tensor, int], Tensor]  # (x_t (B, C, H, W), t) -> predicted noise, shape of x_t


def starting_noise(seed: int, indices: Sequence[int], shape: Sequence[int], device: torch.device | str) -> Tensor:
    """Standard normal noise (len(indices), *shape), float32. Image i's depends on (seed, i) only, on no batch size.

    Drawn on the CPU, so that every device starts from the same noise.
    """
    return torch.stack([torch.randn(*shape, generator=generator(seed, "sample", i)) for i in indices]).to(device)


def balanced_labels(indices: Sequence[int], classes: int, device: torch.device | str) -> Tensor:
    """Label i mod classes for image i, shape (len(indices),), int64."""
    return torch.tensor(indices, device=device) % classes


def guided(net: nn.Module, labels: Tensor, null_label: int, scales: Tensor, precision: str = "fp32") -> Denoiser:
    """The net under guidance `scales` (1000,) as a denoiser; both branches in one batch, one where w is 1.

    Only the net's own pass is made in `precision`: branches are mixed, and images kept, in float32.
    """
    scale_at: list[float] = scales.tolist()
    paired = torch.cat([labels, torch.full_like(labels, null_label)])

    def noise_in(x: Tensor, t: int, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            eps: Tensor = net(x, torch.full((len(x),), t, device=x.device), y, return_dict=False)[0]
        return eps.float()

    def predict(x: Tensor, t: int) -> Tensor:
        scale = scale_at[t]
        if scale == 1:
            return noise_in(x, t, labels)
        cond, uncond = noise_in(torch.cat([x, x]), t, paired).chunk(2)
        return mix(cond, uncond, scale)

    return predict


@torch.inference_mode()
def ddim(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """DDIM with eta = 0 (Song et al. 2021) from `noise` (B, C, H, W) to images, in [-1, 1], in `steps` steps.

    Timesteps are leading with stride T // steps (T = 1000, 50 steps: 980, 960, ..., 0). x_0 is clamped, the noise in
    the update is not, as in the reference; the last step returns x_0.
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


def dpmpp_2m(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022) through diffusers, at DDIM's timesteps and with x_0 clamped."""
    from diffusers import DPMSolverMultistepScheduler

    return _multistep(DPMSolverMultistepScheduler, denoise, noise, alphas_cumprod, steps)


def unipc(denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """UniPC of order 2 (Zhao et al. 2023) through diffusers, at DDIM's timesteps and with x_0 clamped."""
    from diffusers import UniPCMultistepScheduler

    return _multistep(UniPCMultistepScheduler, denoise, noise, alphas_cumprod, steps)


@torch.inference_mode()
def _multistep(kind: Any, denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    abar = alphas_cumprod.cpu().double()
    betas = 1 - abar / torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
    scheduler = kind(
        num_train_timesteps=TIMESTEPS,
        trained_betas=betas.float().numpy(),
        solver_order=2,
        timestep_spacing="leading",
        thresholding=True,  # with a largest value of 1: a plain clamp of x_0 to [-1, 1]
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(steps, device=noise.device)
    x = noise
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(denoise(x, t), t, x, return_dict=False)[0]
    return x.clamp(-1, 1)


SAMPLERS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
