"""Distances between sets of images in a feature space, through torch-fidelity's functions."""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

KID_SUBSETS = 20
KID_SUBSET_SIZE = 500

Statistics = dict[str, np.ndarray]  # "mu" (d,) and "sigma" (d, d), float64


def statistics(features: Tensor) -> Statistics:
    """Mean and covariance of features (N, d), in float64."""
    found: Statistics = fid_features_to_statistics(features.double().cpu())
    return found


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), float64.

    The symmetric form of the square root: its eigenvalues are real, however singular the covariances.
    """
    values, vectors = np.linalg.eigh(a["sigma"])
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b["sigma"] @ root).clip(min=0)).sum()
    shift = a["mu"] - b["mu"]
    return float(shift @ shift + np.trace(a["sigma"]) + np.trace(b["sigma"]) - 2 * cross)


def kernel_distance(samples: Tensor, reference: Tensor) -> float:
    """KID (Binkowski et al. 2018): the mean over 20 subsets of 500 (or all, where fewer) feature rows."""
    size = min(KID_SUBSET_SIZE, len(samples), len(reference))
    result = kid_features_to_metric(
        samples.double(), reference.double(), kid_subsets=KID_SUBSETS, kid_subset_size=size, verbose=False
    )
    return float(result[KEY_METRIC_KID_MEAN])


def comparability_key(metric: str, weights_sha256: str, reference: str, reference_size: int, samples: int) -> str:
    """Canonical JSON of a flat object: two values may stand in one table only if theirs are equal."""
    fields = {
        "metric": metric,
        "feature_weights": weights_sha256,
        "reference": reference,
        "reference_size": reference_size,
        "samples": samples,
        "labels": "balanced",
        "quantisation": "uint8",
        "kid_subsets": KID_SUBSETS,
        "kid_subset_size": min(KID_SUBSET_SIZE, samples, reference_size),
        "torch_fidelity": version("torch-fidelity"),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


@torch.inference_mode()
def extract(net: torch.nn.Module, pixels: Tensor, batch: int = 512) -> Tensor:
    """Features (N, d) on the CPU of 8-bit images (N, C, H, W)."""
    parts = [pixels[start : start + batch] for start in range(0, len(pixels), batch)]
    return torch.cat([net(part).cpu() for part in parts])
