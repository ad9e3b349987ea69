"""The data and the reference set that nets are measured against.

Imports no torch-fidelity, which steps do not need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from branchwise.trainables.dash.data.datasets import Dataset

if TYPE_CHECKING:
    from branchwise.trainables.dash.evaluation.reference_set import ReferenceSet


@dataclass(frozen=True, kw_only=True)
class EvaluationReference:
    """The data of a spec, and the reference set in its feature space."""

    dataset: Dataset  # the images that train, with the labels that are sampled
    holdout: Dataset  # the images that calibration is measured on
    alphas_cumprod: Tensor  # (1000,)
    against: ReferenceSet
