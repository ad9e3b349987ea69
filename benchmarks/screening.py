"""Does a screening find only active components? Simulated sweeps, tested by the project's rules.

    .venv/bin/python benchmarks/screening.py [--sweeps 1000]

Ten components in the fraction of 32 runs, every run on each of five seeds. Three do something: each main effect is 2
residual SDs, and all pairs of them interact by half of that. Columns, a line per setting:

- power: sweeps in which all three survive (p by block, Holm over the ten, at most 5%), by how much effects vary from
  seed to seed; the target is at least 95%;
- false: sweeps in which any other component survives, with three components that do something and with none; the target
  is at most 5% plus two standard errors of the simulation;
- pooled, Lenth: the same two numbers with the pooled residual or Lenth's pseudo standard error (1989), which
  here only rank.

A second table has eight components in 16 runs at 3 and 5 seeds: why fewer than five blocks only rank. A few sweeps
of each setting are analyzed by the project's code to verify the vectorized p-values. Seconds.
"""

from __future__ import annotations

import argparse
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.special import stdtr

from branchwise.analysis.declared.factors import Factor, Grid
from branchwise.analysis.declared.fractions import contrasts_of, screening_cells, weights_of
from branchwise.analysis.statistics.model import ALPHA, contrast, fit_two_way, holm

ACTIVE, EFFECT = 3, 2.0  # components that do something, and their main effects in residual SDs
BLOCK_SD = 1.5
VARYING = (0.0, 0.2, 0.3, 0.5, 1.0)  # SD of each effect over seeds, in residual SDs
FloatArray = NDArray[np.float64]


def grid_of(components: int) -> Grid:
    factors = tuple(Factor(name=f"c{i}") for i in range(components))
    planned = frozenset(tuple("on" if on else "off" for on in cell) for cell in screening_cells(components))
    return Grid(factors=factors, planned=planned)


def sweeps(
    grid: Grid, rng: np.random.Generator, n: int, blocks: int, active: int, varying: float, interactions: float = 0.5
) -> FloatArray:
    """(n, blocks, cells) improvements in residual SDs; effects of pairs are differences of differences."""
    on = np.array([[level == "on" for level in cell] for cell in sorted(grid.planned)], dtype=float)
    x = 2 * on - 1
    truth = x[:, :active].sum(1) * EFFECT / 2
    for i in range(active):
        for j in range(i):
            truth = truth + x[:, i] * x[:, j] * interactions * EFFECT / 4
    effects = rng.normal(0, varying, (n, blocks, len(grid.factors))) if varying else np.zeros((n, blocks, x.shape[1]))
    y = truth + effects @ x.T / 2 + rng.normal(0, BLOCK_SD, (n, blocks, 1))
    return y + rng.normal(0, 1, y.shape)


def by_contrast(grid: Grid, y: FloatArray) -> FloatArray:
    """(n, blocks, contrasts) of each sweep, main effects first."""
    cells = [grid.name(cell) for cell in sorted(grid.planned)]
    weights = np.array([[weights_of(grid, item)[cell] for cell in cells] for item in contrasts_of(grid)])
    return y @ weights.T


def p_by_block(values: FloatArray) -> FloatArray:
    """(n, contrasts) of the one-sample t over the blocks."""
    blocks = values.shape[1]
    t = values.mean(1) / (values.std(1, ddof=1) / sqrt(blocks))
    return 2 * stdtr(blocks - 1, -abs(t))


def p_pooled(grid: Grid, y: FloatArray, values: FloatArray) -> FloatArray:
    """(n, contrasts) by the residual of cell + block."""
    blocks, cells = y.shape[1:]
    residual = y - y.mean(1, keepdims=True) - y.mean(2, keepdims=True) + y.mean((1, 2), keepdims=True)
    df = (blocks - 1) * (cells - 1)
    se = np.sqrt((residual**2).sum((1, 2)) / df * 4 / cells / blocks)
    return 2 * stdtr(df, -abs(values.mean(1)) / se[:, None])


def p_lenth(values: FloatArray) -> FloatArray:
    """(n, contrasts) by Lenth's pseudo standard error, t with a third as many degrees of freedom as contrasts."""
    sizes = abs(values.mean(1))
    s0 = 1.5 * np.median(sizes, 1, keepdims=True)
    stored = np.where(sizes < 2.5 * s0, sizes, np.nan)
    pse = 1.5 * np.nanmedian(stored, 1, keepdims=True)
    return 2 * stdtr(sizes.shape[1] / 3, -sizes / pse)


def rates(p: FloatArray, components: int, active: int) -> tuple[float, float]:
    """The share of sweeps in which all active components survive, and in which any other does."""
    survives = np.array([holm(row) for row in p[:, :components].tolist()]) <= ALPHA
    return float(survives[:, :active].all(1).mean()), float(survives[:, active:].any(1).mean())


def check(grid: Grid, y: FloatArray, p: FloatArray) -> None:
    """The project's fit gives the same p-values."""
    cells = [grid.name(cell) for cell in sorted(grid.planned)]
    blocks = y.shape[1]
    for sweep in range(2):
        fit = fit_two_way(cells * blocks, [b for b in range(blocks) for _ in cells], y[sweep].ravel())
        for i, name in enumerate(grid.components):
            result = contrast(fit, grid.effect(name, "on")).p
            assert abs(result - p[sweep, i]) < 1e-9 * max(result, 1e-6), (result, p[sweep, i])


def setting(components: int, blocks: int, active: int, varying: float, n: int, rng: np.random.Generator) -> list[float]:
    """Power and false survivors by block, then of the pooled test and of Lenth's."""
    grid = grid_of(components)
    y = sweeps(grid, rng, n, blocks, active, varying)
    values = by_contrast(grid, y)
    p = p_by_block(values)
    check(grid, y, p)
    return [
        rate
        for method_p in (p, p_pooled(grid, y, values), p_lenth(values))
        for rate in rates(method_p, components, active)
    ]


def table(title: str, settings: list[tuple[int, int, int, float]], n: int, console: Console) -> None:
    visible = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    names = ("components", "runs", "seeds", "active", "effects vary by", "all found", "any false", "pooled: found",
             "false", "Lenth: found", "false")  # fmt: skip
    for name in names:
        visible.add_column(name, justify="right")
    for components, blocks, active, varying in settings:
        rng = np.random.default_rng([components, blocks, active, int(100 * varying)])
        result = setting(components, blocks, active, varying, n, rng)
        cells = [f"{rate:.1%}" if active or i % 2 else "" for i, rate in enumerate(result)]
        runs = len(grid_of(components).planned)
        visible.add_row(str(components), str(runs), str(blocks), str(active), f"{varying:g}", *cells)
    console.print(visible)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    n = parser.parse_args().sweeps
    console = Console(width=150)
    limit = ALPHA + 2 * sqrt(ALPHA * (1 - ALPHA) / n)
    console.print(
        f"{n} sweeps a line; main effects of {EFFECT:g} residual SDs, pairs half of it; false at most {limit:.1%}"
    )
    ten = [(10, 5, active, varying) for active in (ACTIVE, 0) for varying in VARYING]
    ten += [(10, 8, ACTIVE, 0.5), (10, 8, 0, 0.5)]
    table("Ten components, 32 runs", ten, n, console)
    eight = [(8, blocks, active, varying) for blocks in (3, 5) for active in (ACTIVE, 0) for varying in (0.0, 0.5)]
    table("Eight components, 16 runs: why three seeds rank only", eight, n, console)


if __name__ == "__main__":
    main()
