"""Where samplers start: one seed per image, labels balanced over the classes, the net under guidance."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.diffusion.guidance import mix

Denoiser = Callable[[Tensor, int], Tensor]  # (x_t (B, C, H, W), t) -> predicted noise, shape of x_t
Sampler = Callable[[Denoiser, Tensor, Tensor, int], Tensor]  # denoiser, noise (B, C, H, W), alphas (1000,), steps


def sampler(name: str) -> Sampler:
    """The function `sample` of the file called `name` in `samplers/`: from noise to images in [-1, 1]."""
    found: Sampler = importlib.import_module(f"branchwise.trainables.dash.diffusion.samplers.{name}").sample
    return found


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
