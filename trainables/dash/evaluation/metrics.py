"""Distances between sets of images in a feature space, through torch-fidelity's functions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.defaults import DEFAULTS
from torch_fidelity.metric_fid import fid_features_to_statistics
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd

from branchwise.trainables.dash.compute.memory import parts

CHUNK = 1 << 16  # rows per block of moments
Statistics = dict[str, np.ndarray]  # "mu" (d,) and "sigma" (d, d), float64


def statistics(features: Tensor) -> Statistics:
    """Return mean and covariance of features (N, d), in float64.

    More than `CHUNK` rows are read `CHUNK` by `CHUNK`.
    """
    if len(features) <= CHUNK:
        result: Statistics = fid_features_to_statistics(features.double().cpu())
        return result
    mean = torch.zeros(features.shape[1], dtype=torch.float64)
    for rows in parts(features, CHUNK):
        mean += rows.double().sum(dim=0)
    mean /= len(features)
    products = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for rows in parts(features, CHUNK):
        centered = rows.double() - mean
        products += centered.T @ centered
    return {"mu": mean.numpy(), "sigma": (products / (len(features) - 1)).numpy()}


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), float64.

    The symmetric form of the square root: its eigenvalues are real, however singular the covariances.
    """
    values, vectors = np.linalg.eigh(a["sigma"])
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b["sigma"] @ root).clip(min=0)).sum()
    shift = a["mu"] - b["mu"]
    return float(shift @ shift + np.trace(a["sigma"]) + np.trace(b["sigma"]) - 2 * cross)


def kernel_distance(samples: Tensor, reference: Tensor, subsets: int, subset_size: int) -> float:
    """KID (Binkowski et al. 2018): the mean over random subsets of rows, of all rows if fewer."""
    size = min(subset_size, len(samples), len(reference))
    # torch-fidelity's loop, but for a copy of all the reference in float64.
    draws = np.random.RandomState(DEFAULTS["rng_seed"])
    values = []
    for _ in range(subsets):
        actual = samples[draws.choice(len(samples), size, replace=False)]
        expected = reference[draws.choice(len(reference), size, replace=False)]
        values.append(kernel_mmd(actual.double().numpy(), expected.double().numpy()))
    return float(np.mean(values))


def inception_score(logits: Tensor) -> float:
    """Return the Inception score (Salimans et al. 2016) of class logits (N, classes).

    It is the mean over 10 parts.
    """
    return float(isc_features_to_metric(logits)[KEY_METRIC_ISC_MEAN])
