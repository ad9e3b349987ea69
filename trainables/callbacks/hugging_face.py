"""Callback for Hugging Face: `Trainer(..., callbacks=[BranchwiseCallback(report)])`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from branchwise.trainables.reporting import Stopped


class BranchwiseCallback(TrainerCallback):
    """Callback that reports logged and evaluated metrics, and stops when the arm is behind.

    `report` is the parameter of the function that Branchwise trains.
    """

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
