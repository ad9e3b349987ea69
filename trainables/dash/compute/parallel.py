"""Data parallelism: each rank draws the same global batch and works on its slice of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from branchwise.trainables.contract import Context


def my_slice(size: int, context: Context) -> slice:
    """This rank's part of `size` items; parts differ by 0 or 1 items."""
    start, stop = (size * r // context.world_size for r in (context.rank, context.rank + 1))
    return slice(start, stop)


def distributed(net: nn.Module, context: Context) -> nn.Module:
    """`net`, with its gradients averaged over the ranks after each backward pass."""
    if context.world_size == 1:
        return net
    return DistributedDataParallel(net, gradient_as_bucket_view=True)


def average_(tensor: Tensor, context: Context) -> Tensor:
    """`tensor` averaged over the ranks, in place."""
    if context.world_size > 1:
        dist.all_reduce(tensor)
        tensor /= context.world_size
    return tensor


def broadcast_number(value: float, context: Context) -> float:
    """Rank 0's `value`, on each rank."""
    if context.world_size == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=context.device)
    dist.broadcast(shared, src=0)
    return float(shared)


def gather_rows(rows: Tensor, total: int, context: Context) -> Tensor:
    """Return the rows (n_r, d) of all ranks in order: (total, d) on each rank.

    The parts are `my_slice(total)`.
    """
    if context.world_size == 1:
        return rows
    longest = -(-total // context.world_size)
    padded = rows.new_zeros(longest, rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(context.world_size)]
    dist.all_gather(parts, padded)
    sizes = [total * (r + 1) // context.world_size - total * r // context.world_size for r in range(context.world_size)]
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
