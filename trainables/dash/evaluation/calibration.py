"""Calibration of a student's guidance gap D = eps_c - eps_u to the teacher's, by timestep."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from branchwise.trainables.dash.compute.modes import full_precision
from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.data.datasets import Dataset, batch_indices, to_float
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS, add_noise
from branchwise.trainables.dash.settings.evaluate import Evaluate

BATCH = 250  # probes in a single pass

Bins = list[tuple[Tensor, Tensor]]  # a timestep bin's outputs (cond, uncond), each (n, C, H, W) float32


@dataclass(frozen=True)
class Probes:
    """Noisy held-out images, `gap_samples` in each of `gap_bins` equal bins of timesteps.

    They are the same for each arm.
    """

    edges: list[int]  # bin b holds timesteps edges[b] .. edges[b + 1] - 1
    noisy: list[Tensor]  # a bin: (n, C, H, W)
    timesteps: list[Tensor]  # a bin: (n,)
    labels: list[Tensor]  # a bin: (n,)
    null_label: int


def draw_probes(holdout: Dataset, alphas_cumprod: Tensor, settings: Evaluate, seed: int) -> Probes:
    """Draw probes under `seed`: images, timesteps and noise.

    Over all bins, images occur equally often.
    """
    device = holdout.device
    count = settings.gap_samples
    edges = [TIMESTEPS * b // settings.gap_bins for b in range(settings.gap_bins + 1)]
    noisy, timesteps, labels = [], [], []
    for b, (low, high) in enumerate(pairwise(edges)):
        source = generator(seed, "gap probes", b)
        pixels, of_pixels = holdout.pick(batch_indices(seed, b, count, len(holdout)))
        t = torch.randint(low, high, (count,), generator=source).to(device)
        noise = torch.randn((count, *holdout.image_shape), generator=source).to(device)
        noisy.append(add_noise(to_float(pixels), noise, alphas_cumprod, t))
        timesteps.append(t)
        labels.append(of_pixels)
    return Probes(edges, noisy, timesteps, labels, holdout.classes)


@torch.inference_mode()
def outputs(net: nn.Module, probes: Probes) -> Bins:
    """Return both branches of `net` on each probe, in float32, by the net never compiled."""
    bins = []
    for x, t, y in zip(probes.noisy, probes.timesteps, probes.labels, strict=True):
        split = [slice(start, start + BATCH) for start in range(0, len(x), BATCH)]
        parts = [_branches(net, x[part], t[part], y[part], probes.null_label) for part in split]
        bins.append((torch.cat([cond for cond, _ in parts]), torch.cat([uncond for _, uncond in parts])))
    return bins


def _branches(net: nn.Module, x: Tensor, t: Tensor, y: Tensor, null_label: int) -> tuple[Tensor, Tensor]:
    null = torch.full_like(y, null_label)
    with full_precision():
        both = net.forward(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, null]), return_dict=False)[0]
    cond, uncond = both.chunk(2)
    return cond, uncond


def compare(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Diagnostics of branches (cond, uncond), each (n, C, H, W), D = cond - uncond of a sample:

    rho = E||D_S|| / E||D_T||, cos_delta = E[cos(D_S, D_T)], gap_mse = E[mean (D_S - D_T)^2] per element,
    relative_gap = E||D_S - D_T||^2 / E||D_T||^2, mse_cond and mse_uncond per element.
    """
    (s_cond, s_uncond), (t_cond, t_uncond) = student, teacher
    gap_s, gap_t = (s_cond - s_uncond).flatten(1), (t_cond - t_uncond).flatten(1)
    difference = gap_s - gap_t
    values = {
        "rho": gap_s.norm(dim=1).mean() / gap_t.norm(dim=1).mean(),
        "cos_delta": torch.cosine_similarity(gap_s, gap_t).mean(),
        "gap_mse": difference.square().mean(),
        "relative_gap": difference.square().mean() / gap_t.square().mean(),
        "mse_cond": (s_cond - t_cond).square().mean(),
        "mse_uncond": (s_uncond - t_uncond).square().mean(),
    }
    return {name: float(value) for name, value in values.items()}


def diagnose(student: Bins, teacher: Bins, probes: Probes) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the diagnostics pooled over all timesteps, and a row per bin.

    A row has `bin`, and `t_low` and `t_high`, inclusive.
    """
    rows = [
        {"bin": b, "t_low": probes.edges[b], "t_high": probes.edges[b + 1] - 1, **compare(s, t)}
        for b, (s, t) in enumerate(zip(student, teacher, strict=True))
    ]
    pooled = compare(_pool(student), _pool(teacher))
    return pooled, rows


def _pool(bins: Bins) -> tuple[Tensor, Tensor]:
    return torch.cat([cond for cond, _ in bins]), torch.cat([uncond for _, uncond in bins])
