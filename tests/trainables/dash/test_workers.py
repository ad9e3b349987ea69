"""Two workers equal a single worker, but for rounding: they share a batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from patience import patience
from safetensors.torch import load_file

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm, Context, Result
from branchwise.trainables.runtime.settings import patched


def work(rank: int, world_size: int, tree: dict[str, Any], folder: str) -> None:
    """A single worker: trains a teacher, and two arms from it, and writes its recorded calls to `folder`."""
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    spec = dash.Spec.model_validate(tree)
    out = Path(folder)
    reports: list[Mapping[str, Any]] = []
    results: dict[str, dict[str, Any]] = {}

    def finish(arm: Arm, result: Result, student: Path | None) -> None:
        results[arm.name] = {"values": dict(result.values), "curves": [dict(row) for row in result.tables["curves"]]}

    context = Context(
        rank=rank,
        world_size=world_size,
        device="cpu",
        threads=1,
        scratch=out,
        teacher=out / "teacher",
        report=reports.append,
        save=lambda content: None,
        load=lambda: None,
        finish=finish,
    )
    dash.train_teacher(spec, out / "teacher", context)
    if world_size > 1:
        dist.barrier()  # the teacher's folder is rank 0's to write
    arms = [Arm(name=c, seed=1, spec=patched(spec, {"curriculum": c})) for c in ("transfer", "learned")]
    dash.run_cohort(arms, context)
    details = {"reports": [(r["phase"], r["step"]) for r in reports], "results": results}
    (out / f"told-{rank}.json").write_text(json.dumps(details))
    if world_size > 1:
        dist.destroy_process_group()


def start(world_size: int, tree: dict[str, Any], folder: Path) -> None:
    """Runs `work` in `world_size` processes and waits for them; a single worker needs no further process."""
    if world_size == 1:
        work(0, 1, tree, str(folder))
        return
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
    commands = [
        [sys.executable, __file__, str(rank), str(world_size), json.dumps(tree), str(folder)]
        for rank in range(world_size)
    ]
    workers = [subprocess.Popen(command, env=environment) for command in commands]
    assert [worker.wait(timeout=patience(300)) for worker in workers] == [0] * world_size


@pytest.mark.slow
def test_two_workers_agree_with_single(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["teacher"]["batch_size"] = tiny["train"]["batch_size"] = 17  # parts of 8 and 9
    for world_size in (1, 2):
        (tmp_path / str(world_size)).mkdir()
        start(world_size, tiny, tmp_path / str(world_size))
    calls = [
        json.loads((tmp_path / where).read_text()) for where in ("1/told-0.json", "2/told-0.json", "2/told-1.json")
    ]
    assert calls[1]["reports"] == calls[2]["reports"]  # each worker reports equally often
    assert not calls[2]["results"]  # only rank 0 finishes arms
    for name, expected in calls[0]["results"].items():
        shared = calls[1]["results"][name]
        for row, other in zip(expected["curves"], shared["curves"], strict=True):
            assert other == pytest.approx(row, rel=1e-4)
        for column in ("value", "kid", "rho", "gap_mse"):
            assert shared["values"][column] == pytest.approx(expected["values"][column], rel=1e-2), column
    for file in ("teacher", "transfer", "learned"):
        for part in ("diffusion_pytorch_model", "curriculum"):
            first, two = (load_file(tmp_path / w / file / f"{part}.safetensors") for w in "12")
            for key, value in first.items():
                torch.testing.assert_close(two[key], value, rtol=0, atol=2e-4)  # AdamW turns rounding into steps


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4])
