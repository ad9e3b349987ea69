"""Content addresses: what a teacher, and its evaluation, depend on. No torch here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from branchwise.trainables.dash.settings.data import Data, TorchvisionData
from branchwise.trainables.dash.settings.spec import Spec, Teacher
from branchwise.trainables.runtime.settings import digest

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
CURRICULUM = "curriculum.safetensors"
# Settings of an evaluation that may differ between values of one table: they say what is sampled, how often, and what
# is measured besides.
_COMPARABLE = {"guidance", "guidance_grid", "sampler", "sampler_steps", "repeats", "gap_samples", "gap_bins"}
_TRAINING = 1  # raised when a change to the code gives other teachers for the same settings
_EVALUATION = 1  # likewise for the values of an evaluation


def teacher_key(spec: Spec) -> str:
    """The address of the teacher these settings ask for: of data and settings, or of an existing teacher's weights.

    `workers` and `mode` are left out: they change its rounding only. Raises FileNotFoundError when a `checkpoint` holds
    no model, and ValueError when its channels, image size or classes (with the null label) are not those of the data.
    """
    if isinstance(spec.teacher, Teacher):
        settings = spec.teacher.model_dump(mode="json", exclude={"workers", "mode", "checkpoint_every", "log_every"})
        if settings["snr_weighting"] == "authors":
            settings["snr_weighting"] = "reference"  # as it was called when the first teachers were addressed
        return digest({"version": _TRAINING, "data": _identity(spec.data), "teacher": settings})
    folder = Path(spec.teacher.checkpoint).expanduser()
    for name in (WEIGHTS, CONFIG, CURRICULUM):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"teacher.checkpoint: {folder / name} does not exist")
    _check_fits(folder / CONFIG, spec.data)
    with (folder / WEIGHTS).open("rb") as file:
        return digest({"weights": hashlib.file_digest(file, "sha256").hexdigest()})


def _identity(data: Data) -> dict[str, Any]:
    """What tells the images from others. Where a data set of torchvision's lies does not."""
    place = {"path", "download"} if isinstance(data, TorchvisionData) else set()
    return data.model_dump(mode="json", exclude=place)


def _check_fits(config: Path, data: Data) -> None:
    found = json.loads(config.read_text())
    channels, size, _ = data.image_shape
    expected = {"in_channels": channels, "sample_size": size, "num_class_embeds": data.classes + 1}
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(
                f"teacher.checkpoint: {config} has {key} {found.get(key)}, but {data.name} asks for {value}"
            )


def comparability(spec: Spec) -> dict[str, Any]:
    """What a value's comparability key depends on, but for the data."""
    settings = spec.evaluate.model_dump(mode="json", exclude=_COMPARABLE)
    return {f"evaluate.{name}": value for name, value in settings.items()}


def evaluation_key(spec: Spec) -> str:
    """The address of the settings and data that a teacher's evaluation depends on."""
    evaluate = spec.evaluate.model_dump(mode="json")
    if evaluate["precision"] == "fp32":  # as it was before there was a choice
        del evaluate["precision"]
    return digest({"version": _EVALUATION, "data": _identity(spec.data), "evaluate": evaluate})
