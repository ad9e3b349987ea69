"""Writes `lightning/` beside this file: `pip install lightning==2.6.6`, then `python write_lightning.py`."""

import math
import shutil
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

FOLDER = Path(__file__).parent / "lightning"
shutil.rmtree(FOLDER, ignore_errors=True)
for seed in range(3):
    for ema in (False, True):
        logger = CSVLogger(str(FOLDER), name=None, flush_logs_every_n_steps=1)
        logger.log_hyperparams(
            {"ema": ema, "seed": seed, "opt": {"lr": 1e-5}, "betas": (0.9, 0.99), "tag": "1.10", "w": None}
        )
        for step in range(4):
            loss = 2 - 0.3 * ema + 0.05 * seed + 0.5 / (step + 1)
            logger.log_metrics({"train_loss": loss, "epoch": step // 2}, step=10 * step)
            if step % 2:
                logger.log_metrics(
                    {"val/acc": math.nan if ema and seed == 2 else loss / 9, "epoch": step // 2}, step=10 * step
                )
        logger.finalize("success")
CSVLogger(str(FOLDER), name=None).log_hyperparams({"ema": True, "seed": 9})
logger = CSVLogger(str(FOLDER), name=None)
logger.log_hyperparams({"ema": True, "seed": 9})
logger.save()  # a run without metrics
