"""Callback for Lightning: `Trainer(callbacks=[BranchwiseCallback(report)])`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from branchwise.trainables.reporting import Stopped


class BranchwiseCallback(Callback):
    """Callback that reports metrics after each validation, and stops when the arm is behind.

    Steps are optimizer steps. `report` is the parameter of the function that Branchwise trains.
    """

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
