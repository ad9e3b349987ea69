"""Do the 95% intervals cover 95% of the time? Simulated sweeps with known effects, analyzed by the project's code.

    .venv/bin/python benchmarks/coverage.py [--sweeps 1000] [--across]

The question: do intervals cover the true mean over seeds, and verdicts keep their level, for all kinds of errors? Each
sweep has k = 2, 3 or 4 components that interact, every cell of their factorial, 3, 5 or 8 blocks, and errors on the log
scale of one of five kinds; in half of the settings a random arm is missing. Columns, a line per setting:

- coverage of Shapley values, main effects and of a contrast with two cells (add-one-in), by block;
- coverage of reported shares, and the number withheld;
- family-wise error of Holm over the Shapley values when no component does anything;
- no interval: contrasts without an interval;
- the same of the pooled residual, which the report shows as a diagnostic.

A second table measures the selection of shares: coverage of reported shares, by the true gain over its SE. A
third has a factor with four doses and two switches: coverage of the effects of levels and of the trend, and the
family-wise error of Holm over them. A fourth has three correlated outcomes: the family-wise error over all of them,
with and without a true effect on the primary one that opens the gate to the others. Two processes; half an hour on two
cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from math import isnan, sqrt
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import scipy
from rich import box
from rich.console import Console
from rich.table import Table

from branchwise.analysis.declared import contrasts
from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.factors import Factor, Grid, combinations
from branchwise.analysis.statistics.claims.family import adjusted, gatekeeping
from branchwise.analysis.statistics.comparisons.random_effects import random_effects
from branchwise.analysis.statistics.levels import level_rows
from branchwise.analysis.statistics.model import ALPHA, Error, TwoWayFit, contrast, fit_two_way, holm, ratio

Rng = np.random.Generator
SD, BLOCK_SD = 0.06, 0.10
# By component: its main effect; each pair interacts. The first contributes most of the gain, as in the digits run.
MAIN, PAIR = (0.45, 0.08, 0.03, 0.02), 0.02


def normal(rng: Rng, blocks: int, cells: int) -> np.ndarray:
    return rng.normal(0, SD, (blocks, cells))


def heavy(rng: Rng, blocks: int, cells: int) -> np.ndarray:
    """t with 3 degrees of freedom, scaled to the same SD."""
    return rng.standard_t(3, (blocks, cells)) * SD / sqrt(3)


def unequal(rng: Rng, blocks: int, cells: int) -> np.ndarray:
    """Four times the SD without the first component."""
    return rng.normal(0, SD, (blocks, cells)) * np.where(_on(cells), 0.5, 2.0)


def varying(rng: Rng, blocks: int, cells: int) -> np.ndarray:
    """The first component's effect has an SD over blocks of a residual SD."""
    return rng.normal(0, SD, (blocks, cells)) + rng.normal(0, SD, (blocks, 1)) * _on(cells)


def like_digits(rng: Rng, blocks: int, cells: int) -> np.ndarray:
    """As in the digits run: SD 0.216 without the first component, 0.060 with it, and 0.3 of its effect over blocks."""
    noise = rng.normal(0, 1, (blocks, cells)) * np.where(_on(cells), 0.060, 0.216)
    return noise + rng.normal(0, 0.3, (blocks, 1)) * _on(cells)


ERRORS: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    "normal": normal,
    "heavy tails": heavy,
    "unequal spread": unequal,
    "varying effects": varying,
    "like digits": like_digits,
}


def _on(cells: int) -> np.ndarray:
    return np.arange(cells) % 2 == 1


def truth(k: int) -> np.ndarray:
    """(2^k,) mean of v = -log(distance) by cell."""
    on = np.array([[mask >> i & 1 for i in range(k)] for mask in range(2**k)])
    pairs = on.sum(1) * (on.sum(1) - 1) / 2
    return on @ np.array(MAIN[:k]) + PAIR * pairs


