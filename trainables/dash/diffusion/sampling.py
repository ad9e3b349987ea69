"""Inputs of samplers: noise by a seed per image, labels by class shares, the guided net."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.diffusion.guidance import mix

Denoiser = Callable[[Tensor, int], Tensor]  # (x_t (B, C, H, W), t) -> predicted noise, shape of x_t
Sampler = Callable[[Denoiser, Tensor, Tensor, int], Tensor]  # denoiser, noise (B, C, H, W), alphas (1000,), steps


def sampler(name: str) -> Sampler:
    """Return `sample` of the file `name` in `samplers/`: from noise to images in [-1, 1]."""
    result: Sampler = importlib.import_module(f"branchwise.trainables.dash.diffusion.samplers.{name}").sample
    return result


def draw(name: str, denoise: Denoiser, noise: Tensor, alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Sample images in [-1, 1] from `noise` by the sampler `name`.

    An image with a non-finite output of the net is NaN.

    Clamping would make black or white images of infinite outputs.
    """
    finite = torch.ones(len(noise), dtype=torch.bool, device=noise.device)

    def watched(x: Tensor, t: int) -> Tensor:
        nonlocal finite
        eps = denoise(x, t)
        finite = finite & eps.isfinite().flatten(1).all(dim=1)
        return eps

    images = sampler(name)(watched, noise, alphas_cumprod, steps)
    return torch.where(finite.view(-1, 1, 1, 1), images, torch.nan)


def starting_noise(seed: int, indices: Sequence[int], shape: Sequence[int], device: torch.device | str) -> Tensor:
    """Return standard normal noise (len(indices), *shape), float32.

    Image i's depends on (seed, i) only, on no batch size.

    Drawn on the CPU, so that each device starts from the same noise.
    """
    return torch.stack([torch.randn(*shape, generator=generator(seed, "sample", i)) for i in indices]).to(device)


def balanced_labels(indices: Sequence[int], classes: int, device: torch.device | str) -> Tensor:
    """Label i mod classes for image i, shape (len(indices),), int64."""
    return torch.tensor(indices, device=device) % classes


@lru_cache(maxsize=8)
def proportional_labels(counts: tuple[int, ...], samples: int) -> Tensor:
    """Return labels, (samples,) int64 on the CPU, by the classes' shares in `counts`.

    Each class gets its share to within 1 (largest remainders), distributed evenly over the images. Classes of equal
    size alternate, as in `balanced_labels`.
    """
    total = sum(counts)
    numbers = [samples * count // total for count in counts]
    remainders = [samples * count % total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: (-remainders[label], label))
    for label in by_remainder[: samples - sum(numbers)]:
        numbers[label] += 1
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(numbers))
    places = torch.cat([(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in numbers if n])
    return labels[torch.argsort(places, stable=True)]


def guided(net: nn.Module, labels: Tensor, null_label: int, scales: Tensor, precision: str = "fp32") -> Denoiser:
    """Return the net under guidance `scales` (1000,) as a denoiser.

    Both branches run in a single batch; where w is 1, only the conditional one.

    Only the net's pass runs in `precision`: branches are mixed, and images stored, in float32.
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
