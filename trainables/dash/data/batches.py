"""Batches as a function of (seed, step): images, labels, timesteps, noise, dropped labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from branchwise.trainables.contract import Context
from branchwise.trainables.dash.compute.parallel import my_slice
from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.data.datasets import Dataset, batch_indices, to_float
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS, add_noise


@dataclass(frozen=True)
class Batch:
    """A single rank's slice of a global batch; b samples here, B on all ranks together."""

    noisy: Tensor  # x_t (b, C, H, W)
    noise: Tensor  # (b, C, H, W)
    labels: Tensor  # (b,) int64
    timesteps: Tensor  # (b,) int64
    dropout_draws: Tensor  # (b,) uniform in [0, 1): below a label dropout, the label becomes the null label
    all_timesteps: Tensor  # (B,) of all ranks
    here: slice
    share: float  # b * ranks / B: 1 when the ranks' slices are equal


def draw(dataset: Dataset, alphas_cumprod: Tensor, batch_size: int, seed: int, step: int, context: Context) -> Batch:
    """Return batch `step` (from 0) under `seed`.

    It is independent of the number of ranks on the same kind of device.
    """
    device = dataset.device
    part = my_slice(batch_size, context)
    indices = batch_indices(seed, step, batch_size, len(dataset))[part]
    if device.type == "cuda" and dataset.images.is_cuda:
        indices = indices.pin_memory()  # else the copy waits for all work queued on the GPU
        indices = indices.to(device, non_blocking=True)
    pixels, labels = dataset.pick(indices)
    timesteps = torch.randint(
        TIMESTEPS, (batch_size,), generator=generator(seed, "timesteps", step, device), device=device
    )
    shape = (batch_size, *dataset.image_shape)
    noise = torch.randn(shape, generator=generator(seed, "noise", step, device), device=device)[part]
    draws = torch.rand(batch_size, generator=generator(seed, "label dropout", step, device), device=device)
    images = to_float(pixels)
    if dataset.flip:
        mirrored = torch.rand(batch_size, generator=generator(seed, "flip", step, device), device=device)[part] < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    return Batch(
        noisy=add_noise(images, noise, alphas_cumprod, timesteps[part]),
        noise=noise,
        labels=labels,
        timesteps=timesteps[part],
        dropout_draws=draws[part],
        all_timesteps=timesteps,
        here=part,
        share=(part.stop - part.start) * context.world_size / batch_size,
    )
