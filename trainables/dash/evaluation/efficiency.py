"""Costs of sampling from a model: arithmetic and peak memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from branchwise.trainables.dash.diffusion.guidance import Scale, scales
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@torch.inference_mode()
def sample_gflop(net: nn.Module, image_shape: tuple[int, int, int], guidance: Scale, steps: int) -> float:
    """Return the giga floating-point operations of an image in `steps` steps.

    A multiply-accumulate counts as two, as in the paper.

    Convolutions, matrix products and attention, of both branches under guidance.
    """
    device = next(net.parameters()).device
    with FlopCounterMode(display=False) as counter:
        net.forward(
            torch.zeros(1, *image_shape, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
            return_dict=False,
        )
    stride = TIMESTEPS // steps
    at = scales(guidance)[torch.arange(0, steps * stride, stride)]
    passes = int((at == 1).sum()) + 2 * int((at != 1).sum())
    flops: int = counter.get_total_flops()
    return passes * flops / 1e9


@dataclass
class Peak:
    """Megabytes in use at the peak above what was before; None where the system does not tell."""

    megabytes: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watches the memory of the device, or on a CPU of this process."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.megabytes = torch.cuda.max_memory_allocated(device) / 1e6
        return
    before = _resident("VmRSS") if _forget_peak() else None
    yield peak
    after = _resident("VmHWM")
    if before is not None and after is not None:
        peak.megabytes = max(0.0, after - before)


def _forget_peak() -> bool:
    """Has Linux forget the highest resident size of this process."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> float | None:
    """A size of this process in megabytes."""
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024 / 1e6
