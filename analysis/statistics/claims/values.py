"""Claims on values: means of cells, baselines and the teacher, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log, nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.declared.outcomes import FloatArray, Outcome
from branchwise.analysis.declared.scales import Resolution
from branchwise.analysis.records.teachers import TeacherValue, value_of_teacher
from branchwise.analysis.statistics.claims.testing import Form, Test, against_bound, exponential
from branchwise.analysis.statistics.model import (
    ROUNDING,
    SINGLE_RUN,
    Estimate,
    mean_and_sd,
    mean_estimate,
    t_estimate,
    too_coarse,
)
from branchwise.analysis.statistics.welch import CellVariance

Transform = Callable[[FloatArray], FloatArray]


def value_test(
    claim: Claim,
    weights: Mapping[str, float],
    results: pd.DataFrame,
    outcome: Outcome,
    grid: Resolution | None,
    inference: Inference,
) -> Test:
    """Test a claim on values by the variance of its sum over blocks that have each of its cells.

    A value against a number, or against a multiple of another value, is tested on the log scale where all values are
    above 0, unless the identity scale was declared: skewed seeds make the test of their arithmetic mean err. One
    teacher is one teacher: its value varies only by the sampling with which it was measured, which enters the standard
    error.
    """
    column = outcome.name
    teacher = value_of_teacher(results, f"teacher_{column}") if TEACHER in weights else None
    students = [name for name in weights if name != TEACHER]
    if TEACHER in weights and teacher is None:
        return Test(form="value", reason=f"the run records no {column} of the teacher")
    wide = results.pivot_table(index="block", columns="cell", values=column)
    if teacher is not None and teacher.for_each_block:  # varies over blocks like a cell
        wide[TEACHER] = teacher.by_block.reindex(wide.index)
        students, teacher = [*students, TEACHER], None
    if not students:
        return Test(form="value", reason="the teacher is one net: its value has no interval over seeds")
    if absent := [cell for cell in students if cell not in wide]:
        return Test(form="value", reason=f"no finished arm in {', '.join(absent)}")
    if inference.paired:
        blocks = wide[students].dropna()
        values = {name: blocks[name].to_numpy() for name in students}
    else:
        values = {name: wide[name].dropna().to_numpy() for name in students}
    if teacher is not None:
        values[TEACHER] = np.array([teacher.value])
    on_log = not outcome.additive and all(len(of) and (of > 0).all() for of in values.values())
    plan = _log_form(claim, weights, students[0]) if on_log else None
    if plan is None:
        estimate = _estimate(values, weights, teacher, results, column, grid, inference, on_log=False)
        return against_bound(claim, estimate, claim.bound, "value")
    signs, target, flipped, form = plan
    estimate = _estimate(values, signs, teacher, results, column, grid, inference, on_log=True)
    turned = replace(claim, relation="below" if claim.relation == "above" else "above") if flipped else claim
    test = against_bound(turned, estimate, log(target), form)
    return replace(test, estimate=exponential(estimate), bound=target)


def _log_form(
    claim: Claim, weights: Mapping[str, float], first: str
) -> tuple[dict[str, float], float, bool, Form] | None:
    """Return a claim as a sum of +-log(value) against log(target).

    By name its sign, the target, and whether the relation turns round; None for a claim that is no
    comparison with a number or with a multiple of one other value.
    """
    if claim.relation == "equivalent" or len(weights) > 2:
        return None
    lead = weights[first]
    if len(weights) == 1:
        target = claim.bound / lead
        return ({first: 1.0}, target, lead < 0, "geometric mean") if target > 0 else None
    other = next(name for name in weights if name != first)
    target = -weights[other] / lead
    if claim.bound or not target > 0:
        return None
    return {first: 1.0, other: -1.0}, target, lead < 0, "ratio of values"


def _estimate(
    values: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    teacher: TeacherValue | None,
    results: pd.DataFrame,
    column: str,
    grid: Resolution | None,
    inference: Inference,
    on_log: bool,
) -> Estimate:
    """Weighted sum of the values, or of their logarithms, with its t interval.

    The interval is over blocks; of unpaired runs, it is Welch's.
    """
    parts = {name: np.log(of) if on_log else of for name, of in values.items()}
    students = {name: of for name, of in parts.items() if name != TEACHER or teacher is None}
    constant = weights[TEACHER] * float(parts[TEACHER][0]) if teacher is not None else 0.0
    magnitude = max(float(np.abs(of).max(initial=1.0 if on_log else 0.0)) for of in parts.values())
    if inference.paired or len(students) == 1:
        sums = np.asarray(sum(weights[name] * of for name, of in students.items()))
        match = mean_estimate(sums + constant, inference.level, magnitude)
    else:
        match = welch_estimate(students, weights, inference.level, constant)
    if grid and match.se >= 0 and _is_coarse(match, students, values, weights, grid, on_log):
        return Estimate(value=match.value, se=match.se, df=match.df, reason=too_coarse(grid.text))
    if teacher is None:
        return match
    return with_sampling(match, teacher, results, column, _log if on_log else np.asarray, inference, weights[TEACHER])


def welch_estimate(
    samples: Mapping[str, FloatArray], weights: Mapping[str, float], level: float, constant: float = 0.0
) -> Estimate:
    """Sum of weight * mean over independent samples, with Welch's interval.

    Args:
        samples: (n,) values of each name, independent of those of the others.
        weights: By name.
        level: Of the interval.
        constant: Added to the sum.
    """
    names = list(samples)
    moments = [mean_and_sd(samples[name]) for name in names]
    value = constant + sum(weights[name] * mean for name, (mean, _) in zip(names, moments, strict=True))
    counts = np.array([len(samples[name]) for name in names], dtype=float)
    errors = np.array([sd for _, sd in moments]) / np.sqrt(counts)
    largest = max(abs(weights[name]) * float(np.abs(samples[name]).max(initial=0.0)) for name in names)
    vector = np.array([weights[name] for name in names])
    unit = float(np.nanmax(np.abs(errors), initial=0.0))
    if unit < ROUNDING * largest:
        unit = 0.0
    cell_variance = CellVariance(variances=(errors / unit) ** 2 if unit else 0.0 * errors, counts=counts)
    if not cell_variance.is_identified(vector):
        return Estimate(value=value, reason=SINGLE_RUN)
    return t_estimate(
        value, unit * sqrt(cell_variance.covariance(vector, vector)), cell_variance.freedom(vector), level
    )


def with_sampling(
    estimate: Estimate,
    teacher: TeacherValue,
    results: pd.DataFrame,
    column: str,
    transform: Transform,
    inference: Inference,
    weight: float = 1.0,
) -> Estimate:
    """Add the teacher's sampling noise to an estimate that holds its value, `weight` times.

    The value is transformed.
    """
    if not estimate.has_interval:
        return estimate
    variance, df = _sampling(teacher, results, column, transform)
    added = abs(weight) * sqrt(variance) / estimate.se
    if not added > 0:
        return replace(estimate, reason=estimate.reason or "the teacher's sampling noise was not measured")
    total = 1 + added**2
    freedom = total**2 / (1 / estimate.df + added**4 / df)  # Satterthwaite
    return t_estimate(estimate.value, sqrt(total) * estimate.se, freedom, inference.level)


def _log(values: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.where(values > 0, values, nan)))


def _is_coarse(
    result: Estimate,
    students: Mapping[str, FloatArray],
    values: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    grid: Resolution,
    on_log: bool,
) -> bool:
    """Whether the values vary by less than the resolution of their measurement."""
    steps = {name: grid.step / values[name] if on_log else np.array([grid.step]) for name in students}
    rounding = sum(
        weights[name] ** 2 * float(np.mean(step**2)) / 12 / len(students[name]) for name, step in steps.items()
    )
    return result.se == 0 or result.se < sqrt(rounding)


def _sampling(teacher: TeacherValue, results: pd.DataFrame, column: str, transform: Transform) -> tuple[float, float]:
    """Sampling variance of the teacher's value, and its degrees of freedom; 0 without repeats.

    Of its repeats, or those of all the models where that is larger.
    """
    number = max(len(teacher.repeats), 1)
    samples = [[teacher.repeats]]
    if column == "value" and "value_repeats" in results:
        samples.append([*results["value_repeats"], teacher.repeats])
    pooled = [_pooled(repeats, transform) for repeats in samples]
    variance, df = max(pooled, key=lambda result: result[0])
    return variance / number, df


def _pooled(repeats: Sequence[Any], transform: Transform) -> tuple[float, float]:
    """Variance of a repeat, and its degrees of freedom."""
    squares, df = 0.0, 0
    for repeat in repeats:
        if repeat is None or np.ndim(repeat) != 1 or len(np.asarray(repeat)) < 2:
            continue
        y = transform(np.asarray(repeat, dtype=float))
        if np.isfinite(y).all():
            sd = mean_and_sd(y)[1]
            squares += sd * sd * (len(y) - 1)
            df += len(y) - 1
    return (squares / df, float(df)) if df else (0.0, nan)
