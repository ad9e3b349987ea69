"""Seconds a training is expected to take, from multiply-accumulates (MACs) counted without torch. For plans only."""

from __future__ import annotations

import math

from branchwise.trainables.dash.settings.spec import UNet


def forward_macs(net: UNet, image_shape: tuple[int, int, int]) -> int:
    """MACs of one forward pass over one sample: convolutions, linear layers and attention."""
    channels, size, _ = image_shape
    embedding = 4 * net.channels[0]

    def res_block(wide_in: int, wide: int, side: int) -> int:
        shortcut = wide_in * wide if wide_in != wide else 0
        return (9 * wide * (wide_in + wide) + shortcut) * side**2 + embedding * wide

    def attention(wide: int, side: int) -> int:
        return 4 * wide**2 * side**2 + 2 * wide * side**4

    total = net.channels[0] * embedding + embedding**2 + 2 * 9 * channels * net.channels[0] * size**2
    skips = [net.channels[0]]
    wide = net.channels[0]
    for level, out in enumerate(net.channels):
        side = size // 2**level
        for _ in range(net.res_blocks):
            total += res_block(wide, out, side) + (attention(out, side) if side in net.attention_at else 0)
            wide = out
            skips.append(wide)
        if level < len(net.channels) - 1:
            total += 9 * wide**2 * (side // 2) ** 2
            skips.append(wide)
    bottom = size // 2 ** (len(net.channels) - 1)
    total += 2 * res_block(wide, wide, bottom) + attention(wide, bottom)
    for level in reversed(range(len(net.channels))):
        side = size // 2**level
        out = net.channels[level]
        for _ in range(net.res_blocks + 1):
            total += res_block(wide + skips.pop(), out, side) + (
                attention(out, side) if side in net.attention_at else 0
            )
            wide = out
        if level > 0:
            total += 9 * wide**2 * (2 * side) ** 2
    return total


def _blocks(net: UNet) -> int:
    """Residual blocks, to which the part of a pass's time that does not depend on the batch is proportional."""
    return len(net.channels) * (2 * net.res_blocks + 1) + 2


def forward_seconds(net: UNet, image_shape: tuple[int, int, int], samples: int, threads: int) -> float:
    """One forward pass on CPU cores; a training pass costs three.

    Calibrated on one AMD EPYC core with torch 2.15: thin nets are bound by memory traffic, so that a sample costs as
    the square root of its MACs; wide ones by arithmetic, about 5e10 MAC/s a core. GPUs are not modelled.
    """
    macs = forward_macs(net, image_shape)
    a_sample = max(7.5e-8 * math.sqrt(macs), macs / 5e10)
    return 0.7e-3 * _blocks(net) + a_sample * samples / threads
