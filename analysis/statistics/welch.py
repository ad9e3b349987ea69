"""Unpaired contrasts of cell means: Welch's variance and Welch-Satterthwaite df."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from branchwise.analysis.statistics.spread import FloatArray

MIN_RUNS = 2  # of a cell, to see how its runs scatter


@dataclass(frozen=True, kw_only=True)
class CellVariance:
    """Scatter of the runs of C cells, in the unit of the fit.

    Attributes:
        variances: (C,) variance of each cell's mean, s^2 / n; NaN with a single run.
        counts: (C,) runs of each cell.
    """

    variances: FloatArray
    counts: FloatArray

    def covariance(self, first: FloatArray, second: FloatArray) -> float:
        """Covariance of two contrasts of the cell means."""
        used = (first != 0) & (second != 0)
        return float((first * second)[used] @ self.variances[used])

    def freedom(self, contrast: FloatArray) -> float:
        """Welch-Satterthwaite degrees of freedom of a contrast's variance.

        Without scatter, the sum of its cells' n - 1.
        """
        used = contrast != 0
        parts = contrast[used] ** 2 * self.variances[used]
        top = float(parts.max(initial=0.0))
        if not top > 0:
            return float((self.counts[used] - 1).sum())
        parts = parts / top  # so that no square under- or overflows
        return float(parts.sum()) ** 2 / float((parts**2 / (self.counts[used] - 1)).sum())

    def is_identified(self, contrast: FloatArray) -> bool:
        """Whether each cell of the contrast has two runs."""
        return bool((self.counts[contrast != 0] >= MIN_RUNS).all())


def cell_variance(rows: np.ndarray, values: FloatArray, cells: int) -> CellVariance:
    """Variance of the runs of each cell.

    Args:
        rows: (n,) the cell of each run, from 0.
        values: (n,) its value.
        cells: The number of cells.
    """
    counts = np.bincount(rows, minlength=cells).astype(float)
    means = np.bincount(rows, values, cells) / np.maximum(counts, 1)
    squares = np.bincount(rows, (values - means[rows]) ** 2, cells)
    variances = np.full(cells, np.nan)
    repeated_cells = counts >= MIN_RUNS
    variances[repeated_cells] = squares[repeated_cells] / (counts[repeated_cells] - 1) / counts[repeated_cells]
    return CellVariance(variances=variances, counts=counts)
