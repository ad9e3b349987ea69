"""Steps of one arm on multiple workers, a process and a device each, without Ray."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from branchwise.trainables.dash.machine import fixtures
from branchwise.trainables.dash.settings.spec import Spec


def losses(device: str, tree: Mapping[str, Any], count: int, last: int) -> list[float]:
    """Return loss and gradient norm of the steps 0 to `last` of an arm on `count` workers.

    `tree` are the settings.
    """
    with tempfile.TemporaryDirectory(prefix="branchwise-") as folder:
        # Spawned: a process that has used CUDA cannot be forked.
        spawn(_work, (count, device, dict(tree), last, folder), nprocs=count)
        result: list[float] = json.loads((Path(folder) / "losses.json").read_text())
    return result


def _work(rank: int, count: int, device: str, tree: dict[str, Any], last: int, folder: str) -> None:
    worker_device = "cpu" if device == "cpu" else f"cuda:{rank}"
    backend = "gloo" if device == "cpu" else "nccl"
    if device != "cpu":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=count)
    try:
        torch.set_num_threads(1)
        spec = Spec.model_validate(tree)
        curve = fixtures.losses(spec, fixtures.context(worker_device, rank=rank, world_size=count), last)
        if rank == 0:
            (Path(folder) / "losses.json").write_text(json.dumps(curve))
    finally:
        dist.destroy_process_group()
