"""Magnitude pruning (Han et al. 2015): the teacher with its smallest weights fixed at zero."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def prune(net: nn.Module, keep: float) -> tuple[nn.Module, list[Tensor]]:
    """Return a copy of `net` with the smallest weights zero, and its masks.

    A mask is a bool tensor per parameter.

    A single threshold over all matrices and convolutions, such that `keep` of all parameters remain; biases and norms
    (one dimension) are not pruned. Raises ValueError when these exceed `keep`.
    """
    pruned = copy.deepcopy(net).requires_grad_(True)
    parameters = [p.detach() for p in pruned.parameters()]
    total = sum(p.numel() for p in parameters)
    magnitudes = torch.cat([p.abs().flatten() for p in parameters if p.ndim > 1])
    spare = round(keep * total) - (total - len(magnitudes))
    if spare < 1:
        raise ValueError(f"pruning_keep {keep} is less than the biases and norms, which are not pruned")
    threshold = magnitudes.sort(descending=True).values[min(spare, len(magnitudes)) - 1]
    masks = [p.abs() >= threshold if p.ndim > 1 else torch.ones_like(p, dtype=torch.bool) for p in parameters]
    apply(parameters, masks)
    return pruned, masks


@torch.no_grad()
def apply(parameters: list[Tensor], masks: list[Tensor]) -> None:
    """Zero the masked-out weights in place."""
    torch._foreach_mul_(parameters, masks)


@torch.no_grad()
def apply_to_gradients(parameters: list[Tensor], masks: list[Tensor]) -> None:
    """Zero the gradients of masked-out weights in place."""
    pairs = [(p.grad, mask) for p, mask in zip(parameters, masks, strict=True) if p.grad is not None]
    apply([gradient for gradient, _ in pairs], [mask for _, mask in pairs])
