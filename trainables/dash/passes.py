"""Forward passes of a step: the branches of one net in one batch, and, where asked for, its mid-block features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.dash.batches import Batch
from trainables.dash.objectives import Outputs


def forward(
    net: nn.Module,
    passes: Sequence[str],
    batch: Batch,
    null_label: int,
    dropout: float,
    mid_block: nn.Module | None = None,
) -> Outputs:
    """The noise `net` predicts in each of `passes` (see objectives), all in one batch: pass -> (b, C, H, W).

    With the net's `mid_block`, also its output: "<pass> features" -> (b, width, h, w).
    """
    chosen = torch.cat([_labels(name, batch, null_label, dropout) for name in passes])
    times = len(passes)
    x, t = batch.noisy.repeat(times, 1, 1, 1), batch.timesteps.repeat(times)
    if mid_block is None:
        return dict(zip(passes, net(x, t, chosen, return_dict=False)[0].chunk(times), strict=True))
    seen: list[Tensor] = []
    hook = mid_block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    eps = net(x, t, chosen, return_dict=False)[0]
    hook.remove()
    outputs = dict(zip(passes, eps.chunk(times), strict=True))
    return outputs | {f"{name} features": part for name, part in zip(passes, seen[0].chunk(times), strict=True)}


def _labels(name: str, batch: Batch, null_label: int, dropout: float) -> Tensor:
    if name == "cond":
        return batch.labels
    if name == "uncond":
        return torch.full_like(batch.labels, null_label)
    return torch.where(batch.dropout_draws < dropout, null_label, batch.labels)


def with_dropped(outputs: Outputs, batch: Batch, dropout: float) -> Outputs:
    """The teacher's `cond` and `uncond` outputs, with those at dropped labels put together from them."""
    dropped = (batch.dropout_draws < dropout).view(-1, 1, 1, 1)
    together = {"dropped": torch.where(dropped, outputs["uncond"], outputs["cond"])}
    if "cond features" in outputs:
        features = torch.where(dropped, outputs["uncond features"], outputs["cond features"])
        together["dropped features"] = features
    return {**outputs, **together}
