"""Search spaces in the terms of Optuna and Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from branchwise.api.errors import InputError


def uniform(low: float, high: float) -> dict[str, Any]:
    """Return a real number between `low` and `high`.

    Example:
        >>> uniform(0.0, 1.0)
        {'uniform': [0.0, 1.0]}
    """
    return {"uniform": [low, high]}


def loguniform(low: float, high: float) -> dict[str, Any]:
    """Return a real number between `low` and `high`, log-uniform; `low` must be above 0."""
    return {"log_uniform": [low, high]}


def integer(low: int, high: int) -> dict[str, Any]:
    """Return an integer from `low` to `high`, both included."""
    return {"int": [low, high]}


def choice(values: Sequence[Any]) -> dict[str, Any]:
    """Return one of the values."""
    return {"choice": list(values)}


def hyperparameter_trees(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a design's search space from this module's, Optuna's, Ray Tune's or YAML's dicts.

    Raises:
        InputError: A distribution has no counterpart, such as a normal distribution; the message names it.
    """
    if not isinstance(hyperparameters, Mapping) or not hyperparameters:
        raise InputError("hyperparameters: must be a dict of names and distributions, such as bw.loguniform(1e-4, 0.1)")
    return {name: _tree(name, distribution) for name, distribution in hyperparameters.items()}


def _tree(name: str, distribution: Any) -> dict[str, Any]:
    if isinstance(distribution, Mapping):
        return dict(distribution)
    if isinstance(distribution, list | tuple):
        return choice(distribution)
    package = type(distribution).__module__.partition(".")[0]
    tree = {"optuna": _from_optuna, "ray": _from_ray}.get(package, lambda _: None)(distribution)
    if tree is None:
        raise InputError(
            f"hyperparameters: {name}: {distribution!r} is not supported; use bw.uniform, bw.loguniform, bw.integer or "
            "bw.choice, or their counterparts in Optuna or ray.tune"
        )
    return tree


def _from_optuna(distribution: Any) -> dict[str, Any] | None:
    kind = type(distribution).__name__
    if kind == "CategoricalDistribution":
        return choice(distribution.choices)
    ends = [distribution.low, distribution.high]
    if kind == "FloatDistribution":
        return _stepped("log_uniform" if distribution.log else "uniform", ends, distribution.step)
    if kind == "IntDistribution":
        return _stepped(
            "log_int" if distribution.log else "int", ends, None if distribution.step == 1 else distribution.step
        )
    return None


def _from_ray(domain: Any) -> dict[str, Any] | None:
    kind = type(domain).__name__
    if kind == "Categorical":
        return choice(domain.categories)
    sampler = domain.get_sampler()
    step = None
    if type(sampler).__name__ == "Quantized":
        step, sampler = sampler.q, sampler.sampler or domain.get_sampler()
    is_log = "LogUniform" in type(sampler).__name__
    if "Uniform" not in type(sampler).__name__ or not all(map(math.isfinite, (domain.lower, domain.upper))):
        return None
    if kind == "Float":
        return _stepped("log_uniform" if is_log else "uniform", [domain.lower, domain.upper], step)
    if kind == "Integer":  # Ray's upper end is excluded, unless the values are quantized
        upper = domain.upper if step not in (None, 1) else domain.upper - 1
        return _stepped("log_int" if is_log else "int", [domain.lower, upper], None if step == 1 else step)
    return None


def _stepped(kind: str, ends: list[Any], step: Any) -> dict[str, Any]:
    return {kind: ends} | ({} if step is None else {"step": step})
