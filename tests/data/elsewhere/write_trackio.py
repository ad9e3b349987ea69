"""Writes `trackio/` beside this file: `pip install trackio==0.43.0`, then `python write_trackio.py`."""

import math
import os
import shutil
import sqlite3
from pathlib import Path

FOLDER = Path(__file__).parent / "trackio"
shutil.rmtree(FOLDER, ignore_errors=True)
os.environ["TRACKIO_DIR"] = str(FOLDER)

import trackio  # noqa: E402  # reads the variable when it is imported

for seed in range(3):
    for ema in (False, True):
        config = {"ema": ema, "seed": 2**60 + seed, "opt": {"lr": 1e-5, "betas": [0.9, 0.99]}, "warmup": None}
        trackio.init(project="ablation", name=f"ema={ema}", config=config, embed=False)
        for step in range(4):
            loss = 2 - 0.3 * ema + 0.05 * seed + 0.5 / (step + 1)
            trackio.log({"loss": loss, "count": 2**60 + step, "ratio": math.inf, "note": "x", "val": {"acc": loss / 9}})
        trackio.log({"loss": math.nan if ema and seed == 2 else loss, "ü": 1.5}, step=9)
        trackio.finish()
with sqlite3.connect(FOLDER / "ablation.db") as database:  # one small file, without the log next to it
    database.execute("PRAGMA journal_mode=DELETE")
    database.execute("PRAGMA page_size=512")
    database.execute("VACUUM")
(FOLDER / "ablation.lock").unlink(missing_ok=True)