def sweeps(
    k: int, means: np.ndarray, errors: str, blocks: int, failed_arms: bool, n: int, seed: int
) -> Iterator[TwoWayFit]:
    """Fits of n simulated sweeps; lost: a random arm of each is missing."""
    kind = list(ERRORS).index(errors)
    rng = np.random.default_rng([seed, kind, k, blocks, failed_arms])
    names = factorial_cells("abcd"[:k])
    cell = [name for _ in range(blocks) for name in names]
    block = [b for b in range(blocks) for _ in names]
    for _ in range(n):
        y = means + rng.normal(0, BLOCK_SD, (blocks, 1)) + ERRORS[errors](rng, blocks, 2**k)
        missing = [int(rng.integers(y.size))] if failed_arms else []
        keep = [i for i in range(y.size) if i not in missing]
        yield fit_two_way([cell[i] for i in keep], [block[i] for i in keep], y.ravel()[keep])


class Tally:
    """Hits among those that were printed, and how many were not."""

    def __init__(self) -> None:
        self.hits, self.reported, self.withheld = 0, 0, 0

    def add(self, low: float, high: float, value: float) -> None:
        if isnan(low) or isnan(high):
            self.withheld += 1
        else:
            self.reported += 1
            self.hits += low - 1e-12 <= value <= high + 1e-12

    def percent(self) -> float:
        return 100 * self.hits / self.reported if self.reported else float("nan")

    def missing(self) -> float:
        return 100 * self.withheld / max(self.reported + self.withheld, 1)


def setting(task: tuple[str, int, int, bool, int]) -> dict[str, float]:
    """All the numbers of a single line."""
    errors, k, blocks, failed_arms, n = task
    names, means = factorial_cells("abcd"[:k]), truth(k)

    def weights(vector: np.ndarray) -> dict[str, float]:
        return contrasts.by_cell(vector, names)

    def value(cells: dict[str, float]) -> float:
        return sum(weight * means[names.index(name)] for name, weight in cells.items())

    kinds = {"Shapley": contrasts.shapley, "main": lambda i, k: contrasts.factorial_effect([i], k),
             "add-one-in": contrasts.add_one_in}  # fmt: skip
    expected = {kind: [weights(make(i, k)) for i in range(k)] for kind, make in kinds.items()}
    gain = weights(contrasts.total_gain(k))
    tallies: dict[tuple[Error, str], Tally] = {}
    for fit in sweeps(k, means, errors, blocks, failed_arms, n, seed=1):
        for error in ("blocks", "pooled"):
            for kind, vectors in expected.items():
                tally = tallies.setdefault((error, kind), Tally())
                for cells in vectors:
                    estimate = contrast(fit, cells, error)
                    tally.add(estimate.low, estimate.high, value(cells))
            tally = tallies.setdefault((error, "share"), Tally())
            for cells in expected["Shapley"]:
                share = ratio(fit, cells, gain, error)
                tally.add(share.low, share.high, value(cells) / value(gain))
    wrong: dict[Error, int] = {"blocks": 0, "pooled": 0}
    for fit in sweeps(k, np.zeros(2**k), errors, blocks, failed_arms, 4 * n, seed=2):
        for error in wrong:
            adjusted = holm([contrast(fit, cells, error).p for cells in expected["Shapley"]])
            wrong[error] += any(p <= ALPHA for p in adjusted)
    row = {f"{error} {kind}": tally.percent() for (error, kind), tally in tallies.items()}
    row |= {f"{error} fwer": 100 * count / (4 * n) for error, count in wrong.items()}
    row["withheld"] = tallies["blocks", "share"].missing()
    row["none"] = max(tallies["blocks", kind].missing() for kind in kinds)
    return row


def selected_shares(task: tuple[float, float, int]) -> tuple[float, float, float]:
    """(fraction reported, its coverage, mean) of a share of given value, at a gain / SE; five blocks."""
    strength, true, n = task
    names = factorial_cells("ab")
    cells = contrasts.by_cell(contrasts.shapley(0, 2), names)
    gain = contrasts.by_cell(contrasts.total_gain(2), names)
    complete = strength * SD * sqrt(2 / 5)
    means, tally, total = np.array([0, true * complete, (1 - true) * complete, complete]), Tally(), 0.0
    for fit in sweeps(2, means, "normal", 5, False, n, seed=3):
        share = ratio(fit, cells, gain)
        tally.add(share.low, share.high, true)
        total += share.value if share.has_value else 0.0
    return 100 - tally.missing(), tally.percent(), total / max(tally.reported, 1)


