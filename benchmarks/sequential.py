"""Do declared looks keep the error, and what do they save? Simulated runs, tested by the project's code.

    .venv/bin/python benchmarks/sequential.py [--runs 20000]

1. Exact: what looking without a plan errs in, and the levels that repair it.
2. Family-wise error of nine hypotheses (three components on two outcomes in the graph of the report, and three claims),
   under normal, t3 and 4x unequal errors, without any effect and with an effect of the first component.
3. Claims of a direction, of a share and of equivalence at the edge of their null.
4. Coverage of repeated and plain intervals, at the end of the run.
5. Futility: how often it ends a run, and what it costs. It is not binding, so the error above is without it.
6. Expected blocks and power against fixed 5 and 10 blocks, where every hypothesis has the effect.
7. The race of a search over seeds: how often it stops a configuration as good as the best, and a worse one.

Two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from branchwise.analysis.declared import contrasts
from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.statistics.claims.family import adjusted, gatekeeping
from branchwise.analysis.statistics.model import ALPHA
from branchwise.analysis.statistics.sequential.boundaries import boundary, error_of, exact_levels
from branchwise.analysis.statistics.sequential.pricing import holm_adjusted, nominal_p, play
from branchwise.analysis.statistics.sequential.searched import FIRST_TEST, is_behind

Rng = np.random.Generator
K, CELLS = 3, 8
DESIGNS = (
    Looks(blocks=(4, 5, 6, 7, 8), spending="obrien_fleming"),
    Looks(blocks=(4, 5, 6, 7, 8), spending="quadratic"),
    Looks(blocks=(5, 10), spending="obrien_fleming"),
)
ERRORS: dict[str, Callable[[Rng, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t3": lambda rng, shape: rng.standard_t(3, size=shape) / sqrt(3),
    "4x unequal": lambda rng, shape: rng.normal(size=shape) * np.where(np.arange(shape[-1]) % 2, 0.5, 2.0),
}


def label(looks: Looks) -> str:
    numbers = looks.blocks
    span = f"{numbers[0]}..{numbers[-1]}" if len(numbers) > 2 else ", ".join(map(str, numbers))
    return f"{span} {looks.spending.replace('_', '-')}"


def exact() -> None:
    print("Exact error without an effect")
    print(f"  5, then 10 blocks, each at 5%: {error_of((5, 10), (0.05, 0.05)):.2%}")
    print(f"  5, then 10 blocks, each at 2.79%: {error_of((5, 10), (0.0279, 0.0279)):.2%}")
    print(f"  after each of 3 to 10 blocks at 5%: {error_of(range(3, 11), [0.05] * 8):.1%}")
    for looks in DESIGNS:
        levels = ", ".join(f"{p:.3g}" for p in exact_levels(looks.blocks, 0.05, looks.spending))
        print(f"  {label(looks)}: levels {levels}")


def family_error(looks: Looks, errors: str, effect: float, runs: int, seed: int) -> tuple[float, float]:
    """Part of the runs that reject a true null, and its standard error. Two outcomes that correlate at 0.5."""
    rng = np.random.default_rng([seed, list(ERRORS).index(errors), int(effect * 10)])
    shape = (runs, looks.max, CELLS)
    left_sample, right_sample = ERRORS[errors](rng, shape), ERRORS[errors](rng, shape)
    names = factorial_cells("abc")
    shapley = np.stack([contrasts.shapley(i, K) for i in range(K)])
    claims = np.stack(
        [contrasts.leave_one_out(1, K), contrasts.add_one_in(2, K), contrasts.factorial_effect([1, 2], K)]
    )
    mean = effect * np.array([bool(mask & 1) for mask in range(len(names))])
    values = np.concatenate(
        [
            (left_sample + mean) @ shapley.T,
            (0.5 * left_sample + sqrt(0.75) * right_sample) @ shapley.T,
            (left_sample + mean) @ claims.T,
        ],
        axis=2,
    )
    first = [("primary", i) for i in range(K)]
    keys = [*first, *(("second", i) for i in range(K)), *(("claim", i) for i in range(len(claims)))]
    weights, edges = gatekeeping([*first, *keys[2 * K :]], {("primary", i): [("second", i)] for i in range(K)})
    true_null = [key for i, key in enumerate(keys) if not (effect and key == ("primary", 0))]
    table = boundary(looks.blocks, looks.spending)
    p = np.ones((runs, len(keys)))
    for n_blocks in looks.blocks:
        p = np.minimum(p, table.alpha(n_blocks, nominal_p(values[:, :n_blocks])))
    wrong = 0
    for row in p[p.min(axis=1) <= ALPHA]:  # no other can reject anything
        result = adjusted(dict(zip(keys, row.tolist(), strict=True)), weights, edges)
        wrong += any(result[key] <= ALPHA for key in true_null)
    rate = wrong / runs
    return rate, sqrt(rate * (1 - rate) / runs)


def single_claims(looks: Looks, runs: int, rng: Rng) -> dict[str, float]:
    """Part of the runs that support a claim at the very edge of its null, at 5%."""
    table = boundary(looks.blocks, looks.spending)
    x = rng.normal(size=(runs, looks.max))
    gain, component = rng.normal(3, 1, (runs, looks.max)), None
    component = 0.6 * gain + rng.normal(0, 0.5, (runs, looks.max))
    below = {"direction": np.ones(runs), "share": np.ones(runs), "equivalence": np.ones(runs)}
    for n_blocks in looks.blocks:
        root = sqrt(n_blocks)

        def t_of(values: np.ndarray, n_blocks: int = n_blocks, root: float = root) -> np.ndarray:
            return values[:, :n_blocks].mean(1) / (values[:, :n_blocks].std(1, ddof=1) / root)

        for name, values in (("direction", x), ("share", component - 0.6 * gain)):
            t = t_of(values)
            alpha = table.alpha(n_blocks, 2 * stdtr(n_blocks - 1, -np.abs(t)))
            visible = t > 0
            if name == "share":
                visible &= t_of(gain) > stdtrit(n_blocks - 1, 0.975)  # else the share has no interval
            below[name] = np.minimum(below[name], np.where(visible, alpha, 1.0))
        low, high = t_of(x + 6.0), t_of(x)  # the effect is at the upper margin; the lower is far
        p = np.maximum(stdtr(n_blocks - 1, -low), stdtr(n_blocks - 1, high))
        below["equivalence"] = np.minimum(
            below["equivalence"], np.where((low > 0) & (high < 0), table.alpha(n_blocks, p), 1)
        )
    return {name: float((alpha <= ALPHA).mean()) for name, alpha in below.items()}


def coverage(looks: Looks, size: float, runs: int, rng: Rng) -> tuple[float, float]:
    """Of the repeated and the plain interval, where a single hypothesis stopped the run."""
    values = rng.normal(size, 1, (runs, looks.max, 1))
    blocks = play(values, looks).blocks
    table = boundary(looks.blocks, looks.spending)
    hits = np.zeros(2)
    for n_blocks in looks.blocks:
        x = values[blocks == n_blocks, :n_blocks, 0]
        error = np.abs(x.mean(1) - size) / (x.std(1, ddof=1) / sqrt(n_blocks))
        for i, level in enumerate((table.level(n_blocks, ALPHA), ALPHA)):
            hits[i] += (error <= stdtrit(n_blocks - 1, 1 - level / 2)).sum()
    return float(hits[0] / runs), float(hits[1] / runs)


def futility(m: int, runs: int, rng: Rng) -> None:
    """Savings and cost of futility stops: conditional power below 10% at the final Holm level."""
    for size in (0.0, 0.5, 1.0, 2.0):
        values = rng.normal(size, 1, (runs, 10, m))
        parts = []
        for looks in DESIGNS:
            some = values[:, : looks.max]
            played, complete = play(some, looks), play(some, looks, futility=False)
            hopeless = (played.blocks < looks.max) & (played.decided == 0).any(axis=1)
            wrong = [(item.decided > 0).any(axis=1).mean() for item in (played, complete)]
            power = [(entry.decided > 0).mean() for entry in (played, complete)]
            what = "one or more rejected" if not size else "power"
            visible = wrong if not size else power
            parts.append(
                f"{label(looks)}: ends {hopeless.mean():.0%}, {played.blocks.mean():.1f} blocks instead of "
                f"{complete.blocks.mean():.1f}, {what} {visible[0]:.1%} instead of {visible[1]:.1%}"
            )
        print(f"  {size:g} SD | {' | '.join(parts)}")


def race(runs: int, rng: Rng) -> None:
    """The paired race of a search: how often it stops a configuration before its last seed."""
    for seeds in (3, 5, 10):
        parts = []
        for size in (0.0, 1.0, 2.0, 4.0):
            behind = rng.normal(size, 1, (runs, seeds))
            stopped = np.zeros(runs, dtype=bool)
            used = np.full(runs, seeds)
            for n in range(FIRST_TEST["race"], seeds):
                now = np.array([is_behind(row[:n], np.zeros(n)) for row in behind[~stopped]], dtype=bool)
                used[np.flatnonzero(~stopped)[now]] = n
                stopped[np.flatnonzero(~stopped)[now]] = True
            parts.append(f"{size:g} SD {stopped.mean():.1%}, {used.mean():.1f} seeds")
        print(f"  {seeds} seeds: {'; '.join(parts)}")


def savings(m: int, runs: int, rng: Rng) -> None:
    for size in (0.5, 1.0, 2.0, 4.0):
        values = rng.normal(size, 1, (runs, 10, m))
        fixed = {n: (holm_adjusted(nominal_p(values[:, :n])) <= ALPHA).mean() for n in (5, 10)}
        rows = []
        for looks in DESIGNS:
            played = play(values[:, : looks.max], looks)
            rows.append(f"{label(looks)}: {played.blocks.mean():.1f} blocks, power {(played.decided > 0).mean():.0%}")
        print(f"  {size:g} SD | fixed 5: {fixed[5]:.0%}; fixed 10: {fixed[10]:.0%} | {' | '.join(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    runs = parser.parse_args().runs
    exact()
    print(f"\nFamily-wise error of the graph, {runs} runs each; allowed 5% plus two standard errors")
    for looks in DESIGNS:
        for errors in ERRORS:
            for effect in (0.0, 1.5):
                rate, se = family_error(looks, errors, effect, runs, 33)
                verdict = "" if rate <= ALPHA + 2 * se else "  ABOVE"
                what = "an effect on one" if effect else "no effect"
                print(f"  {label(looks)}, {errors}, {what}: {rate:.2%} ± {se:.2%}{verdict}")
    rng = np.random.default_rng(34)
    print("\nSupported at the edge of the null, at 5%")
    for looks in DESIGNS:
        message = ", ".join(f"{name} {rate:.2%}" for name, rate in single_claims(looks, 10 * runs, rng).items())
        print(f"  {label(looks)}: {message}")
    print("\nCoverage where the run ended, one hypothesis: at every look, plain")
    for looks in DESIGNS:
        message = (
            f"{size:g} SD {a:.1%}, {b:.1%}" for size in (0, 0.5, 1, 2) for a, b in [coverage(looks, size, runs, rng)]
        )
        print(f"  {label(looks)}: {'; '.join(message)}")
    for m in (5, 3):
        print(f"\nExpected blocks and power of one of {m} hypotheses that all have the effect")
        savings(m, runs, rng)

    print("\nFutility (conditional power below 10% at the final Holm level), 5 hypotheses that all have the effect")
    futility(5, runs, np.random.default_rng(35))
    print("\nRace of a search at 10%, one-sided: stopped where a configuration is behind the best by so many SD")
    race(runs // 10, np.random.default_rng(36))


if __name__ == "__main__":
    main()
