"""Distributions that a search draws settings from, as Optuna's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution


def distribution(knob: Mapping[str, Any]) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """Return the distribution of a searched setting, which a space describes by `knob`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choice" in knob:
        return CategoricalDistribution([token(value) for value in knob["choice"]])
    if "int" in knob or "log_int" in knob:
        low, high = knob.get("int") or knob["log_int"]
        return IntDistribution(low, high, log="log_int" in knob, step=int(knob.get("step") or 1))
    low, high = knob.get("log_uniform") or knob["uniform"]
    return FloatDistribution(low, high, log="log_uniform" in knob, step=knob.get("step"))


def token(value: Any) -> Any:
    """Return what Optuna keeps of a value: lists, such as a network's widths, as their text."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return plain if plain is None or isinstance(plain, bool | int | float | str) else json.dumps(plain)
