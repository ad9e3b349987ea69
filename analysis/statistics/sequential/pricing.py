"""Savings by declared looks: many simulated runs at once, by the rule `judging` follows.

Plain NumPy and SciPy, so that a plan can price its looks without starting anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

from branchwise.analysis.declared.inference import ALPHA
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.statistics.sequential.boundaries import FloatArray, boundary

SIZES = (1.0, 2.0, 4.0)  # effects that a plan is priced at, in SDs of the effect between blocks
RUNS = 2000


@dataclass(frozen=True, kw_only=True)
class Played:
    """Simulated runs.

    Attributes:
        blocks: (runs,) that each used.
        decided: (runs, hypotheses) blocks after which each was decided, else 0.
    """

    blocks: NDArray[np.int64]
    decided: NDArray[np.int64]


def play(values: FloatArray, looks: Looks, futility: bool = True, alpha: float = ALPHA) -> Played:
    """Play runs under looks, Holm over their hypotheses.

    Args:
        values: (runs, blocks, hypotheses) each hypothesis' contrast by block, zero being its null.
        looks: As declared; the last is the number of blocks.
        futility: Whether a run may end because no open hypothesis has a chance.
        alpha: The error that the hypotheses share.
    """
    table = boundary(looks.blocks, looks.spending)
    runs, _, m = values.shape
    lowest = np.ones((runs, m))
    decided = np.zeros((runs, m), dtype=np.int64)
    blocks = np.full(runs, looks.max)
    running = np.ones(runs, dtype=bool)
    for n_blocks in looks.blocks:
        p = nominal_p(values[:, :n_blocks])
        lowest = np.minimum(lowest, table.alpha(n_blocks, p))
        rejected = holm_adjusted(lowest) <= alpha
        decided[running[:, None] & rejected & (decided == 0)] = n_blocks
        waiting = decided == 0
        ends = ~waiting.any(axis=1)
        if futility and n_blocks < looks.max:
            levels = [table.level(looks.max, alpha / max(number, 1)) for number in range(m + 1)]
            critical = stdtrit(looks.max - 1, 1 - np.array(levels) / 2)[waiting.sum(axis=1)][:, None]
            t = -stdtrit(n_blocks - 1, np.maximum(p, 1e-300) / 2)
            power = ndtr((sqrt(looks.max / n_blocks) * t - critical) / sqrt(1 - n_blocks / looks.max))
            ends |= ~(waiting & (power >= looks.futility)).any(axis=1)
        blocks[running & ends] = n_blocks
        running &= ~ends
    return Played(blocks=blocks, decided=decided)


def nominal_p(values: FloatArray) -> FloatArray:
    """(runs, hypotheses) two-sided p-values of the one-sample t over blocks."""
    n = values.shape[1]
    t = values.mean(axis=1) / (values.std(axis=1, ddof=1) / sqrt(n))
    p: FloatArray = 2 * stdtr(n - 1, -np.abs(t))
    return p


def holm_adjusted(p: FloatArray) -> FloatArray:
    """Holm's adjusted p-values along the last axis."""
    order = np.argsort(p, axis=-1)
    m = p.shape[-1]
    rising = np.maximum.accumulate(np.take_along_axis(p, order, -1) * np.arange(m, 0, -1), axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, rising, -1)
    return adjusted


def price(
    looks: Looks, hypotheses: int, sizes: Sequence[float] = SIZES, alpha: float = ALPHA
) -> Iterator[tuple[float, float, float, float]]:
    """Yield, by size of effect: expected blocks, power with looks, and power at `looks.max`.

    All hypotheses have that effect; errors are normal and independent. Power is per hypothesis.
    """
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(RUNS, looks.max, hypotheses))
    for size in sizes:
        values = errors + size
        played = play(values, looks, alpha=alpha)
        fixed = holm_adjusted(nominal_p(values)) <= alpha
        yield size, float(played.blocks.mean()), float((played.decided > 0).mean()), float(fixed.mean())
