"""Hugging Face: `Trainer(..., callbacks=[BranchwiseCallback(report)])` in a function that Branchwise trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from branchwise.trainables.reporting import Stopped


class BranchwiseCallback(TrainerCallback):
    """Reports what the trainer logs and evaluates (`loss`, `eval_loss`, ...), and stops it when the arm is behind.
    `report` is what the function was given."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if control.should_training_stop and state.global_step < state.max_steps:
            return  # it was stopped before, and only prints its last lines
        numbers = {name: value for name, value in (logs or {}).items() if name not in ("step", "steps")}
        try:
            self._report(state.global_step, steps=state.max_steps, **numbers)
        except Stopped:
            control.should_training_stop = True
