"""TIRT: per-timestep loss weights with a learned importance (arXiv 2606.00798).

    omega_t = min(SNR_t, gamma) * sigmoid(lambda_t)             form "authors", on the noise loss as their code has it
    omega_t = min(SNR_t, gamma) / SNR_t * sigmoid(lambda_t)     form "eps", min-SNR translated to the noise loss
    w_t     = omega_t / mean(omega over the global batch)

Curricula: `transfer` (lambda copied from the teacher and frozen), `learned` (lambda starts at 0 and is trained with the
weights), `min_snr` (lambda fixed at 0) and `uniform` (w_t = 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS, snr


def initial_importance(curriculum: str, teacher_importance: Tensor | None, device: torch.device | str) -> Tensor:
    """Return the initial lambda, (1000,) float32; only a learned one requires a gradient.

    Raises ValueError when a transfer is requested without a teacher's lambda to transfer.
    """
    if curriculum == "transfer":
        if teacher_importance is None:
            raise ValueError("curriculum 'transfer' needs a teacher's curriculum")
        return teacher_importance.detach().clone().to(device)
    return torch.zeros(TIMESTEPS, device=device, requires_grad=curriculum == "learned")


def importance_table(curriculum: str, importance: Tensor, alphas_cumprod: Tensor, form: str, gamma: float) -> Tensor:
    """Return omega_t for each timestep, (1000,), differentiable in `importance`.

    All are ones for `uniform`.
    """
    if curriculum == "uniform":
        return torch.ones_like(alphas_cumprod)
    ratio = snr(alphas_cumprod)
    clipped = ratio.clamp(max=gamma)
    if form == "eps":
        clipped = clipped / ratio
    return clipped * torch.sigmoid(importance)


def batch_weights(table: Tensor, timesteps: Tensor) -> Tensor:
    """Return w_t of the global batch's `timesteps` (B,), divided by their mean.

    The mean is clamped at 1e-8 as in the authors' code.
    """
    omega = table[timesteps]
    return omega / omega.mean().clamp(min=1e-8)