DOSES = Factor(name="dose", levels=("none", "low", "paper", "high"), reference="none", full="paper",
               doses=(0.0, 0.03, 0.1, 0.3))  # fmt: skip
FACTORS = (DOSES, Factor(name="a"), Factor(name="b"))
LEVELS = tuple(combinations(FACTORS))
MIXED = Grid(factors=FACTORS, planned=frozenset(LEVELS))


def mixed(task: tuple[str, int, int]) -> dict[str, float]:
    """Coverage of the effects of levels and of the trend; family-wise error where no dose does anything."""
    errors, blocks, n = task
    names = [MIXED.name(levels) for levels in LEVELS]
    dose = np.array([DOSES.doses[DOSES.levels.index(levels[0])] for levels in LEVELS])
    covered, trend, wrong = Tally(), Tally(), 0
    for i in range(5 * n):
        none = i >= n  # the others have no effect of any dose
        rng = np.random.default_rng([4, list(ERRORS).index(errors), blocks, i])
        means = (0.0 if none else 2.0) * dose
        y = means + rng.normal(0, BLOCK_SD, (blocks, 1)) + ERRORS[errors](rng, blocks, len(names))
        fit = fit_two_way(names * blocks, [b for b in range(blocks) for _ in names], y.ravel())
        rows = level_rows(fit, MIXED)
        if none:
            wrong += any(row.p_holm <= ALPHA for row in rows)
            continue
        for row in rows:
            tally, true = (trend, 0.6) if row.level == "trend" else (covered, 2.0 * row.dose)
            tally.add(row.estimate.low, row.estimate.high, true)
    return {"level": covered.percent(), "trend": trend.percent(), "fwer": 100 * wrong / (4 * n)}


def outcomes(task: tuple[str, int, bool, int]) -> float:
    """Family-wise error, percent, over three components and three outcomes.

    gate: the first component has a true effect on the primary outcome.
    """
    errors, blocks, gate, n = task
    names, effect = factorial_cells("abc"), 10.0 * SD if gate else 0.0
    expected = [contrasts.by_cell(contrasts.shapley(i, 3), names) for i in range(3)]
    keys = [[(outcome, i) for i in range(3)] for outcome in range(3)]
    weights, edges = gatekeeping(keys[0], {keys[0][i]: [keys[1][i], keys[2][i]] for i in range(3)})
    wrong = 0
    for sweep in range(n):
        rng = np.random.default_rng([5, list(ERRORS).index(errors), blocks, gate, sweep])
        shared = ERRORS[errors](rng, blocks, 8)
        p: dict[tuple[int, int], float] = {}
        for outcome in range(3):
            y = sqrt(0.5) * (shared + ERRORS[errors](rng, blocks, 8)) + rng.normal(0, BLOCK_SD, (blocks, 1))
            y = y + (effect * _on(8) if outcome == 0 else 0.0)
            fit = fit_two_way(list(names) * blocks, [b for b in range(blocks) for _ in names], y.ravel())
            p |= {(outcome, i): contrast(fit, cells).p for i, cells in enumerate(expected)}
        result = adjusted(p, weights, edges)
        wrong += any(value <= ALPHA for key, value in result.items() if not (gate and key == (0, 0)))
    return 100 * wrong / n


