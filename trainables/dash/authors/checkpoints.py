"""Conversion of an authors' checkpoint (.pth) into a model folder, usable as a teacher.

The folder holds the EMA weights and the curriculum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.run_files.layout import staged_folder
from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.authors.weights import architecture, to_diffusers
from branchwise.trainables.dash.diffusion.schedule import TIMESTEPS
from branchwise.trainables.dash.nets import checkpoint, unet


def import_checkpoint(file: Path, classes: int, image_size: int, out: Path) -> dict[str, Any]:
    """Write the folder `out` from the authors' checkpoint `file`; return teacher.json's content.

    Writes are atomic.

    `image_size` is the side of the square images the net was trained on; its architecture is read from the shapes.
    Raises FileNotFoundError, FileExistsError, or ValueError with a message when the file is not such a checkpoint.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    state, importance, gamma = _read(file)
    net = _build(file, state, classes, image_size)
    with staged_folder(out) as staging:
        checkpoint.save_model(staging, net, importance)
        description = {
            "imported_from": file.name,
            "imported_sha256": sha256_of(file),
            "parameters": unet.size(net),
            "snr_gamma": gamma,
            "weights_sha256": checkpoint.weights_sha256(staging),
        }
        (staging / "teacher.json").write_text(json.dumps(description, indent=1) + "\n")
    return description


def _read(file: Path) -> tuple[dict[str, Tensor], Tensor, float]:
    """The averaged weights under the authors' names, lambda (1000,), and gamma."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    try:
        content = checkpoint.read_tensors(file, "cpu")
    except ValueError as error:
        raise ValueError(f"{file} is not a readable PyTorch checkpoint: {error}") from error
    try:
        state, tirt = content["ema_state_dict"]["shadow"], content["tirt_state_dict"]
        adjustment, gamma = tirt["importance_adjustment"], tirt["snr_gamma"]
    except (KeyError, TypeError, IndexError) as missing:
        raise ValueError(f"{file} is not a checkpoint of the reference: it lacks {missing}") from missing
    importance = _curriculum(file, adjustment)
    gamma = _number(file, gamma)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} is not a checkpoint of the reference: ema_state_dict.shadow is not a state dict")
    return dict(state), importance, gamma


def _curriculum(file: Path, adjustment: Any) -> Tensor:
    """lambda (1000,), float32, finite."""
    try:
        importance = torch.as_tensor(adjustment, dtype=torch.float32).flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{file}: tirt_state_dict.importance_adjustment is not a tensor of numbers") from error
    if importance.shape != (TIMESTEPS,):
        raise ValueError(f"{file}: the curriculum has {len(importance)} timesteps, not {TIMESTEPS}")
    if not bool(importance.isfinite().all()):
        raise ValueError(
            f"{file}: the curriculum is not finite: tirt_state_dict.importance_adjustment has NaN or infinity"
        )
    return importance


def _number(file: Path, gamma: Any) -> float:
    """snr_gamma, positive and finite."""
    try:
        number = float(gamma)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{file}: tirt_state_dict.snr_gamma is {type(gamma).__name__}, not a number") from error
    if not 0 < number < math.inf:
        raise ValueError(f"{file}: tirt_state_dict.snr_gamma is {number}, not a positive finite number")
    return number


def _build(file: Path, state: dict[str, Tensor], classes: int, image_size: int) -> nn.Module:
    try:
        spec = architecture(state, image_size)
        spec.check_image(image_size)
        result = len(state["class_embed.weight"]) - 1
        if result != classes:
            raise ValueError(f"it knows {result} classes, not {classes}")
        net = unet.build(spec, (state["conv_in.weight"].shape[1], image_size, image_size), classes, seed=0)
        net.load_state_dict({name: value.float() for name, value in to_diffusers(state).items()})
    except KeyError as missing:
        raise ValueError(f"{file}: the parameter {missing} is missing") from missing
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    for name, value in net.state_dict().items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{file}: some weights are not finite: {name} holds NaN or infinity")
    return net
