"""Content addresses: what a teacher, and its evaluation, depend on. No torch here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trainables.dash.spec import Spec, Teacher
from trainables.settings import digest

WEIGHTS = "diffusion_pytorch_model.safetensors"
_TRAINING = 1  # raised when a change to the code gives other teachers for the same settings
_EVALUATION = 1  # likewise for the values of an evaluation


def teacher_key(spec: Spec) -> str:
    """The address of the teacher these settings ask for: of data and settings, or of an existing teacher's weights.

    `workers` is left out: they share one batch. Raises FileNotFoundError when a `checkpoint` holds no model.
    """
    if isinstance(spec.teacher, Teacher):
        settings = spec.teacher.model_dump(mode="json", exclude={"workers", "checkpoint_every", "log_every"})
        return digest({"version": _TRAINING, "data": spec.data.model_dump(mode="json"), "teacher": settings})
    weights = Path(spec.teacher.checkpoint).expanduser() / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"teacher.checkpoint: {weights} does not exist")
    with weights.open("rb") as file:
        return digest({"weights": hashlib.file_digest(file, "sha256").hexdigest()})


def evaluation_key(spec: Spec) -> str:
    """The address of the settings and data that a teacher's evaluation depends on."""
    settings = {"data": spec.data.model_dump(mode="json"), "evaluate": spec.evaluate.model_dump(mode="json")}
    return digest({"version": _EVALUATION, **settings})
