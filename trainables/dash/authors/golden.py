"""The authors' golden values: inputs and outputs of their code.

They are for small nets with weights drawn from their names.
"""

from __future__ import annotations

import ast
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from branchwise.trainables.dash.authors import weights
from branchwise.trainables.dash.nets import unet

FILE = Path(__file__).resolve().parents[3] / "tests/data/reference_small.npz"  # in a checkout
CLASSES, IMAGE = 10, (3, 16, 16)

Golden = Mapping[str, Any]  # name -> array


def read(file: Path = FILE) -> Golden:
    """Return the golden values.

    Raises FileNotFoundError without them: they are in a checkout, not in the installed package.
    """
    with np.load(file) as content:
        return dict(content)


def stated_weights(golden: Golden, salt: str, net: str) -> dict[str, Tensor]:
    """Return the golden net's weights under the authors' names, drawn from `salt` and name.

    `net` is `teacher` or `student`.
    """
    state = {}
    for line in golden[f"{net}_keys"]:
        key, shape = str(line).split(" ", 1)
        shape = ast.literal_eval(shape)
        rng = np.random.default_rng(zlib.crc32(f"{salt}/{key}".encode()))
        drawn = rng.standard_normal(shape)
        if len(shape) >= 2:
            value = drawn / np.sqrt(np.prod(shape[1:]))
        else:
            value = 1 + 0.1 * drawn if key.endswith("weight") else 0.1 * drawn
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def build(golden: Golden, salt: str, net: str) -> nn.Module:
    """A golden net through the importer's key mapping and architecture, in eval mode."""
    state = stated_weights(golden, salt, net)
    model = unet.build(weights.architecture(state, image_size=IMAGE[1]), IMAGE, CLASSES, seed=0)
    model.load_state_dict(weights.to_diffusers(state))
    return model.eval()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Relative to the norm, as rounding in a sum is, not element by element."""
    actual, expected = actual.double().cpu(), expected.double().cpu()
    return float((actual - expected).norm() / expected.norm())
