"""The distance of real images from real images, measured as that of samples.

It is near the minimum of a value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from branchwise.trainables.dash.compute.seeding import generator
from branchwise.trainables.dash.data.datasets import Dataset, holdout_rows
from branchwise.trainables.dash.evaluation import metrics
from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet, features_of
from branchwise.trainables.dash.settings.data import Data, TorchvisionData


def measure(settings: Data, holdout: Dataset, against: ReferenceSet, labels: str = "data") -> dict[str, Any]:
    """Return the floor's columns: reference halves, and held-out images against the others.

    Where samples have `labels` "balanced" and the classes of a folder differ in size, of the images that represent
    samples as many of each class are taken. None, and no number of samples, where there are fewer images than a value
    needs samples for.
    """
    even = labels == "balanced" and len(set(holdout.counts)) > 1
    real, min_images = against.features, against.extractor.min_samples
    order = torch.randperm(len(real), generator=generator(42, "halves"))
    half = len(real) // 2
    half_rows = _balanced_rows(order[:half], against.labels, holdout.classes) if even else order[:half]
    values = _distance_columns("floor_halves", real[half_rows], real[order[half : 2 * half]], min_images)
    if isinstance(settings, TorchvisionData):
        trained = real
        separate = features_of(against.extractor, holdout) if len(holdout) >= min_images else real[:0]
    else:
        rows = holdout_rows(settings, against.labels)
        trained, separate = real[~rows], real[rows]
        if even:
            separate = real[_balanced_rows(rows.nonzero().flatten(), against.labels, holdout.classes)]
    return values | _distance_columns("floor_held_out", separate, trained, min_images)


def _balanced_rows(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """As many of the rows of each class as the smallest has, the first ones."""
    of_class = [rows[labels[rows] == label] for label in range(classes)]
    fewest = min(map(len, of_class))
    return torch.cat([match[:fewest] for match in of_class])


def _distance_columns(name: str, some: Tensor, others: Tensor, min_images: int) -> dict[str, Any]:
    """The distance of features (n, d) to others (m, d), and n."""
    if min(len(some), len(others)) < min_images:
        return {name: None, f"{name}_samples": None}
    distance = metrics.frechet_distance(metrics.statistics(some), metrics.statistics(others))
    return {name: distance, f"{name}_samples": len(some)}
