"""Contrast vectors over the 2^k cells of a factorial: every effect of the report is one of these.

Vectors are indexed by bit mask (bit i = component i on), apply to v(S) = -log(distance) or -distance, and sum to 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def shapley(component: int, k: int) -> FloatArray:
    """(2^k,) weights of the exact Shapley value: sum over S without i of |S|!(k-|S|-1)!/k! (v(S+i) - v(S)).

    Shapley (1953). The k vectors sum to `total_gain(k)`, whatever the interactions.
    """
    weights = np.zeros(2**k)
    bit = 1 << component
    for mask in range(2**k):
        if not mask & bit:
            size = mask.bit_count()
            weight = factorial(size) * factorial(k - size - 1) / factorial(k)
            weights[mask | bit] += weight
            weights[mask] -= weight
    return weights


def factorial_effect(members: Iterable[int], k: int) -> FloatArray:
    """(2^k,) weights of a main effect (one member) or interaction (several), averaged over the other components.

    Differences of differences, not halved as in Yates's convention: for {i, j} the mean over S of
    v(S+i+j) - v(S+i) - v(S+j) + v(S), so 0 means that the two components simply add up.
    """
    bits = sum(1 << i for i in set(members))
    order = bits.bit_count()
    sign = [(-1) ** (order - (mask & bits).bit_count()) for mask in range(2**k)]
    return np.array(sign, dtype=np.float64) * 0.5 ** (k - order)


def difference(plus: int, minus: int, k: int) -> FloatArray:
    """(2^k,) weights of v(plus) - v(minus), both given as bit masks."""
    weights = np.zeros(2**k)
    weights[plus] += 1.0
    weights[minus] -= 1.0
    return weights


def leave_one_out(component: int, k: int) -> FloatArray:
    """(2^k,) weights of v(full) - v(full without i): what is lost when the component alone is removed."""
    full = 2**k - 1
    return difference(full, full & ~(1 << component), k)


def add_one_in(component: int, k: int) -> FloatArray:
    """(2^k,) weights of v({i}) - v(base): what the component brings when it is the only one."""
    return difference(1 << component, 0, k)


def total_gain(k: int) -> FloatArray:
    """(2^k,) weights of v(full) - v(base)."""
    return difference(2**k - 1, 0, k)


def by_cell(weights: FloatArray, cells: Sequence[str]) -> dict[str, float]:
    """Non-zero weights of a vector, by name of the cell."""
    return {cell: float(w) for cell, w in zip(cells, weights, strict=True) if w != 0.0}
