"""Do the 95% intervals cover 95% of the time? Simulated sweeps with known effects, analysed by the project's own code.

    .venv/bin/python benchmarks/coverage.py [--sweeps 2000]

Each sweep has 3 components (with interactions), 8 cells, 3, 5 or 8 blocks, normal block and residual errors on the log
scale, and, in half of the settings, one arm lost at random. One table is printed: coverage of Shapley values, main
effects and shares (three intervals a sweep each), the family-wise error of Holm over the Shapley values when no
component does anything and when one does, and the planner's power (of a table without losses) against the simulated
one. Single-threaded; about half a minute.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy
from rich import box
from rich.console import Console
from rich.table import Table

from branchwise.analysis.statistics import contrasts
from branchwise.analysis.statistics.cells import factorial_cells
from branchwise.analysis.statistics.model import ALPHA, TwoWayFit, contrast, fit_two_way, holm, ratio
from branchwise.analysis.statistics.power import power, smallest_detectable

K = 3
CELLS = factorial_cells(("a", "b", "c"))
RESIDUAL_SD, BLOCK_SD = 0.06, 0.10
SHAPLEY = [contrasts.by_cell(contrasts.shapley(i, K), CELLS) for i in range(K)]
EFFECT = [contrasts.by_cell(contrasts.factorial_effect([i], K), CELLS) for i in range(K)]
GAIN = contrasts.by_cell(contrasts.total_gain(K), CELLS)
# v = -log(distance) of base, a, b, ab, c, ac, bc, abc: a large, a middling and a small component that interact.
TRUTH = np.array([0.0, 0.45, 0.03, 0.55, 0.12, 0.50, 0.10, 0.62])
NOTHING = np.zeros(2**K)
ONE_EFFECT = np.array([0.0, 0.3] * 4)


def sweeps(truth: np.ndarray, blocks: int, lost: bool, n: int, seed: int) -> Iterator[TwoWayFit]:
    """Fits of n simulated sweeps; truth: (8,) mean of v by cell; lost: one random arm of each sweep is missing."""
    rng = np.random.default_rng([seed, blocks, lost])
    cell = [name for _ in range(blocks) for name in CELLS]
    block = [b for b in range(blocks) for _ in CELLS]
    for _ in range(n):
        y = np.tile(truth, blocks) + np.repeat(rng.normal(0, BLOCK_SD, blocks), 2**K)
        y += rng.normal(0, RESIDUAL_SD, len(y))
        gone = rng.integers(len(y)) if lost else len(y)
        yield fit_two_way(cell[:gone] + cell[gone + 1 :], block[:gone] + block[gone + 1 :], np.delete(y, [gone] * lost))


def value(weights: dict[str, float], truth: np.ndarray) -> float:
    return sum(weight * truth[CELLS.index(name)] for name, weight in weights.items())


def coverage(blocks: int, lost: bool, n: int) -> tuple[float, float, float, float]:
    """Coverage of Shapley values, main effects, and shares that are shown; and the part of shares withheld."""
    hits = np.zeros(4)
    for fit in sweeps(TRUTH, blocks, lost, n, seed=1):
        for shapley, effect in zip(SHAPLEY, EFFECT, strict=True):
            share = ratio(fit, shapley, GAIN)
            for i, weights in enumerate((shapley, effect)):
                estimate = contrast(fit, weights)
                hits[i] += estimate.low <= value(weights, TRUTH) <= estimate.high
            hits[2] += share.low <= value(shapley, TRUTH) / value(GAIN, TRUTH) <= share.high
            hits[3] += not share.has_interval
    whole = n * K
    return hits[0] / whole, hits[1] / whole, hits[2] / (whole - hits[3]), hits[3] / whole


def family_wise_error(truth: np.ndarray, null: list[int], blocks: int, lost: bool, n: int) -> float:
    """Part of sweeps in which Holm rejects at least one of the true null hypotheses."""
    wrong = 0
    for fit in sweeps(truth, blocks, lost, n, seed=2):
        adjusted = holm([contrast(fit, weights).p for weights in SHAPLEY])
        wrong += any(adjusted[i] <= ALPHA for i in null)
    return wrong / n


def simulated_power(blocks: int, lost: bool, effect: float, n: int) -> float:
    truth = np.array([0.0, effect] * 4)
    fits = sweeps(truth, blocks, lost, n, seed=3)
    return sum(contrast(fit, SHAPLEY[0]).p <= ALPHA for fit in fits) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=2000, help="simulated sweeps a setting (default 2000)")
    n = parser.parse_args().sweeps
    started = time.perf_counter()
    table = Table(box=box.SIMPLE_HEAD, title=f"Percent, {n} simulated sweeps a setting", title_justify="left")
    columns = ("blocks", "lost arms", "Shapley", "main effects", "shares", "shares withheld", "Holm FWER, no effect",
               "Holm FWER, one effect", "power planned", "power simulated")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for blocks in (3, 5, 8):
        for lost in (False, True):
            effect = smallest_detectable(RESIDUAL_SD, K, blocks) * 0.9  # below the planner's 80%, where power is steep
            errors = [
                family_wise_error(truth, null, blocks, lost, 10 * n)
                for truth, null in ((NOTHING, [0, 1, 2]), (ONE_EFFECT, [1, 2]))
            ]
            table.add_row(
                str(blocks),
                str(int(lost)),
                *(f"{100 * x:.1f}" for x in coverage(blocks, lost, n)),
                *(f"{100 * x:.1f} ± {200 * (x * (1 - x) / (10 * n)) ** 0.5:.1f}" for x in errors),
                f"{100 * power(effect, RESIDUAL_SD, K, blocks):.1f}",
                f"{100 * simulated_power(blocks, lost, effect, n):.1f}",
            )
    console = Console(width=150)
    console.print(table)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    console.print(f"{_processor()}, one thread; {versions}; {time.perf_counter() - started:.0f} s", highlight=False)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    main()
