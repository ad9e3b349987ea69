"""GPUs to plan for, of this machine or one that `--for` names; gpus.yaml specifies them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, PositiveFloat

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import validated
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.planning.rates import read_rates
from branchwise.trainables import Device
from branchwise.trainables.runtime.settings import Strict

TABLE = Path(__file__).with_name("gpus.yaml")
MANY_CPUS = 1 << 20  # of a machine to be rented: as many as the plan needs


class Gpu(Strict):
    """A line of the table."""

    memory: Annotated[PositiveFloat, Field(strict=False)]  # GB
    fp32: Annotated[PositiveFloat, Field(strict=False)]  # TFLOP/s
    tf32: Annotated[PositiveFloat, Field(strict=False)] | None = None
    bf16: Annotated[PositiveFloat, Field(strict=False)] | None = None
    driver: str = ""
    price: Annotated[PositiveFloat, Field(strict=False)] | None = None  # an hour

    @property
    def best(self) -> float:
        return self.bf16 or self.fp32


class Assumed(Strict):
    efficiency: dict[str, PositiveFloat]
    launch_us: dict[str, Annotated[PositiveFloat, Field(strict=False)]]


class GpuTable(Strict):
    gpus: Annotated[dict[str, Gpu], Field(min_length=1)]
    assumed: Assumed


@dataclass(frozen=True, kw_only=True)
class Target:
    """Machines to plan for: `count` equal GPUs."""

    count: int
    device: Device
    price: float | None  # of a single GPU for an hour
    proxy_gpu: str = ""  # the GPU of the table with the rates used for one of which only the memory is known

    @property
    def text(self) -> str:
        rates_note = f", reckoned as {self.proxy_gpu}" if self.proxy_gpu else ""
        return f"{self.count} x {self.device.name} ({self.device.memory / 1e9:g} GB{rates_note})"

    @property
    def cluster(self) -> Cluster:
        return Cluster(nodes=(MANY_CPUS,), gpus=self.count, dashboard="")


@functools.cache
def read_table() -> GpuTable:
    """Read the table; raise UserError when it is not valid."""
    try:
        tree = yaml.safe_load(TABLE.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{TABLE}: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{TABLE}: must be a mapping of gpus and assumed")
    table: GpuTable = validated(str(TABLE), GpuTable, tree)
    return table


def target(text: str) -> Target:
    """Parse `--for`: 8xH100, or 4x24GB for GPUs with only their memory given. Raises UserError."""
    gpus = read_table().gpus
    match = re.fullmatch(r"(\d+)x(.+)", text)
    name = match[2] if match else ""
    memory = re.fullmatch(r"(\d+(?:\.\d+)?)GB", name)
    if match is None or int(match[1]) < 1 or not (name in gpus or memory):
        raise UserError(
            f"--for {text}: must be a number of GPUs of {TABLE.name} (8xH100; there are {', '.join(gpus)}), or of any "
            "with so much memory (4x24GB)"
        )
    if memory is None:
        return Target(count=int(match[1]), device=device_of(name), price=gpus[name].price)
    expected = float(memory[1])
    # The slowest that has as much, so that a plan promises no more than any such GPU holds.
    nearest = min(
        gpus,
        key=lambda candidate: (
            gpus[candidate].memory < expected,
            abs(gpus[candidate].memory - expected),
            gpus[candidate].best,
        ),
    )
    return Target(
        count=int(match[1]),
        device=replace(device_of(nearest), name=name, memory=expected * 1e9),
        price=None,
        proxy_gpu=nearest,
    )


def price_of(name: str) -> float | None:
    """The price of an hour of the GPU of this name; None if the table has no such GPU or price."""
    gpu = read_table().gpus.get(name)
    return gpu.price if gpu else None


def device_of(name: str) -> Device:
    """The GPU called `name` in the table, with the rates that were measured on it."""
    gpu, assumed = read_table().gpus[name], read_table().assumed
    rates = {"fp32": gpu.fp32, "tf32": gpu.tf32, "bf16": gpu.bf16}
    return Device(
        name=name,
        memory=gpu.memory * 1e9,
        flops={precision: rate * 1e12 for precision, rate in rates.items() if rate},
        efficiency=assumed.efficiency,
        launch_seconds={mode: us / 1e6 for mode, us in assumed.launch_us.items()},
        rates=read_rates(name),
    )


def name_in_table(driver: str) -> str | None:
    """The table's name of a GPU, by the name that its driver reports; None if it has none."""
    gpus: Mapping[str, Gpu] = read_table().gpus
    return next((name for name, gpu in gpus.items() if gpu.driver and re.search(gpu.driver, driver)), None)
