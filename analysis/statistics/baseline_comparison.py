"""Comparisons of the full method with baselines, the teacher and its smaller cells.

They are made whatever the outcome, exploratory and unadjusted: common questions, in addition to the
declared claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import FULL, SCRATCH, TEACHER
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.declared.scales import placed
from branchwise.analysis.records.observations import Observations
from branchwise.analysis.records.teachers import value_of_teacher
from branchwise.analysis.statistics.attribution import Attribution, analyze_scale
from branchwise.analysis.statistics.claims.values import with_sampling
from branchwise.analysis.statistics.model import Estimate, mean_estimate, t_estimate

BASELINE, BEST = "a baseline", "the best baseline"
FAR = 3.0  # times the teacher's value, from which students are reported as far from it


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """Comparison of the full method with another arm.

    Attributes:
        role: Why the other arm is of interest.
        estimate: The improvement of the full method over it, on the scale of the headline.
    """

    against: str
    role: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The attribution of an outcome after each of multiple training steps, the last included."""

    outcome: str
    steps: tuple[int, ...]
    results: tuple[Attribution, ...]


def compare_with_baselines(
    results: pd.DataFrame, baselines: Sequence[str], headline: Attribution
) -> tuple[BaselineComparison, ...]:
    """Full against the baselines and against its teacher; those that have results.

    Of students with a teacher, the baseline `scratch` is the one without distillation, and comes first.
    """
    gains = {name: gain for name, gain in headline.gains.items() if name in baselines and gain.has_value}
    best = min(gains, key=lambda name: gains[name].value, default="")
    many = len(gains)
    chosen = f"{BEST}, picked from {many}" if many > 1 else "the baseline"
    roles = {name: chosen if name == best else BASELINE for name in gains}
    if SCRATCH in roles and _has_teacher(results, headline):
        others = {name: role for name, role in roles.items() if name != SCRATCH}
        roles = {SCRATCH: f"no distillation, {chosen}" if best == SCRATCH and many > 1 else "no distillation"} | others
    if best:
        gains[best] = chosen_of(gains[best], many, headline.fit.inference.alpha)
    comparisons = [BaselineComparison(against=name, role=role, estimate=gains[name]) for name, role in roles.items()]
    teacher = _against_teacher(results, headline)
    if teacher.has_value:
        comparisons.append(BaselineComparison(against=TEACHER, role="its teacher", estimate=teacher))
    return tuple(comparisons)


def _has_teacher(results: pd.DataFrame, headline: Attribution) -> bool:
    column = f"teacher_{headline.outcome.name}"
    return column in results and bool(results[column].notna().any())


def chosen_of(estimate: Estimate, many: int, alpha: float) -> Estimate:
    """The estimate of the best of so many: p and interval hold for all of them simultaneously
    (Bonferroni)."""
    if not estimate.has_interval or many < 2:
        return estimate
    wider = t_estimate(estimate.value, estimate.se, estimate.df, 1 - alpha / many)
    return replace(wider, p=min(1.0, many * wider.p))


def _against_teacher(results: pd.DataFrame, headline: Attribution) -> Estimate:
    name, inference = headline.outcome.name, headline.fit.inference
    column = f"teacher_{name}"
    full = results[results["cell"] == FULL]
    if column not in full or full[column].isna().any() or full.empty:
        return Estimate()
    students, teachers = (full[key].to_numpy(dtype=float) for key in (name, column))
    gaps = headline.improvement(students) - headline.improvement(teachers)
    if not np.isfinite(gaps).all():
        return Estimate()
    teacher = value_of_teacher(full, column)
    result = mean_estimate(gaps, inference.level)
    if teacher is None or teacher.for_each_block:
        return result
    return with_sampling(result, teacher, full, name, headline.improvement, inference)


def noninferior_cells(planned: Sequence[str], headline: Attribution) -> tuple[str, ...]:
    """Return planned cells with fewer components and a mean no worse than `full`, best first."""
    means = dict(zip(headline.fit.cells, headline.fit.means, strict=True))
    full = means.get(FULL)
    if full is None or headline.fraction:  # the best of many runs of a screening is best by chance
        return ()
    smaller = [cell for cell in planned if cell != FULL and means.get(cell, -np.inf) >= full]
    return tuple(sorted(smaller, key=lambda cell: -means[cell]))


def budgets(observed: Observations) -> tuple[Budget, ...]:
    """The attribution of each outcome during training, step by step.

    None unless the results have the number of training `steps`, and `observed.budgets` has values.
    """
    results, table = observed.results, observed.budgets
    if table.empty or "step" not in table or "steps" not in results:
        return ()
    by_outcome = []
    for outcome in observed.outcomes:
        if outcome.name not in table:
            continue
        steps = sorted(table["step"].unique())
        frames = [*(_at_step(results, table[table["step"] == step], outcome.name) for step in steps), results]
        attributions = [
            analyze_scale(frame, observed.grid, _on_scale(frame, outcome), inference=observed.inference)
            for frame in frames
            if _any(frame, outcome)
        ]
        if len(attributions) == len(frames):
            reached = (*map(int, steps), int(results["steps"].max()))
            by_outcome.append(Budget(outcome=outcome.name, steps=reached, results=tuple(attributions)))
    return tuple(by_outcome)


def _at_step(results: pd.DataFrame, rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The results with the values that the outcome had at a step."""
    values = rows.set_index("arm")[column]
    return results.assign(**{column: results["arm"].map(values)})


def _any(frame: pd.DataFrame, outcome: Outcome) -> bool:
    return bool(frame[outcome.name].notna().any())


def _on_scale(frame: pd.DataFrame, outcome: Outcome) -> Outcome:
    rows = frame[frame[outcome.name].notna()]
    return placed(outcome, rows[outcome.name].to_numpy(dtype=float), rows["arm"].tolist())[0]


def short_training_notes(results: pd.DataFrame, headline: Attribution, along: Sequence[Budget]) -> list[str]:
    """Return notes on a training too short to conclude from; empty without evidence of it."""
    sentences = []
    teacher = _against_teacher(results, headline)
    if headline.scale == "log" and teacher.has_value and teacher.value < -log(FAR):
        ratio, name = np.exp(-teacher.value), headline.outcome.title
        lower = f"the full method's {name} is {ratio:.1f} times the teacher's"
        higher = f"the teacher's {name} is {ratio:.1f} times the full method's"
        sentences.append(
            f"Students are far from their teacher: {lower if headline.outcome.better == 'lower' else higher}. After a "
            "longer training components may be worth something else."
        )
    for budget in along:
        for i, component in enumerate(row.component for row in headline.rows):
            clear = [result.rows[i].effect for result in budget.results if _clear(result, i)]
            signs = [np.sign(effect.value) for effect in clear]
            if any(item != other for item, other in pairwise(signs)):
                sentences.append(
                    f"{component}: its effect on {budget.outcome} changes sign with the length of training, so it "
                    "speaks of this length alone."
                )
    return sentences


def _clear(result: Attribution, i: int) -> bool:
    return result.rows[i].effect.has_value and result.rows[i].effect.p <= result.fit.inference.alpha
