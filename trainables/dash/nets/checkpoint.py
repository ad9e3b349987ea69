"""Models on disk: a diffusers folder (config.json, safetensors) with the curriculum."""

from __future__ import annotations

import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.settings.addresses import CONFIG, CURRICULUM, WEIGHTS

_REFUSED = re.compile(r"GLOBAL (\S+)")  # what torch names of a pickle that refers to code


def save_model(folder: Path, net: nn.Module, importance: Tensor) -> None:
    """Write `net` and the curriculum's lambda (1000,) into `folder`.

    Plain diffusers can load it.
    """
    unet: Any = net
    unet.save_pretrained(folder, safe_serialization=True)
    save_file({"lambda": importance.detach().cpu()}, folder / CURRICULUM)
    for name in (WEIGHTS, CURRICULUM):
        (folder / name).chmod(0o644)  # safetensors makes them private; storage is shared


def load_model(folder: Path, device: torch.device | str) -> tuple[nn.Module, Tensor]:
    """The network (in eval mode) and lambda (1000,) that `save_model` wrote, on `device`.

    Raises FileNotFoundError when `folder` holds no model, and ValueError when its weights or lambda are not finite.
    """
    for name in (CONFIG, WEIGHTS, CURRICULUM):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a model folder: it has no {name}")
    net: Any = UNet2DModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False)
    importance = load_file(folder / CURRICULUM)["lambda"]
    for name, value in (*net.state_dict().items(), ("lambda", importance)):
        if not bool(value.isfinite().all()):
            raise ValueError(f"{folder}: the weights are not finite: {name} holds NaN or infinity")
    return net.to(device).eval(), importance.to(device)


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, hexadecimal."""
    return sha256_of(folder / WEIGHTS)


def to_bytes(state: dict[str, Any]) -> bytes:
    """Plain tensors and containers as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(content: bytes, device: torch.device | str) -> dict[str, Any]:
    """Return the state that `to_bytes` packed, its tensors on `device`.

    Raises ValueError for other content.
    """
    try:
        state: dict[str, Any] = read_tensors(io.BytesIO(content), device)
    except ValueError as error:
        raise ValueError(
            f"the checkpoint cannot be read: {error}; delete it from the run's checkpoints to start from the beginning"
        ) from error
    return state


def read_tensors(source: Path | BinaryIO, device: torch.device | str) -> Any:
    """Load a file of PyTorch, unpickling only tensors and plain containers.

    Raises ValueError that states why it cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that are no checkpoints
            return torch.load(source, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message advises to run the code
        match = _REFUSED.search(str(error))
        what = f"it refers to {match[1]}" if match else "it is a pickle of another kind"
        raise ValueError(f"{what}, and only tensors and plain containers are loaded") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
