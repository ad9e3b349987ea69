"""The family of hypotheses and its graph: Holm without followers, and its guaranteed error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from branchwise.analysis.statistics.claims.family import adjusted, gatekeeping
from branchwise.analysis.statistics.model import holm


@given(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=8))
def test_without_followers_it_is_holm(p_values: list[float]) -> None:
    names = [f"h{i}" for i in range(len(p_values))]
    result = adjusted(dict(zip(names, p_values, strict=True)), *gatekeeping(names, {}))
    assert [result[name] for name in names] == pytest.approx(holm(p_values), nan_ok=True)


def test_example_by_hand() -> None:
    """a is rejected at 0.05 / 2; half of its share is passed to its follower, half to b."""
    family = {"a": 0.01, "b": 0.03, "a2": 0.012}
    result = adjusted(family, *gatekeeping(["a", "b"], {"a": ["a2"]}))
    assert result["a"] == pytest.approx(0.02)
    assert result["b"] == pytest.approx(0.03 / 0.75)  # with what a passed on
    assert result["a2"] == pytest.approx(0.04)  # 0.012 / 0.25 would be more, but b passes all of its share on


def test_follower_waits_for_its_gate() -> None:
    result = adjusted({"a": 0.5, "a2": 1e-9, "b": 0.4}, *gatekeeping(["a", "b"], {"a": ["a2"]}))
    assert result["a2"] >= result["a"] > 0.05


def test_followers_do_not_weaken_first_test() -> None:
    """Against a flat Holm family of nine: the smallest of three is tested at 0.05 / 3, not at 0.05 / 9."""
    first = ["a", "b", "c"]
    followers = {name: [f"{name}2", f"{name}3"] for name in first}
    family = {"a": 0.016, "b": 0.6, "c": 0.7} | {name: 0.9 for names in followers.values() for name in names}
    assert adjusted(family, *gatekeeping(first, followers))["a"] <= 0.05 < holm(list(family.values()))[0]


@pytest.mark.parametrize("true", [(), ("a",), ("a", "a2"), ("a", "b", "a2")])
def test_family_wise_error_is_controlled(true: tuple[str, ...]) -> None:
    """For all true states: a wrong rejection in no more than 5% of families, of correlated tests too."""
    rng = np.random.default_rng(len(true))
    names = ["a", "b", "c", "a2", "a3", "b2", "b3"]
    weights, edges = gatekeeping(names[:3], {"a": ["a2", "a3"], "b": ["b2", "b3"]})
    wrong, n = 0, 3000
    for _ in range(n):
        z = 0.5 * rng.normal() + np.sqrt(0.75) * rng.normal(size=len(names))
        p = 2 * stats.norm.sf(np.abs(z + [6.0 * (name in true) for name in names]))
        result = adjusted(dict(zip(names, p.tolist(), strict=True)), weights, edges)
        wrong += any(result[name] <= 0.05 for name in names if name not in true)
    assert wrong / n <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / n)
