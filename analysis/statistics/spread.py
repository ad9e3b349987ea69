"""Cluster-robust variance of an effect in the cell + block model, each block a cluster.

CR2 (Bell & McCaffrey 2002), which is unbiased under equal variances, with their Satterthwaite degrees of freedom; the
block effects are absorbed. Symbols and equation numbers are those of Pustejovsky & Tipton (2018, doi
10.1080/07350015.2016.1247004; arXiv 1601.01981 as revised), with weights W_i = I and the working model Phi = I:

    R_i      indicators of the cells of block i's observations, minus their mean over the block (R with two dots there)
    M        Moore-Penrose inverse of sum R_i' R_i
    e_i      residuals
    B_i      I - R_i M R_i', by theorem 2; A_i its inverse square root, on its range (7 to 9)
    V        M (sum R_i' A_i e_i e_i' A_i' R_i) M (4)
    p_i      (I - H)_i' A_i R_i M c, of a contrast c; nu = (sum p_i' p_i)^2 / sum sum (p_i' p_j)^2 (11)

Where each block has each cell, the variance and the degrees of freedom of a contrast are those of the one-sample t over
its values by block. Blocks with the same cells share their matrices, so 100,000 arms cost milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class BlockVariance:
    """Terms of V and nu, for any contrast c of C cells over m blocks of P patterns of cells.

    Attributes:
        e_arm: (m, C), e_i' A_i R_i M of each block.
        times: (P,) blocks of each pattern.
        arm_arm: (P, C, C), (A_i R_i M)' (A_i R_i M).
        r_arm: (P, C, C), R_i' A_i R_i M.
        null: (P, C, C), (N_i' R_i M)' (N_i' R_i M), where the columns of N_i span the null space of B_i: c' null c is
            above 0 where residuals cannot show how the contrast varies.
        root: (C, C), root root' = M.
    """

    e_arm: FloatArray
    times: FloatArray
    arm_arm: FloatArray
    r_arm: FloatArray
    null: FloatArray
    root: FloatArray


def block_variance(row: IntArray, col: IntArray, residuals: FloatArray, inverse: FloatArray) -> BlockVariance:
    """Compute the terms of the variance of any contrast.

    Args:
        row: (n,) the cell of each observation, from 0.
        col: (n,) its block, from 0.
        residuals: (n,) of the model.
        inverse: (C, C), M.
    """
    cells, blocks = len(inverse), int(col.max()) + 1 if len(col) else 0
    counts = np.zeros((blocks, cells), dtype=np.intp)
    np.add.at(counts, (col, row), 1)
    ordered = residuals[np.lexsort((row, col))]
    starts = np.concatenate([[0], np.cumsum(counts.sum(1))])[:-1]
    patterns, of_block = np.unique(counts, axis=0, return_inverse=True)
    e_arm = np.zeros((blocks, cells))
    arm_arm, r_arm, null = (np.zeros((len(patterns), cells, cells)) for _ in range(3))
    for p, pattern in enumerate(patterns):
        members = np.flatnonzero(of_block.ravel() == p)
        r = np.eye(cells)[np.repeat(np.arange(cells), pattern)]
        r -= r.mean(0)
        values, vectors = np.linalg.eigh(np.eye(len(r)) - r @ inverse @ r.T)  # of B_i
        positive = values > 1e-9
        a = (vectors[:, positive] / np.sqrt(values[positive])) @ vectors[:, positive].T
        arm = a @ r @ inverse
        n_rm = vectors[:, ~positive].T @ r @ inverse
        e_arm[members] = ordered[starts[members][:, None] + np.arange(len(r))] @ arm
        arm_arm[p], r_arm[p], null[p] = arm.T @ arm, r.T @ arm, n_rm.T @ n_rm
    values, vectors = np.linalg.eigh(inverse)
    return BlockVariance(
        e_arm=e_arm, times=np.bincount(of_block.ravel(), minlength=len(patterns)).astype(float),
        arm_arm=arm_arm, r_arm=r_arm, null=null, root=vectors * np.sqrt(np.maximum(values, 0.0)),
    )  # fmt: skip


def covariance(variance: BlockVariance, first: FloatArray, second: FloatArray) -> float:
    """Covariance of two estimated contrasts, (C,) each: c' V d (4)."""
    return float((variance.e_arm @ first) @ (variance.e_arm @ second))


def is_identified(variance: BlockVariance, contrast: FloatArray) -> bool:
    """Return whether the variance of a contrast between blocks can be estimated.

    This takes multiple blocks with each of its cells.
    """
    return bool((np.einsum("i,pij,j->p", contrast, variance.null, contrast) < 1e-12 * (contrast @ contrast)).all())


def freedom(variance: BlockVariance, contrast: FloatArray) -> float:
    """Degrees of freedom nu of a contrast's (C,) variance (11): blocks - 1 if none has a hole.

    With q_i = root' R_i' A_i R_i M c, p_i' p_i is |A_i R_i M c|^2 - |q_i|^2, and p_i' p_j of two blocks is -q_i' q_j.
    """
    lengths = np.einsum("i,pij,j->p", contrast, variance.arm_arm, contrast)
    q = (variance.r_arm @ contrast) @ variance.root
    q_lengths = (q**2).sum(1)
    times = variance.times
    q_products = (q * times[:, None]).T @ q
    trace = float(times @ (lengths - q_lengths))
    squares = float(times @ lengths**2 - 2 * times @ (lengths * q_lengths) + (q_products**2).sum())
    return trace**2 / squares if squares > 0 else 0.0
