"""Lightning: `Trainer(callbacks=[BranchwiseCallback(report)])` in a function that Branchwise trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from branchwise.trainables.reporting import Stopped


class BranchwiseCallback(Callback):
    """Reports the logged metrics after each validation, by the number of optimizer steps, and stops the trainer when
    the arm is behind. `report` is what the function was given."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.should_stop:
            return
        metrics: dict[str, Any] = {name: value.item() for name, value in trainer.callback_metrics.items()}
        steps = trainer.estimated_stepping_batches
        try:
            self._report(trainer.global_step, steps=int(steps) if steps != float("inf") else 0, **metrics)
        except Stopped:
            trainer.should_stop = True
