"""Contrast vectors over the 2^k cells of a factorial: effects and claims are such contrasts.

Vectors are indexed by bit mask (bit i = component i on), apply to v(S) = -log(distance) or -distance, and sum to 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import factorial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from branchwise.analysis.declared.cells import BASE, FULL, factorial_cells
from branchwise.analysis.declared.claims import Claim, Term
from branchwise.analysis.declared.factors import MAX_JOINED, Grid

FloatArray = NDArray[np.float64]
Quantity = Literal["shapley", "leave_one_out", "add_one_in", "main_effect"]  # an effect that is tested against zero


def shapley(component: int, k: int) -> FloatArray:
    """Return the (2^k,) weights of the exact Shapley value of a component (Shapley 1953).

    The value is the sum over S without i of |S|!(k-|S|-1)!/k! (v(S+i) - v(S)). The k vectors sum to
    `total_gain(k)`, regardless of the interactions.
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
    """Return the (2^k,) weights of a main effect (one member) or interaction (multiple).

    It is averaged over the other components.

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
    """Return the (2^k,) weights of v(full) - v(full without i), the loss by removing only i."""
    full = 2**k - 1
    return difference(full, full & ~(1 << component), k)


def add_one_in(component: int, k: int) -> FloatArray:
    """(2^k,) weights of v({i}) - v(base): the gain from the component without the others."""
    return difference(1 << component, 0, k)


def total_gain(k: int) -> FloatArray:
    """(2^k,) weights of v(full) - v(base)."""
    return difference(2**k - 1, 0, k)


def by_cell(weights: FloatArray, cells: Sequence[str]) -> dict[str, float]:
    """Non-zero weights of a vector, by name of the cell."""
    return {cell: float(w) for cell, w in zip(cells, weights, strict=True) if w != 0.0}


def over_cells(vector: FloatArray, grid: Grid) -> dict[str, float]:
    """Return the non-zero weights over combinations of reference and full level, by cell."""
    return by_cell(vector, grid.corners or factorial_cells(grid.components))


def has_factorial(grid: Grid) -> bool:
    """Whether contrasts over all combinations make sense: not of a fraction or many components."""
    return bool(grid.corners) or (len(grid.components) <= MAX_JOINED and not grid.is_fraction)


def headline_effect(grid: Grid, i: int) -> tuple[Quantity | None, dict[str, float]]:
    """Return the effect of component `i` that is tested against zero, and its weights by cell.

    It is the first that this design can estimate: the Shapley value where each cell of the
    factorial is planned; of a fraction the main effect; else leave-one-out, else add-one-in, else
    the main effect.
    """
    name = grid.components[i]
    main = grid.effect(name, grid.factors[i].full)
    if grid.corners:
        return "shapley", over_cells(shapley(i, len(grid.components)), grid)
    if grid.is_fraction:
        return "main_effect", main
    without, only_cell = {FULL: 1.0, grid.without(name): -1.0}, {grid.only(name): 1.0, BASE: -1.0}
    if grid.names >= set(without):
        return "leave_one_out", without
    if grid.names >= set(only_cell):
        return "add_one_in", only_cell
    return ("main_effect", main) if main else (None, {})


def cell_weights(term: Term, grid: Grid) -> dict[str, float]:
    """Cell weights of an effect or share (a share's numerator), without its coefficient."""
    if term.quantity in ("effect", "level", "trend"):
        name, *level = term.names
        if term.quantity == "trend":
            return grid.trend(name)
        return grid.effect(name, level[0] if level else grid.factor(name).full)
    if term.quantity == "leave_one_out":
        return {FULL: 1.0, grid.without(term.names[0]): -1.0}
    if term.quantity == "add_one_in":
        return {grid.only(term.names[0]): 1.0, BASE: -1.0}
    k, members = len(grid.components), [grid.components.index(name) for name in term.names]
    interaction = term.quantity == "interaction"
    vector = factorial_effect(members, k) if interaction else shapley(members[0], k)
    return over_cells(vector, grid)


def claim_weights(claim: Claim, grid: Grid) -> dict[str, float]:
    """Weights by cell of what a claim refers to; of a share, those of its numerator."""
    if claim.subject == "value":
        return {term.names[0]: term.coefficient for term in claim.terms}
    total: dict[str, float] = {}
    for term in claim.terms:
        for cell, weight in cell_weights(term, grid).items():
            total[cell] = total.get(cell, 0.0) + term.coefficient * weight
    return {cell: weight for cell, weight in total.items() if abs(weight) > 1e-12}
