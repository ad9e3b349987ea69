"""Configurations that a search ran on multiple seeds, and the race that stops those behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from branchwise.run_files.columns import Better

RACE_LEVEL = 0.10  # one-sided, at each look; as Optuna's WilcoxonPruner has it
LOOKS = {"race": "a paired t-test", "wilcoxon": "Optuna's WilcoxonPruner"}
FIRST_TEST = {"race": 2, "wilcoxon": 4}  # seeds
SIMULATED = 20_000


def is_behind(costs: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a configuration is worse than the best, by a paired t-test over shared seeds.

    Args:
        costs: Its values, less being better.
        best: Those of the best configuration on the same seeds.
    """
    difference = np.asarray(costs, dtype=float) - np.asarray(best, dtype=float)
    n = len(difference)
    if n < FIRST_TEST["race"] or not difference.mean() > 0:
        return False
    sd = float(difference.std(ddof=1))
    return sd == 0 or bool(stdtr(n - 1, -difference.mean() / (sd / sqrt(n))) <= RACE_LEVEL)


@lru_cache
def race_error(seeds: int) -> float:
    """Return how often a race stops a configuration as good as its comparison, by simulation."""
    difference = np.random.default_rng(0).normal(size=(SIMULATED, seeds))
    stopped = np.zeros(SIMULATED, dtype=bool)
    for n in range(FIRST_TEST["race"], seeds):
        part = difference[:, :n]
        t = part.mean(axis=1) / (part.std(axis=1, ddof=1) / sqrt(n))
        stopped |= stdtr(n - 1, -t) <= RACE_LEVEL
    return float(stopped.mean())


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The result of a search over multiple seeds.

    Attributes:
        seeds: Of each configuration.
        scheduler: What may stop a configuration early, or `none`.
        looks: Numbers of seeds after which it may.
        rows: A row for each configuration with a value on each seed: that of its first arm, with means over its seeds
            instead of values, and `n`, `low` and `high` of the 95% interval for the mean of `value`.
        stopped: Configurations that were stopped early.
        failed: Configurations with an arm without a value.
    """

    seeds: int
    scheduler: str
    looks: tuple[int, ...]
    rows: pd.DataFrame
    stopped: int
    failed: int

    @property
    def tried(self) -> int:
        return len(self.rows) + self.stopped + self.failed


def searched(arms: pd.DataFrame, design: Mapping[str, Any]) -> Searched | None:
    """The configurations of a run that searched on multiple seeds; None for any other run.

    Args:
        arms: All arms of the run.
        design: The design of its space, with `seeds` and `scheduler`.
    """
    seeds = design.get("seeds", 1)
    arms = arms[arms["kind"] == "search"]
    if not isinstance(seeds, int) or seeds < 2 or arms.empty:
        return None
    keys = [str(column) for column in arms if str(column).startswith("hp.")]
    identity = [json.dumps([row[0], *map(_token, row[1:])]) for row in arms[["cell", *keys]].itertuples(index=False)]
    rows, stopped, failed = [], 0, 0
    for _, group in arms.assign(identity=identity).groupby("identity", sort=False):
        each = group.drop_duplicates("seed")  # a repeated suggestion has the same values
        done = each[(each["status"] == "done") & np.isfinite(each["value"])]
        if len(done) == seeds:
            rows.append(_mean_row(done))
        elif len(done) < len(each):
            failed += 1
        else:
            stopped += 1
    scheduler = str(design.get("scheduler", "none"))
    looks = tuple(range(FIRST_TEST.get(scheduler, seeds), seeds))
    return Searched(
        seeds=seeds, scheduler=scheduler, looks=looks, rows=pd.DataFrame(rows, columns=[*arms, "n", "low", "high"]),
        stopped=stopped, failed=failed,
    )  # fmt: skip


def best_of(search: Searched, better: Better) -> dict[str, Any] | None:
    """The configuration with the best mean; None where none has a value on each seed."""
    if search.rows.empty:
        return None
    ordered = search.rows.sort_values("value", ascending=better == "lower", kind="stable")
    return _row(ordered)


def notes(match: Searched | None, better: Better) -> list[str]:
    """Result of a search over multiple seeds, and its number of looks."""
    if match is None:
        return []
    sentences = []
    best = best_of(match, better)
    if best is not None:
        sentences.append(
            f"Best of {match.tried} searched configurations: a mean of {best['value']:.4g} [{best['low']:.4g}, "
            f"{best['high']:.4g}] over {match.seeds} seeds (95% interval; its first arm is {best['arm']}). The best of "
            "many is optimistic, and its interval does not allow for the choice: what counts are the fresh seeds."
        )
    return [*sentences, _looks_of_race(match)] if match.looks else sentences


def _looks_of_race(match: Searched) -> str:
    """A sentence on how many were stopped, and how often each was tested."""
    looks = f"{len(match.looks)} looks, each" if len(match.looks) > 1 else "one look,"
    summary = (
        f"{match.stopped} of {match.tried} configurations were stopped early: each was compared with the best so far "
        f"after {', '.join(map(str, match.looks))} of {match.seeds} seeds ({looks} by {LOOKS[match.scheduler]} at "
        f"{RACE_LEVEL:.0%}, one-sided, not corrected for their number)."
    )
    if match.scheduler != "race":
        return summary
    return (
        f"{summary} A configuration as good as the one that it is compared with is stopped in "
        f"{race_error(match.seeds):.0%} of cases, and more often where that one was lucky on these seeds."
    )


def searched_json(result: Searched | None, better: Better) -> dict[str, Any] | None:
    """The same for programs."""
    if result is None:
        return None
    best = best_of(result, better)
    return {
        "seeds": result.seeds,
        "scheduler": result.scheduler,
        "looks": result.looks,
        "level": RACE_LEVEL if result.looks else None,
        "configurations": result.tried,
        "stopped_early": result.stopped,
        "failed": result.failed,
        "best": None if best is None else _best_json(best),
    }


def _best_json(best: Mapping[str, Any]) -> dict[str, Any]:
    settings = {str(key)[3:]: _plain(value) for key, value in best.items() if str(key).startswith("hp.")}
    numbers = {key: float(best[key]) for key in ("value", "low", "high")}
    return {"first_arm": best["arm"], "mean": numbers.pop("value"), **numbers, "settings": settings}


def _mean_row(done: pd.DataFrame) -> dict[str, Any]:
    row = _row(done)
    for column in map(str, done.select_dtypes("number")):
        if not column.startswith("hp.") and column not in ("block", "seed"):
            row[column] = float(done[column].mean())
    n, sd = len(done), float(done["value"].std(ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * sd / sqrt(n) if n > 1 else nan
    return {**row, "n": n, "low": row["value"] - half, "high": row["value"] + half}


def _row(rows: pd.DataFrame) -> dict[str, Any]:
    return {str(column): value for column, value in rows.iloc[0].items()}


def _token(value: Any) -> Any:
    value = _plain(value)
    return None if isinstance(value, float) and np.isnan(value) else value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
