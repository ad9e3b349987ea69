"""The duration of a pass: a formula, corrected by the rates from `measure_rates`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from branchwise.trainables.contract import Device
from branchwise.trainables.dash.costs.counts import BACKWARD, count
from branchwise.trainables.dash.costs.work import Pass
from branchwise.trainables.dash.settings.spec import Spec, UNet

STEP_KERNELS = 60  # of clipping, the optimizer, the average and the losses, regardless of the net
FEATURES = "features"  # the kind of rate that features and distances have

Shape = tuple[int, int, int]


def flop(item: Pass, shape: Shape, classes: int) -> float:
    """Floating-point operations of all the passes, two for each multiply-accumulate."""
    macs = count(item.net, shape, classes).macs * item.rows * item.times
    return 2.0 * macs * (1 + BACKWARD if item.kind == "train" else 1)


def pass_seconds(item: Pass, shape: Shape, classes: int, on: Device) -> tuple[float, bool]:
    """Return the seconds of all the passes, and whether this net was measured on this device."""
    seconds = item.times * (_on_gpu(item, shape, classes, on) if on.memory else _on_cpu(item, shape, classes, on))
    ratio = measured_ratio(item, shape, classes, on)
    is_measured = _nearest(item, shape, classes, _matching(item, on)) is not None
    return (seconds if ratio is None else seconds * ratio), is_measured


def _on_cpu(item: Pass, shape: Shape, classes: int, on: Device) -> float:
    """Estimate CPU seconds: a cost per residual block, and one per sample.

    The threads share the cost per sample, but not the fixed cost of a block.

    Calibrated on a core of an AMD EPYC with torch 2.15. Thin nets are bound by memory traffic, so that a sample costs
    as the square root of its MACs; wide ones by arithmetic, about 5e10 MAC/s.
    """
    macs = count(item.net, shape, classes).macs
    a_sample = max(7.5e-8 * math.sqrt(macs), macs / 5e10)
    blocks = len(item.net.channels) * (2 * item.net.res_blocks + 1) + 2
    forward = 0.7e-3 * blocks + a_sample * item.rows / on.threads
    return forward * (1 + BACKWARD if item.kind == "train" else 1)


def _on_gpu(item: Pass, shape: Shape, classes: int, on: Device) -> float:
    """The time of the arithmetic or of the launches, whichever is longer."""
    peak, efficiency = gpu_flops(item.precision, item.mode, on)
    arithmetic = flop(item, shape, classes) / item.times / (peak * efficiency)
    kernels = count(item.net, shape, classes).kernels * (1 + BACKWARD if item.kind == "train" else 1)
    launches = kernels + (STEP_KERNELS if item.kind == "train" else 0)
    return max(arithmetic, launches * on.launch_seconds[item.mode])


def gpu_flops(precision: str, mode: str, on: Device) -> tuple[float, float]:
    """Peak FLOP/s, and the share assumed to be reached; fp32's where a GPU has no faster rate."""
    name = precision if precision == "bf16" else ("tf32" if mode == "fast" else "fp32")
    name = name if name in on.flops else "fp32"
    return on.flops[name], on.efficiency[name]


def rate_of(item: Pass, shape: Shape, classes: int, threads: int, seconds: float) -> dict[str, Any]:
    """The seconds of a pass as plain values: an entry of a `Device`'s rates."""
    return {
        "kind": item.kind,
        "net": {
            "channels": list(item.net.channels),
            "res_blocks": item.net.res_blocks,
            "at": list(item.net.attention_at),
        },
        "images": [*shape, classes],
        "rows": item.rows,
        "precision": item.precision,
        "mode": item.mode,
        "threads": threads,
        "seconds": seconds,
    }


def measured_ratio(item: Pass, shape: Shape, classes: int, on: Device) -> float | None:
    """Return measured over computed seconds; None without a rate.

    The ratio is that of this net at the nearest batch, else the median of others.
    """
    matching = _matching(item, on)
    if not matching:
        return None
    if nearest := _nearest(item, shape, classes, matching):
        return _ratio(nearest, item, on)
    return float(median(_ratio(rate, item, on) for rate in matching))


def measured_working(item: Pass, shape: Shape, classes: int, on: Device) -> float | None:
    """Return a training pass's temporary bytes on a GPU by a rate of this net; None without one."""
    nearest = _nearest(item, shape, classes, [rate for rate in _matching(item, on) if rate.get("working")])
    return nearest["working"] / nearest["rows"] * item.rows if nearest else None


def _matching(item: Pass, on: Device) -> list[Mapping[str, Any]]:
    return [rate for rate in on.rates if rate["kind"] == item.kind and _same_setup(rate, item, on)]


def _nearest(item: Pass, shape: Shape, classes: int, matching: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The rate of this net at the nearest batch."""
    this = rate_of(item, shape, classes, 0, 0.0)
    same_net = [rate for rate in matching if (rate["net"], rate["images"]) == (this["net"], this["images"])]
    return min(same_net, key=lambda rate: abs(math.log(rate["rows"] / item.rows)), default=None)


def _ratio(rate: Mapping[str, Any], item: Pass, on: Device) -> float:
    """The seconds of a rate over those of the formula for the measured pass."""
    net = UNet.model_construct(
        channels=tuple(rate["net"]["channels"]),
        res_blocks=rate["net"]["res_blocks"],
        attention_at=tuple(rate["net"]["at"]),
        norm_groups=item.net.norm_groups,
        dropout=item.net.dropout,
    )
    *shape, classes = rate["images"]
    image_shape = (shape[0], shape[1], shape[2])
    measured = replace(item, net=net, rows=rate["rows"], times=1)
    plain = replace(on, rates=())
    return float(rate["seconds"] / pass_seconds(measured, image_shape, classes, plain)[0])


def _same_setup(rate: Mapping[str, Any], item: Pass, on: Device) -> bool:
    """On a CPU both modes are the same; on a GPU its threads do not matter."""
    if on.memory:
        return (rate["precision"], rate["mode"]) == (item.precision, item.mode)
    return (rate["precision"], rate["threads"]) == (item.precision, on.threads)


def measured_features(spec: Spec, images: int, on: Device) -> float | None:
    """Return the seconds of features and distances by a measured rate; None without one."""
    measured = [
        rate["seconds"] / rate["rows"] * images
        for rate in on.rates
        if rate["kind"] == FEATURES and rate["net"] == spec.features and (on.memory or rate["threads"] == on.threads)
    ]
    return median(measured) if measured else None
