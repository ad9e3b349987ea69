"""Exact levels of Student's t at declared looks, and sequential p-values.

Looking at the same t repeatedly at 5% errs far more often than 5%. A spending function states how much of the error
may be used up by each look (Lan & DeMets 1983); the level of a look is the nominal p-value at which exactly that much
is used. Levels of normal theory are too liberal with a handful of blocks (5.65 to 5.86% instead of 5%), so these are
computed for t itself.

Under the null hypothesis the t of successive blocks is a one-dimensional Markov chain. Backwards, with n blocks and
q = t / sqrt(n - 1), it is

    q[n-1] = (sqrt(n-1) q[n] - sin(phi)) / (sqrt(n) cos(phi)),   density of phi proportional to cos(phi)^(n-3),

phi being independent of q[n]: it is the angle of the last block's residual among n (residuals under a normal null are
uniform on a sphere). So P(no rejection before n | q[n]) follows block by block from one-dimensional integrals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import atan2, inf, isnan, nan, pi, sqrt
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from scipy.special import beta

from branchwise.analysis.declared.looks import Spending

FloatArray = NDArray[np.float64]

USUAL_LOOKS = ((4, 5, 6, 7, 8), (4, 5, 6, 7, 8, 9, 10), (5, 10))  # in the committed table
ALPHAS = np.exp(np.linspace(np.log(1e-8), np.log(0.98), 120))
_NODES = 400  # of a chain's state
_ANGLES, _ANGLE_WEIGHTS = leggauss(40)
_CELL, _CELL_WEIGHTS = leggauss(6)
TABLE = Path(__file__).with_name("levels.json")


def spent(alpha: FloatArray | float, fraction: float, spending: Spending) -> FloatArray:
    """Return the error that may be used up by `fraction` of the blocks; all of alpha at the end."""
    alpha = np.asarray(alpha, dtype=float)
    if spending == "quadratic":
        return alpha * fraction**2
    used: FloatArray = 4 * stats.norm.sf(stats.norm.isf(alpha / 4) / sqrt(fraction))
    return used


def exact_levels(looks: Sequence[int], alpha: float, spending: Spending) -> FloatArray:
    """Compute nominal two-sided p-values that reject at each look and together err at `alpha`.

    Args:
        looks: Numbers of blocks, rising.
        alpha: Probability of any rejection without an effect.
        spending: How much of alpha may be used up by each look.

    Returns:
        Levels by look.

    Example:
        >>> exact_levels((4, 5, 6, 7, 8), 0.05, "obrien_fleming").round(4).tolist()
        [0.003, 0.0072, 0.014, 0.023, 0.0336]
    """
    used = [float(spent(alpha, n / looks[-1], spending)) for n in looks]
    return levels_spending(looks, np.diff([0.0, *used]))


def levels_spending(looks: Sequence[int], increments: Sequence[float] | FloatArray) -> FloatArray:
    """Compute the levels that use up these `increments` of the error, look by look."""
    levels = [float(increments[0])]
    chain = _Chain.first(looks[0])
    for n_blocks, increment in zip(looks[1:], increments[1:], strict=True):
        # Beyond a boundary that is practically unreachable, a nearer end keeps the grid fine.
        end = _q_of_level(max(levels[-1], 1e-7 * float(increment)), chain.blocks)
        chain = replace(chain, end=min(chain.end, end))
        while chain.blocks < n_blocks:
            chain = chain.step()
        critical = chain.quantile(float(increment))
        levels.append(_level_of_q(critical, n_blocks))
    return np.array(levels)


def error_of(looks: Sequence[int], levels: Sequence[float] | FloatArray) -> float:
    """Compute the probability without an effect of a p-value at or below the level of its look."""
    chain, total = _Chain.first(looks[0]), levels[0]
    for before, n_blocks, level in zip(levels, looks[1:], levels[1:], strict=False):
        chain = replace(chain, end=min(chain.end, _q_of_level(before, chain.blocks)))
        while chain.blocks < n_blocks:
            chain = chain.step()
        total += chain.tail(_q_of_level(level, n_blocks))
    return total


def _q_of_level(level: float, blocks: int) -> float:
    return float(stats.t.isf(level / 2, blocks - 1)) / sqrt(blocks - 1)


def _level_of_q(q: float, blocks: int) -> float:
    return float(2 * stats.t.sf(q * sqrt(blocks - 1), blocks - 1))


@dataclass(frozen=True)
class _Chain:
    """P(no rejection before) by |q| at this number of blocks; beyond `end` it is 0."""

    blocks: int
    survival: Callable[[FloatArray], FloatArray]
    end: float

    @classmethod
    def first(cls, blocks: int) -> _Chain:
        return cls(blocks, np.ones_like, inf)

    def step(self) -> _Chain:
        """Add a block."""
        n, limit = self.blocks + 1, self.end
        radius = sqrt(n * limit**2 + 1)
        end = radius / sqrt(n - 1)
        # Dense near the end, where the survival falls steeply; on a scale of asinh, since t has long tails.
        grid = np.linspace(0, pi / 2, _NODES)
        nodes = np.sinh(np.arcsinh(end) * np.sin(grid))
        # |q before| < limit is an interval of phi: R cos(phi - tilt) > sqrt(n-1) q, R cos(phi + tilt) > -sqrt(n-1) q.
        tilt = atan2(1.0, limit * sqrt(n))
        inside = np.arccos(np.minimum(sqrt(n - 1) * nodes / radius, 1.0))
        low = np.maximum(np.maximum(tilt - inside, -tilt - (pi - inside)), -pi / 2)
        high = np.minimum(np.minimum(tilt + inside, -tilt + (pi - inside)), pi / 2)
        half = np.maximum(high - low, 0.0)[:, None] / 2
        phi = (low + high)[:, None] / 2 + half * _ANGLES
        before = np.abs(sqrt(n - 1) * nodes[:, None] - np.sin(phi)) / (sqrt(n) * np.cos(phi))
        density = np.cos(phi) ** (n - 3) / beta((n - 2) / 2, 0.5)
        values = (half * density * self.survival(np.minimum(before, limit)) * _ANGLE_WEIGHTS).sum(axis=1)
        curve, scale = PchipInterpolator(grid, values), float(np.arcsinh(end))
        return _Chain(n, lambda q: curve(np.arcsin(np.minimum(np.arcsinh(q) / scale, 1.0))), end)

    def tail(self, q: float) -> float:
        """P(|q| beyond this, and no rejection before)."""
        nodes, tails = self._tails()
        start = int(np.searchsorted(nodes, q))
        return float(tails[start] + self._mass(q, nodes[start])) if start < len(nodes) else 0.0

    def quantile(self, probability: float) -> float:
        """The q with this probability beyond it."""
        nodes, tails = self._tails()
        start = int(np.searchsorted(-tails, -probability))
        if start == 0:
            return 0.0
        low, high, needed = nodes[start - 1], nodes[start], probability - tails[start]
        return float(brentq(lambda q: float(self._mass(q, high)) - needed, low, high, rtol=1e-12))

    def _tails(self) -> tuple[FloatArray, FloatArray]:
        nodes = np.sinh(np.arcsinh(self.end) * np.sin(np.linspace(0, pi / 2, _NODES)))
        masses = self._mass(nodes[:-1], nodes[1:])
        return nodes, np.append(np.cumsum(masses[::-1])[::-1], 0.0)

    def _mass(self, low: FloatArray | float, high: FloatArray | float) -> FloatArray:
        half = np.asarray(high - low)[..., None] / 2
        q = np.asarray(high + low)[..., None] / 2 + half * _CELL
        m = self.blocks - 1
        density = 2 / beta(m / 2, 0.5) * (1 + q**2) ** (-(m + 1) / 2)  # of t / sqrt(m)
        mass: FloatArray = (half * density * self.survival(q) * _CELL_WEIGHTS).sum(axis=-1)
        return mass


@dataclass(frozen=True)
class Boundary:
    """Levels of declared looks over a grid of alphas, for interpolation on logarithms.

    Attributes:
        looks: Numbers of blocks.
        alphas: (A,) rising.
        levels: (A, looks) nominal two-sided p-values, rising with alpha at each look.
    """

    looks: tuple[int, ...]
    alphas: FloatArray
    levels: FloatArray

    def level(self, n_blocks: int, alpha: float) -> float:
        """Return the level of this look (a number of blocks) at `alpha`; 0 below the grid."""
        if alpha >= self.alphas[-1]:
            alpha = float(self.alphas[-1])
        if alpha < self.alphas[0]:
            return 0.0
        column = self.levels[:, self.looks.index(n_blocks)]
        return float(np.exp(np.interp(np.log(alpha), np.log(self.alphas), np.log(column))))

    def alpha(self, n_blocks: int, p: FloatArray | float) -> FloatArray:
        """Return the alpha at which only this look rejects a nominal p.

        It is no less than the grid's lowest, and 1 above the grid.
        """
        column = self.levels[:, self.looks.index(n_blocks)]
        p = np.asarray(p, dtype=float)
        inside = np.exp(np.interp(np.log(np.clip(p, column[0], column[-1])), np.log(column), np.log(self.alphas)))
        alpha: FloatArray = np.where(p > column[-1], 1.0, inside)
        return alpha

    def p_values(self, nominal: Sequence[float]) -> list[float]:
        """Return the sequential p-value after each of the first looks (Liu & Anderson 2008).

        It is the smallest alpha at which some look so far rejects, so it never rises, and a rejection stays. A nominal
        p of NaN, where a look had no test, does not change it; it is NaN until the first test.
        """
        levels, lowest = [], nan
        for n_blocks, p in zip(self.looks, nominal, strict=False):
            if not isnan(p):
                lowest = float(np.fmin(lowest, self.alpha(n_blocks, p)))
            levels.append(lowest)
        return levels


@lru_cache(maxsize=32)
def boundary(looks: tuple[int, ...], spending: Spending) -> Boundary:
    """Return the levels of these looks, from the committed table or computed in a second."""
    for entry in _committed():
        if (tuple(entry["looks"]), entry["spending"]) == (looks, spending):
            return Boundary(looks, ALPHAS, np.array(entry["levels"]))
    return compute_boundary(looks, spending)


def compute_boundary(looks: tuple[int, ...], spending: Spending) -> Boundary:
    """Compute the levels of these looks at each alpha of the grid."""
    return Boundary(looks, ALPHAS, np.array([exact_levels(looks, float(alpha), spending) for alpha in ALPHAS]))


@lru_cache(maxsize=1)
def _committed() -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def write_table() -> None:
    """Recompute the committed table.

    Run `python -m branchwise.analysis.statistics.sequential.boundaries`.
    """
    lines = []
    for looks in USUAL_LOOKS:
        for spending in get_args(Spending):
            levels = [[float(f"{p:.6g}") for p in row] for row in compute_boundary(looks, spending).levels]
            lines.append(json.dumps({"looks": looks, "spending": spending, "levels": levels}, separators=(",", ":")))
    TABLE.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write_table()
