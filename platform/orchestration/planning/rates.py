"""The speed of this machine as `branchwise calibrate` measured it.

A file for each device in the user's cache.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.run_files.layout import staged_file

FORMAT = 1
MEASUREMENT = ("seconds", "working")  # what was measured; the rest identifies the measured case


def rates_file(device: str) -> Path:
    """The path of the rates of a device: $XDG_CACHE_HOME/branchwise/rates, or below ~/.cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return root / "branchwise/rates" / f"{slug}.json"


def read_rates(device: str) -> tuple[Mapping[str, Any], ...]:
    """The rates of a device; none if this version of the program has not measured it."""
    try:
        content = json.loads(rates_file(device).read_text())
        return tuple(content["rates"]) if content["format"] == FORMAT else ()
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def add_rates(device: str, rates: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Path:
    """Add rates of a device, atomically; they replace those of the same kind, net and way."""
    file = rates_file(device)
    new = {_key(rate): rate for rate in rates}
    stored = [rate for rate in read_rates(device) if _key(rate) not in new]
    content = {"format": FORMAT, "device": device, **settings, "rates": [*stored, *new.values()]}
    with staged_file(file) as staging:
        staging.write_text(json.dumps(content, indent=1))
    return file


def _key(rate: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((name, str(value)) for name, value in rate.items() if name not in MEASUREMENT))


@functools.cache
def processor() -> str:
    """The name of this machine's processor, and the number of cores that this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = os.uname().machine
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
