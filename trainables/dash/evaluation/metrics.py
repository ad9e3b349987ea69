"""Distances between sets of images in a feature space, through torch-fidelity's functions."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

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


def kernel_distance(samples: Tensor, reference: Tensor, subsets: int, subset_size: int) -> float:
    """KID (Binkowski et al. 2018): the mean over random subsets of rows, of all rows where there are fewer."""
    size = min(subset_size, len(samples), len(reference))
    result = kid_features_to_metric(
        samples.double(), reference.double(), kid_subsets=subsets, kid_subset_size=size, verbose=False
    )
    return float(result[KEY_METRIC_KID_MEAN])


def inception_score(logits: Tensor) -> float:
    """The Inception score (Salimans et al. 2016) of class logits (N, classes): the mean over 10 parts."""
    return float(isc_features_to_metric(logits)[KEY_METRIC_ISC_MEAN])


def precision_recall(samples: Tensor, reference: Tensor) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019), 3 neighbours, of features (N, d) and (M, d)."""
    result = prc_features_to_metric(samples, reference, prc_neighborhood=3, save_cpu_ram=True, verbose=False)
    return float(result[KEY_METRIC_PRECISION]), float(result[KEY_METRIC_RECALL])