def over_data_sets(n: int) -> None:
    """Print how often the intervals over data sets hold the mean and the effect in a further data set.

    Effects of data sets are normal with SD tau; each is estimated from five blocks whose SD differs by data set, so its
    standard error is an estimate. tau is in units of the median standard error.
    """
    table = Table(box=box.SIMPLE_HEAD, title=f"Percent, {n} simulated meta-analyses a setting", title_justify="left")
    for column in ("data sets", "tau / SE", "mean: coverage", "next data set: coverage", "tau^2 = 0 estimated"):
        table.add_column(column, justify="right")
    for k, tau in product((3, 5, 10), (0.0, 0.5, 1.0, 2.0, 5.0)):
        rng = np.random.default_rng(100 * k + round(10 * tau))
        mean = following = zero = 0
        for _ in range(n):
            sds = np.exp(rng.normal(0, 0.4, k)) * sqrt(5)
            truths = 1.0 + rng.normal(0, tau, k)
            blocks = truths[:, None] + sds[:, None] * rng.normal(size=(k, 5))
            errors = blocks.std(1, ddof=1) / sqrt(5)
            result = random_effects(blocks.mean(1).tolist(), errors.tolist())
            mean += result.mean.low <= 1.0 <= result.mean.high
            following += result.low <= 1.0 + tau * rng.normal() <= result.high
            zero += result.tau2 == 0
        table.add_row(str(k), f"{tau:g}", *(f"{100 * count / n:.1f}" for count in (mean, following, zero)))
    console = Console(width=100)
    console.print(table)
    console.print("2 data sets: no interval is given; they say nothing about a third.", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps a setting (default 1000)")
    parser.add_argument(
        "--across", action="store_true", help="intervals over data sets alone (docs/evidence/across.txt)"
    )
    args = parser.parse_args()
    n = args.sweeps
    if args.across:
        over_data_sets(n)
        return
    started = time.perf_counter()
    table = Table(box=box.SIMPLE_HEAD, title=f"Percent, {n} simulated sweeps a setting", title_justify="left")
    columns = ("errors", "k", "blocks", "lost", "Shapley", "main", "add-one-in", "share", "withheld", "FWER",
               "no interval", "pooled: Shapley", "add-one-in", "FWER")  # fmt: skip
    keys = ("blocks Shapley", "blocks main", "blocks add-one-in", "blocks share", "withheld", "blocks fwer", "none",
            "pooled Shapley", "pooled add-one-in", "pooled fwer")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "errors" else "right")
    tasks = [(e, k, b, failed_arms, n) for e, k, b, failed_arms in product(ERRORS, (2, 3, 4), (3, 5, 8), (False, True))]
    strengths = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    with ProcessPoolExecutor(2) as pool:
        for (errors, k, blocks, failed_arms, _), row in zip(tasks, pool.map(setting, tasks), strict=True):
            table.add_row(errors, str(k), str(blocks), str(int(failed_arms)), *(f"{row[key]:.1f}" for key in keys))
        selected = list(product(strengths, (0.5, 0.8)))
        shares = list(pool.map(selected_shares, [(strength, true, 20 * n) for strength, true in selected]))
        third = Table(box=box.SIMPLE_HEAD, title="Four doses and two switches", title_justify="left")
        for column in ("errors", "blocks", "levels", "trend", "FWER"):
            third.add_column(column, justify="left" if column == "errors" else "right")
        cases = list(product(ERRORS, (3, 5, 8)))
        for (errors, blocks), row in zip(cases, pool.map(mixed, [(e, b, n) for e, b in cases]), strict=True):
            third.add_row(errors, str(blocks), *(f"{row[key]:.1f}" for key in ("level", "trend", "fwer")))
        fourth = Table(box=box.SIMPLE_HEAD, title="Three outcomes of three components: FWER", title_justify="left")
        for column in ("errors", "blocks", "no effect", "one effect on the primary"):
            fourth.add_column(column, justify="left" if column == "errors" else "right")
        gates = [(errors, blocks, gate, 4 * n) for errors, blocks in cases for gate in (False, True)]
        rates = list(pool.map(outcomes, gates))
        for i, (errors, blocks) in enumerate(cases):
            fourth.add_row(errors, str(blocks), *(f"{rate:.1f}" for rate in rates[2 * i : 2 * i + 2]))
    second = Table(box=box.SIMPLE_HEAD, title="Shares that are shown, five blocks, k = 2", title_justify="left")
    for column in ("true gain / SE", "true share", "shown %", "coverage given shown", "mean of those shown"):
        second.add_column(column, justify="right")
    for (strength, true), (entry, covered, mean) in zip(selected, shares, strict=True):
        second.add_row(f"{strength:g}", f"{true:.0%}", f"{entry:.1f}", f"{covered:.1f}", f"{100 * mean:.0f}%")
    console = Console(width=150)
    console.print(table)
    for more in (second, third, fourth):
        console.print(more)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    console.print(f"{_processor()}, two processes; {versions}; {time.perf_counter() - started:.0f} s", highlight=False)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    main()
