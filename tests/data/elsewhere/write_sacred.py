"""Writes `sacred/` beside this file: `pip install sacred==0.8.7 numpy`, then `python write_sacred.py`."""

import math
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
from sacred import Experiment
from sacred.observers import FileStorageObserver
from sacred.run import Run
from sacred.utils import TimeoutInterrupt

HERE = Path(__file__).parent
shutil.rmtree(HERE / "sacred", ignore_errors=True)
os.chdir("/")
experiment = Experiment("ablation", save_git_info=False, base_dir="/")
experiment.observers.append(FileStorageObserver(HERE / "sacred", copy_sources=False))
experiment.add_config(ema=False, opt={"name": "adam", "lr": 1e-5, "betas": (0.9, 0.99)}, warmup=None, version="1.10")


@experiment.main  # type: ignore[untyped-decorator]
def train(ema: bool, seed: int, _run: Run) -> dict[str, object]:
    for step in range(4):
        loss = 2 - 0.3 * ema + 0.05 * seed + 0.5 / (step + 1)
        _run.log_scalar("loss", np.float32(loss) if step == 0 else loss, 10 * step)
        _run.log_scalar("count", np.int64(2**60 + step), step)
        _run.log_scalar("ratio", math.nan if step == 2 else math.inf, step)
        if seed == 3:
            raise TimeoutInterrupt if ema else RuntimeError("diverged")
    return {"final": loss, "top": {"one": np.float64(0.25)}}


for seed in range(4):
    for ema in (False, True):
        with suppress(RuntimeError, TimeoutInterrupt):
            experiment.run(config_updates={"seed": seed, "ema": np.bool_(ema), "opt": {"lr": np.float64(0.5)}})
