"""Forward passes of a step: a net's branches in a single batch, and mid-block features.

Features are returned only where requested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from branchwise.trainables.dash.data.batches import Batch

Outputs = Mapping[str, Tensor]  # pass -> predicted noise (B, C, H, W); "<pass> features" -> (B, width, h, w)


def forward(
    net: nn.Module,
    passes: Sequence[str],
    batch: Batch,
    null_label: int,
    dropout: float = 0.0,
    precision: str = "fp32",
    mid_block: nn.Module | None = None,
) -> Outputs:
    """Return the noise `net` predicts in each of `passes`, which run in a single batch.

    pass -> (b, C, H, W) float32; see objectives.

    With the net's `mid_block`, also its output: "<pass> features" -> (b, width, h, w).
    """
    chosen = torch.cat([_labels(name, batch, null_label, dropout) for name in passes])
    n_passes = len(passes)
    x, t = batch.noisy.repeat(n_passes, 1, 1, 1), batch.timesteps.repeat(n_passes)
    observed: list[Tensor] = []
    hook = (
        None if mid_block is None else mid_block.register_forward_hook(lambda module, inputs, out: observed.append(out))
    )
    # bf16 has the range of fp32, so that gradients need no scaler.
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        eps = net(x, t, chosen, return_dict=False)[0].float()
    if hook is None:
        return dict(zip(passes, eps.chunk(n_passes), strict=True))
    hook.remove()
    names = [*passes, *(f"{name} features" for name in passes)]
    return dict(zip(names, [*eps.chunk(n_passes), *observed[0].float().chunk(n_passes)], strict=True))


def _labels(name: str, batch: Batch, null_label: int, dropout: float) -> Tensor:
    """Return the labels of a pass: `cond`, `uncond` or `dropped`."""
    if name == "cond":
        return batch.labels
    if name == "uncond":
        return torch.full_like(batch.labels, null_label)
    return torch.where(batch.dropout_draws < dropout, null_label, batch.labels)


def with_dropped(outputs: Outputs, batch: Batch, dropout: float) -> Outputs:
    """Return the teacher's outputs and, composed of them, those at dropped labels.

    They are composed of `cond` and `uncond`.
    """
    dropped = (batch.dropout_draws < dropout).view(-1, 1, 1, 1)
    together = {"dropped": torch.where(dropped, outputs["uncond"], outputs["cond"])}
    if "cond features" in outputs:
        features = torch.where(dropped, outputs["uncond features"], outputs["cond features"])
        together["dropped features"] = features
    return {**outputs, **together}
