"""How long a pass takes on a device: a formula, corrected by what `measure_rates` measured there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from branchwise.trainables.contract import Device
from branchwise.trainables.dash.costs.counts import BACKWARD, count
from branchwise.trainables.dash.costs.work import Pass
from branchwise.trainables.dash.settings.cost import forward_seconds
from branchwise.trainables.dash.settings.spec import UNet

STEP_KERNELS = 60  # of clipping, the optimizer, the average and the losses, whatever the net
FEATURES = "features"  # the kind of rate that features and distances have

Shape = tuple[int, int, int]


def flop(one: Pass, shape: Shape, classes: int) -> float:
    """Floating-point operations of all the passes, two for each multiply-accumulate."""
    macs = count(one.net, shape, classes).macs * one.rows * one.times
    return 2.0 * macs * (1 + BACKWARD if one.kind == "train" else 1)


def pass_seconds(one: Pass, shape: Shape, classes: int, on: Device) -> tuple[float, bool]:
    """Seconds of all the passes, and whether they rest on a measurement of this device."""
    seconds = one.times * (_on_gpu(one, shape, classes, on) if on.memory else _on_cpu(one, shape, on))
    ratio = measured_ratio(one, shape, on)
    return (seconds, False) if ratio is None else (seconds * ratio, True)


def _on_cpu(one: Pass, shape: Shape, on: Device) -> float:
    return forward_seconds(one.net, shape, one.rows, on.threads) * (1 + BACKWARD if one.kind == "train" else 1)


def _on_gpu(one: Pass, shape: Shape, classes: int, on: Device) -> float:
    """As long as the arithmetic takes, or as the launches do, whichever is longer."""
    rate, efficiency = gpu_rate(one.precision, one.mode, on)
    arithmetic = flop(one, shape, classes) / one.times / (rate * efficiency)
    kernels = count(one.net, shape, classes).kernels * (1 + BACKWARD if one.kind == "train" else 1)
    launches = kernels + (STEP_KERNELS if one.kind == "train" else 0)
    return max(arithmetic, launches * on.launch_seconds[one.mode])


def gpu_rate(precision: str, mode: str, on: Device) -> tuple[float, float]:
    """FLOP/s at most, and the share of it that is assumed to be reached; fp32's where a GPU has no faster one."""
    name = precision if precision == "bf16" else ("tf32" if mode == "fast" else "fp32")
    name = name if name in on.flops else "fp32"
    return on.flops[name], on.efficiency[name]


def net_key(net: UNet, shape: Shape) -> str:
    """What a measured rate is of."""
    return f"{list(net.channels)} x{net.res_blocks} @{list(net.attention_at)} {list(shape)}"


def measured_ratio(one: Pass, shape: Shape, on: Device) -> float | None:
    """Measured over reckoned seconds: of this net at the nearest batch, else the median of others; None: no rate."""
    alike = [rate for rate in on.rates if rate["kind"] == one.kind and _same_way(rate, one, on)]
    if not alike:
        return None
    own = [rate for rate in alike if rate["net"] == net_key(one.net, shape)]
    if own:
        return float(min(own, key=lambda rate: abs(math.log(rate["rows"] / one.rows)))["ratio"])
    return float(median(rate["ratio"] for rate in alike))


def _same_way(rate: Mapping[str, Any], one: Pass, on: Device) -> bool:
    """On a CPU both modes are one."""
    same_mode = not on.memory or rate["mode"] == one.mode
    return same_mode and rate["precision"] == one.precision and rate["threads"] == on.threads


def features_ratio(on: Device) -> float | None:
    """Measured over reckoned seconds of features and distances."""
    found = [rate["ratio"] for rate in on.rates if rate["kind"] == FEATURES]
    return median(found) if found else None
