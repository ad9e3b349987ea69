"""Content addresses of a teacher, its evaluation and the comparability of values.

An address covers all that these depend on. No torch here.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.settings import features
from branchwise.trainables.dash.settings.content import data_sha256
from branchwise.trainables.dash.settings.data import (
    DECODER,
    DIGITS_HOLDOUT,
    FOLDER_HOLDOUT,
    Data,
    ImageFolder,
    TorchvisionData,
)
from branchwise.trainables.dash.settings.guidance import ChooseGuidance
from branchwise.trainables.dash.settings.spec import Spec, Teacher, TeacherCheckpoint
from branchwise.trainables.runtime.settings import digest

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
CURRICULUM = "curriculum.safetensors"
_TRAINING = 1  # incremented when a change to the code results in other teachers for the same settings
_EVALUATION = 3  # likewise for the values of an evaluation
_NOT_COMPARED = {"repeats", "guidance_grid", "at_steps"}  # settings of an evaluation on which a value does not depend
_OF_FEATURES = {"features", "classifier"}  # which `_features` returns


def teacher_key(spec: Spec) -> str:
    """Return the address of the teacher these settings ask for.

    It is of data and settings, or of an existing teacher's weights.

    `workers` and `mode` are omitted: they change its rounding only. Raises FileNotFoundError when a `checkpoint` holds
    no model, and ValueError when its channels, image size or classes (with the null label) are not those of the data.
    """
    if isinstance(spec.teacher, Teacher):
        settings = spec.teacher.model_dump(mode="json", exclude={"workers", "mode", "checkpoint_every", "log_every"})
        return digest({"version": _TRAINING, "data": _identity(spec.data), "teacher": settings})
    folder = Path(spec.teacher.checkpoint).expanduser()
    for name in (WEIGHTS, CONFIG, CURRICULUM):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"teacher.checkpoint: {folder / name} does not exist")
    _check_fits(folder / CONFIG, spec.data)
    written = (folder / WEIGHTS).stat()
    return digest({"weights": _sha256(folder / WEIGHTS, written.st_mtime_ns, written.st_size)})


@lru_cache
def _sha256(file: Path, modified: int, size: int) -> str:
    """Of the file as it was last written: each cell of a design requests its teacher's."""
    return sha256_of(file)


def checkpoint_size(teacher: TeacherCheckpoint) -> int:
    """The parameters of a teacher that exists, from the head of its weights' file."""
    with (Path(teacher.checkpoint).expanduser() / WEIGHTS).open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def _identity(data: Data) -> dict[str, Any]:
    """The identity of the training images: of a folder its content, independent of its path.

    That of digits, and of data sets of torchvision's, is given by their names; workers refuse others (`same_images`).
    A folder that is missing, of which a plan can be made all the same, is identified by its path.
    """
    if isinstance(data, TorchvisionData):
        return data.model_dump(mode="json", exclude={"path", "download"})
    if isinstance(data, ImageFolder):
        message = data.model_dump(mode="json", exclude={"path", "class_names"})
        try:
            where = {"content": data_sha256(data)}
        except OSError:
            where = {"path": data.path}
        return {**message, **where, "decoder": DECODER, "held_out": FOLDER_HOLDOUT}
    return {**data.model_dump(mode="json"), "held_out": DIGITS_HOLDOUT}


def _check_fits(config: Path, data: Data) -> None:
    result = json.loads(config.read_text())
    channels, size, _ = data.image_shape
    expected = {"in_channels": channels, "sample_size": size, "num_class_embeds": data.classes + 1}
    for key, value in expected.items():
        if result.get(key) != value:
            raise ValueError(
                f"teacher.checkpoint: {config} has {key} {result.get(key)}, but {data.name} asks for {value}"
            )


def evaluation_key(spec: Spec) -> str:
    """Return the address of the settings and data that an evaluation depends on.

    The evaluation is a teacher's or a student's.
    """
    evaluate = spec.evaluate.model_dump(mode="json", exclude={"at_steps", *_OF_FEATURES})  # at_steps: only of students
    evaluate |= _features(spec)
    return digest({"version": _EVALUATION, "data": _identity(spec.data), "evaluate": evaluate})


def features_key(spec: Spec) -> str | None:
    """Return the address of the feature net to train for these settings; None without one."""
    if spec.features != features.CLASSIFIER:
        return None
    return features.classifier_key(spec.evaluate.classifier, _identity(spec.data))


def _features(spec: Spec) -> dict[str, Any]:
    """The identity of a feature space; empty for the data set's default."""
    if spec.features == features.full_name(None, spec.data):
        return {}
    description: dict[str, Any] = {"features": spec.features}
    if (key := features_key(spec)) is not None:
        description["classifier"] = key
    if features.is_function(spec.features):
        description["source"] = features.source_sha256(spec.features)
    return description


def comparability_key(spec: Spec) -> str:
    """The address of what `measurement.comparability_key` reads from the settings.

    The reference set is all images but a test set's: which part of them trains, and whether they are mirrored, remains
    out. Where the teacher chooses the guidance of an evaluation, another teacher may choose another.
    """
    reference = {key: value for key, value in _identity(spec.data).items() if key not in ("split", "flip")}
    evaluate = spec.evaluate.model_dump(mode="json", exclude=_NOT_COMPARED | _OF_FEATURES)
    measured = [reference, evaluate | _features(spec)]
    if any(isinstance(evaluation.guidance, ChooseGuidance) for evaluation in spec.evaluate.evaluations().values()):
        measured.append(spec.teacher.model_dump(mode="json"))
    return digest(measured)
