"""Guidance scales over time: classifier-free guidance, fixed or in an interval, and TAG."""

from __future__ import annotations

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS
from branchwise.trainables.dash.settings.guidance import IntervalGuidance, TagGuidance

Scale = float | TagGuidance | IntervalGuidance


def scales(guidance: Scale, device: torch.device | str = "cpu") -> Tensor:
    """w of every timestep, shape (1000,), float32.

    An interval guides between two timesteps, inclusive, and not (w = 1) outside them.
    TAG (arXiv 2606.00798): w(t) = w_min + (w_max - w_min) * sigmoid(beta * (0.5 - t / T)), strong near the image.
    """
    if isinstance(guidance, int | float):
        return torch.full((TIMESTEPS,), float(guidance), device=device)
    t = torch.arange(TIMESTEPS, device=device, dtype=torch.float32)
    if isinstance(guidance, IntervalGuidance):
        inside = (t >= guidance.t_low) & (t <= guidance.t_high)
        return torch.where(inside, guidance.scale, torch.ones_like(t))
    rise = torch.sigmoid(guidance.beta * (0.5 - t / TIMESTEPS))
    return guidance.w_min + (guidance.w_max - guidance.w_min) * rise


def mix(cond: Tensor, uncond: Tensor, scale: Tensor | float) -> Tensor:
    """Return the guided noise eps_u + w (eps_c - eps_u) (Ho & Salimans 2022).

    All are of the same shape, `scale` broadcast.
    """
    return uncond + scale * (cond - uncond)
