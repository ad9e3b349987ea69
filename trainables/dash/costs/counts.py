"""Counts of a U-Net, layer by layer from its settings; tests check them against real nets."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from branchwise.trainables.dash.settings.spec import UNet


@dataclass(frozen=True)
class Counts:
    """Counts of a net; per sample where a batch has many."""

    parameters: int
    macs: int  # multiply-accumulates of a forward pass, a sample
    saved: int  # numbers that a forward pass keeps for its backward pass, a sample
    live: int  # peak count of numbers in a forward pass without gradients, a sample
    kernels: int  # launches of a forward pass on a GPU, regardless of the batch


class _Layer(NamedTuple):
    """A layer; `joins` is the skip connection's channels that the up path concatenates, else 0."""

    kind: str  # res, attention, down, up
    wide_in: int
    wide: int
    side: int  # of its output
    joins: int = 0
    feeds_join: bool = False  # its output is copied into the next layer's input and then forgotten


# Kernels of a forward pass: norms, activations, convolutions, additions, and what is between them.
KERNELS = {"res": 12, "shortcut": 2, "attention": 16, "down": 2, "up": 3}
HEAD_KERNELS = 24  # embeddings of time and class, the first and the last convolution
BACKWARD = 2.0  # launches and work of a backward pass, times those of the forward pass


def _layers(net: UNet, size: int) -> Iterator[_Layer]:
    """Yield the layers in running order, but no embeddings and no first or last convolution."""
    wide = net.channels[0]
    skips = [wide]
    last = len(net.channels) - 1
    for level, out in enumerate(net.channels):
        side = size // 2**level
        for _ in range(net.res_blocks):
            yield _Layer("res", wide, out, side)
            if side in net.attention_at:
                yield _Layer("attention", out, out, side)
            wide = out
            skips.append(wide)
        if level < last:
            yield _Layer("down", wide, wide, side // 2)
            skips.append(wide)
    bottom = size // 2**last
    yield _Layer("res", wide, wide, bottom)
    yield _Layer("attention", wide, wide, bottom)
    yield _Layer("res", wide, wide, bottom, feeds_join=True)
    for level in reversed(range(len(net.channels))):
        side, out = size // 2**level, net.channels[level]
        for block in range(net.res_blocks + 1):
            attends = side in net.attention_at
            joined = block < net.res_blocks
            skip = skips.pop()
            yield _Layer("res", wide + skip, out, side, skip, feeds_join=joined and not attends)
            if attends:
                yield _Layer("attention", out, out, side, feeds_join=joined)
            wide = out
        if level > 0:
            yield _Layer("up", wide, wide, 2 * side, feeds_join=True)


@functools.cache
def count(net: UNet, image_shape: tuple[int, int, int], classes: int) -> Counts:
    """The counts of `net` for images (C, H, W) of `classes` classes and the null label."""
    channels, size, _ = image_shape
    first = net.channels[0]
    embedding = 4 * first
    parameters = _linear(first, embedding) + _linear(embedding, embedding) + (classes + 1) * embedding
    parameters += _conv(channels, first) + 2 * first + _conv(first, channels)
    macs = first * embedding + embedding**2 + 2 * 9 * channels * first * size**2
    stored = (channels + 3 * first) * size**2 + 3 * embedding
    kernels = HEAD_KERNELS
    live, skips, joined = 0, first * size**2, 0
    for layer in _layers(net, size):
        area = layer.side**2
        parameters += _parameters(layer, embedding)
        macs += _macs(layer, embedding)
        stored += _saved(layer)
        kernels += KERNELS[layer.kind] + (KERNELS["shortcut"] if _shortcut(layer) else 0)
        live = max(live, skips + _working(layer))
        if layer.kind == "up":  # a resolution lets go of its skips at its end, and holds on to its input until then
            skips += layer.wide * area - joined
            joined = layer.wide * area
        elif layer.joins:
            joined += layer.joins * area
        elif not layer.feeds_join and layer.kind in ("res", "down"):
            skips += layer.wide * area
    return Counts(parameters, macs, stored, live, kernels)


def _linear(wide_in: int, wide: int) -> int:
    return wide_in * wide + wide


def _conv(wide_in: int, wide: int) -> int:
    return 9 * wide_in * wide + wide


def _shortcut(layer: _Layer) -> bool:
    return layer.kind == "res" and layer.wide_in != layer.wide


def _parameters(layer: _Layer, embedding: int) -> int:
    wide_in, wide = layer.wide_in, layer.wide
    if layer.kind == "attention":
        return 2 * wide + 4 * _linear(wide, wide)
    if layer.kind in ("down", "up"):
        return _conv(wide, wide)
    shortcut = _linear(wide_in, wide) if _shortcut(layer) else 0
    return 2 * wide_in + _conv(wide_in, wide) + _linear(embedding, wide) + 2 * wide + _conv(wide, wide) + shortcut


def _macs(layer: _Layer, embedding: int) -> int:
    wide_in, wide, area = layer.wide_in, layer.wide, layer.side**2
    if layer.kind == "attention":
        return 4 * wide**2 * area + 2 * wide * area**2
    if layer.kind in ("down", "up"):
        return 9 * wide**2 * area
    shortcut = wide_in * wide if _shortcut(layer) else 0
    return (9 * wide * (wide_in + wide) + shortcut) * area + embedding * wide


def _saved(layer: _Layer) -> int:
    wide_in, wide, area = layer.wide_in, layer.wide, layer.side**2
    output = 0 if layer.feeds_join else wide * area
    if layer.kind == "attention":  # the normed input and its copies, queries, keys, values, what they attend to
        return 8 * wide * area + output
    if layer.kind == "down":
        return output
    if layer.kind == "up":  # the enlarged input
        return wide * area + output
    joined = wide_in * area if layer.joins else 0
    return joined + 2 * wide_in * area + 3 * wide * area + output


def _working(layer: _Layer) -> int:
    """Peak count of numbers of the layer, with input and output."""
    wide_in, wide, area = layer.wide_in, layer.wide, layer.side**2
    if layer.kind == "res":
        return max(3 * wide_in, wide_in + 3 * wide) * area
    if layer.kind == "attention":
        return 6 * wide * area
    return 2 * wide * area
