"""The DDPM U-Net of the paper as diffusers' UNet2DModel, built from a spec."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from branchwise.trainables.dash.compute.seeding import derive
from branchwise.trainables.dash.settings.spec import UNet


def build(spec: UNet, image_shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """Return a U-Net for images (C, H, W) with freshly drawn weights, float32, on the CPU.

    Label `classes` is the null label.

    The weights depend on `seed` and the architecture only. `norm_eps`, the padding of the downsampling, the order of
    sine and cosine and the single attention head are the DDPM's, as the reference has them.
    """
    channels, size, _ = image_shape
    attention = [size // 2**level in spec.attention_at for level in range(len(spec.channels))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        net: Any = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            down_block_types=tuple("AttnDownBlock2D" if attends else "DownBlock2D" for attends in attention),
            up_block_types=tuple("AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)),
            block_out_channels=spec.channels,
            layers_per_block=spec.res_blocks,
            dropout=spec.dropout,
            norm_num_groups=spec.norm_groups,
            norm_eps=1e-6,
            downsample_padding=0,
            flip_sin_to_cos=False,
            freq_shift=1,
            attention_head_dim=None,
            num_class_embeds=classes + 1,
        )
    unet: nn.Module = net
    return unet


def size(net: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in net.parameters())


def adapter(student: nn.Module, teacher: nn.Module, seed: int) -> nn.Module:
    """Return a 1x1 convolution from the student's mid-block width to the teacher's.

    Its weights are drawn under `seed`.
    """
    narrow, wide = (_mid_width(net) for net in (student, teacher))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "adapter"))
        return nn.Conv2d(narrow, wide, kernel_size=1)


def _mid_width(net: Any) -> int:
    return int(net.config.block_out_channels[-1])
