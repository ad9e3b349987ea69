"""The variance of an effect over blocks: the cluster-robust variance of the cell + block model, a block a cluster.

CR2 (Bell & McCaffrey 2002), which is unbiased under equal variances, with their Satterthwaite degrees of freedom; the
block effects are absorbed (Pustejovsky & Tipton 2018). Where each block has each cell, the variance and the degrees
of freedom of a contrast are those of the one-sample t over its values by block. Blocks with the same cells share their
matrices, so 100,000 arms cost milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class BlockVariance:
    """The terms of Var(w @ effects), for any contrast w of C cells over B blocks of P different patterns of cells.

    influence: (B, C), w @ influence[b] is what block b adds; times: (P,) blocks of each pattern; own, seen, hidden:
    (P, C, C) quadratic forms of w, the last above 0 where a block's spread cannot be seen; root: (C, C), root @ root.T
    is the inverse of the normal matrix.
    """

    influence: FloatArray
    times: FloatArray
    own: FloatArray
    seen: FloatArray
    hidden: FloatArray
    root: FloatArray


def block_variance(row: IntArray, col: IntArray, residuals: FloatArray, inverse: FloatArray) -> BlockVariance:
    """From cell and block of each of n observations, their residuals, and the inverse of the normal matrix (C, C)."""
    cells, blocks = len(inverse), int(col.max()) + 1 if len(col) else 0
    counts = np.zeros((blocks, cells), dtype=np.intp)
    np.add.at(counts, (col, row), 1)
    ordered = residuals[np.lexsort((row, col))]
    starts = np.concatenate([[0], np.cumsum(counts.sum(1))])[:-1]
    patterns, of_block = np.unique(counts, axis=0, return_inverse=True)
    influence = np.zeros((blocks, cells))
    own, seen, hidden = (np.zeros((len(patterns), cells, cells)) for _ in range(3))
    for p, pattern in enumerate(patterns):
        members = np.flatnonzero(of_block.ravel() == p)
        design = np.eye(cells)[np.repeat(np.arange(cells), pattern)]
        design -= design.mean(0)
        leverage = design @ inverse @ design.T
        values, vectors = np.linalg.eigh(np.eye(len(design)) - leverage)
        free = values > 1e-9
        adjust = (vectors[:, free] / np.sqrt(values[free])) @ vectors[:, free].T
        weigh = adjust @ design @ inverse
        undetermined = vectors[:, ~free].T @ design @ inverse
        influence[members] = ordered[starts[members][:, None] + np.arange(len(design))] @ weigh
        own[p], seen[p], hidden[p] = weigh.T @ weigh, design.T @ weigh, undetermined.T @ undetermined
    values, vectors = np.linalg.eigh(inverse)
    return BlockVariance(
        influence=influence, times=np.bincount(of_block.ravel(), minlength=len(patterns)).astype(float),
        own=own, seen=seen, hidden=hidden, root=vectors * np.sqrt(np.maximum(values, 0.0)),
    )  # fmt: skip


def covariance(variance: BlockVariance, first: FloatArray, second: FloatArray) -> float:
    """Covariance of two estimated contrasts, (C,) each."""
    return float((variance.influence @ first) @ (variance.influence @ second))


def is_identified(variance: BlockVariance, contrast: FloatArray) -> bool:
    """Whether multiple blocks have each cell of the contrast, so that a variance between blocks can be estimated."""
    return bool((np.einsum("i,pij,j->p", contrast, variance.hidden, contrast) < 1e-12 * (contrast @ contrast)).all())


def freedom(variance: BlockVariance, contrast: FloatArray) -> float:
    """Bell and McCaffrey's degrees of freedom of the variance of a contrast (C,): blocks - 1 where none has a hole."""
    independent = np.einsum("i,pij,j->p", contrast, variance.own, contrast)
    shared = (variance.seen @ contrast) @ variance.root
    lengths = (shared**2).sum(1)
    times = variance.times
    crossed = (shared * times[:, None]).T @ shared
    trace = float(times @ (independent - lengths))
    squares = float(times @ independent**2 - 2 * times @ (independent * lengths) + (crossed**2).sum())
    return trace**2 / squares if squares > 0 else 0.0
