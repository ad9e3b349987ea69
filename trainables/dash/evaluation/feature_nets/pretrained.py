"""Feature nets with weights trained by others, through torch-fidelity.

Each file is verified before it is opened.

Grey images are converted to RGB; all are resized bilinearly as TensorFlow 1 did, which is torch-fidelity's rule.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.settings.files import find_weights

LOGITS = 1008  # of Inception


def load(name: str, device: torch.device | str) -> tuple[Callable[[Tensor], Tensor], int, str]:
    """Return the net called `name`, its number of logits, and its weights' SHA-256.

    The net is (N, C, H, W) uint8 -> (N, dims + logits) float32.

    Raises FileNotFoundError when its weights are not on this machine, ValueError when they are not the ones.
    """
    file = find_weights(name)
    net = _build(name, file).to(device).eval()

    def extract(pixels: Tensor) -> Tensor:
        return torch.cat(net(pixels.expand(-1, 3, -1, -1)), dim=1)

    return extract, LOGITS if name == "inception" else 0, sha256_of(file)


def _build(name: str, file: Path) -> nn.Module:
    # They unpickle without limits: safe only because the file's checksum has just been verified.
    net: Any
    if name == "inception":
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        net = FeatureExtractorInceptionV3(name, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file))
    elif name == "vgg16":
        from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

        net = FeatureExtractorVGG16(name, ["fc2_relu"], feature_extractor_weights_path=str(file))
    elif name.startswith("clip-"):
        from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

        net = FeatureExtractorCLIP(name, ["clip"], feature_extractor_weights_path=str(file))
    else:
        from branchwise.trainables.dash.evaluation.feature_nets.dinov2 import FeatureExtractorLocalDinoV2

        net = FeatureExtractorLocalDinoV2(name, ["dinov2"], feature_extractor_weights_path=str(file))
    output: nn.Module = net
    return output
