"""Contrast vectors against independently computed definitions."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchwise.analysis.declared import contrasts
from branchwise.analysis.declared.cells import cell_name, factorial_cells

values = st.integers(1, 5).flatmap(lambda k: st.lists(st.floats(-100, 100), min_size=2**k, max_size=2**k).map(np.array))


def by_permutations(v: np.ndarray, k: int) -> list[float]:
    """Shapley values as the mean marginal gain over each order in which components can be switched on."""
    expected = [0.0] * k
    orders = list(permutations(range(k)))
    for order in orders:
        mask = 0
        for i in order:
            expected[i] += (v[mask | 1 << i] - v[mask]) / len(orders)
            mask |= 1 << i
    return expected


@given(values)
@settings(deadline=None, max_examples=60)
def test_shapley_equals_mean_over_all_orders(v: np.ndarray) -> None:
    k = len(v).bit_length() - 1
    actual = [contrasts.shapley(i, k) @ v for i in range(k)]
    assert actual == pytest.approx(by_permutations(v, k), abs=1e-9)
    assert sum(actual) == pytest.approx(contrasts.total_gain(k) @ v, abs=1e-9)


def test_shapley_of_six_components_equals_mean_over_all_orders() -> None:
    v = np.random.default_rng(0).normal(size=64)
    assert [contrasts.shapley(i, 6) @ v for i in range(6)] == pytest.approx(by_permutations(v, 6), abs=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_effects_recover_coefficients_of_centred_polynomial(k: int) -> None:
    """With +-1/2 coding, the coefficient of a product is the difference of differences averaged over the rest."""
    rng = np.random.default_rng(k)
    subsets = [s for order in range(1, k + 1) for s in combinations(range(k), order)]
    truth = {s: rng.normal() for s in subsets}
    levels = [[(mask >> i & 1) - 0.5 for i in range(k)] for mask in range(2**k)]
    v = np.array([sum(b * np.prod([x[i] for i in s]) for s, b in truth.items()) for x in levels])
    for s in subsets:
        assert contrasts.factorial_effect(s, k) @ v == pytest.approx(truth[s], abs=1e-12)


def test_single_component_contrasts_are_differences_of_two_cells() -> None:
    cells = factorial_cells(["a", "b", "c"])
    assert contrasts.by_cell(contrasts.leave_one_out(1, 3), cells) == {"full": 1.0, "a+c": -1.0}
    assert contrasts.by_cell(contrasts.add_one_in(1, 3), cells) == {"b": 1.0, "base": -1.0}


def test_names_of_cells() -> None:
    assert factorial_cells(["a", "b"]) == ("base", "a", "b", "full")
    assert factorial_cells(["a"]) == ("base", "full")
    assert factorial_cells([]) == ()
    assert cell_name({"b", "a"}, ["a", "b", "c"]) == "a+b"
