"""The fractions of screenings, checked by brute force: balance, resolution, and which effects are the same column."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from branchwise.analysis.declared.factors import Factor, Grid, cell_of, switches
from branchwise.analysis.declared.factors import combinations as planned_cells
from branchwise.analysis.declared.fractions import (
    GENERATORS,
    contrasts_of,
    resolution,
    screening_cells,
    screening_runs,
    weights_of,
)

RUNS = {4: 8} | dict.fromkeys(range(5, 9), 16) | dict.fromkeys(range(9, 17), 32) | dict.fromkeys(range(17, 21), 64)


def signs(k: int) -> np.ndarray:
    """(n, k) of -1 and 1."""
    return np.array([[1 if on else -1 for on in run] for run in screening_cells(k)])


def grid_of(k: int) -> Grid:
    factors = tuple(Factor(name=f"c{i}") for i in range(k))
    cells = frozenset(tuple("on" if on else "off" for on in run) for run in screening_cells(k))
    return Grid(factors=factors, planned=cells)


@pytest.mark.parametrize("k", RUNS)
def test_generators_give_resolution_four_and_balance(k: int) -> None:
    x = signs(k)
    assert x.shape == (RUNS[k], k) == (screening_runs(k), k)
    assert len(np.unique(x, axis=0)) == RUNS[k]
    assert (x[0] == 1).all(), "the full method comes first"
    for triple in combinations(range(k), 3):  # each combination of any three components equally often
        counts = [int((x[:, triple] == levels).all(1).sum()) for levels in product((-1, 1), repeat=3)]
        assert counts == [RUNS[k] // 8] * 8
    fours = [x[:, four].prod(1) for four in combinations(range(k), 4)]
    confounded = any(abs(label.sum()) == RUNS[k] for label in fours)
    assert confounded == (k != 5), "only five components reach resolution V"
    assert all(abs(label.sum()) in (0, RUNS[k]) for label in fours), "regular: effects are the same or clear"


def test_table_has_all_component_numbers() -> None:
    assert set(GENERATORS) == set(range(4, 21))
    labels = [label for labels in GENERATORS.values() for label in labels]
    assert all(len(set(label)) == len(label) >= 3 for label in labels)
    assert all(len(set(labels)) == len(labels) for labels in GENERATORS.values())


@pytest.mark.parametrize("k", [4, 5, 8, 10, 17, 20])
def test_aliases_are_equal_columns(k: int) -> None:
    grid, x = grid_of(k), signs(k)
    assert grid.is_fraction
    assert resolution(grid) == ("V or more" if k == 5 else "IV")
    result = contrasts_of(grid)
    assert len(result) == RUNS[k] - 1
    column = {f"c{i}": x[:, i] for i in range(k)}
    chained = {pair: number for number, entry in enumerate(result) for pair in entry.pairs}
    pairs = list(combinations(column, 2))
    assert sorted(chained) == sorted(pairs)
    for item, other in combinations(pairs, 2):
        same = (column[item[0]] * column[item[1]] == column[other[0]] * column[other[1]]).all()
        assert same == (chained[item] == chained[other])
    main = result[0]
    expected = [
        triple for triple in combinations(column, 3) if (x[:, 0] == np.prod([column[name] for name in triple], 0)).all()
    ]
    assert list(main.triples) == expected
    assert [len(element.pairs) for element in result[:k]] == [0] * k, "no pair is mixed into a main effect"


@pytest.mark.parametrize("k", [4, 6, 10, 20])
def test_weights_are_orthogonal_contrasts(k: int) -> None:
    grid = grid_of(k)
    cells = [grid.name(cell) for cell in sorted(grid.planned)]
    weights = np.array([[weights_of(grid, item)[cell] for cell in cells] for item in contrasts_of(grid)])
    assert np.allclose(weights.sum(1), 0)
    assert np.allclose(weights @ weights.T, np.eye(RUNS[k] - 1) * 4 / RUNS[k])
    on = np.array([dict(zip(grid.components, cell, strict=True))["c1"] == "on" for cell in sorted(grid.planned)])
    effect = grid.effect("c1", "on")
    assert np.allclose([effect[cell] for cell in cells], np.where(on, 2, -2) / RUNS[k])


def test_other_designs_are_no_fractions() -> None:
    full = switches(["a", "b", "c", "d"])
    assert not full.is_fraction
    assert full.effect("a", "on")["full"] == pytest.approx(1 / 8)
    cells = sorted(full.planned)
    assert not Grid(factors=full.factors, planned=frozenset(cells[:8])).is_fraction
    one_failed = Grid(factors=full.factors, planned=frozenset(grid_of(4).planned) - {("on",) * 4})
    assert not one_failed.is_fraction
    three = switches(["a", "b", "c"])
    half = frozenset(cell for cell in three.planned if cell.count("off") % 2 == 0)
    assert not Grid(factors=three.factors, planned=half).is_fraction, "resolution III"
    assert not Grid(factors=tuple(Factor(name=f"c{i}") for i in range(50)), planned=frozenset()).is_fraction


def test_names_of_cells_stay_short_with_many_components() -> None:
    factors = [Factor(name=f"{'c' * 28}{i:02d}") for i in range(50)]
    on = dict.fromkeys([factor.name for factor in factors], "on")
    off = dict.fromkeys(on, "off")
    assert cell_of(factors, on) == "full"
    assert cell_of(factors, off) == "base"
    name = factors[3].name
    assert cell_of(factors, on | {name: "off"}) == f"without_{name}"
    assert cell_of(factors, off | {name: "on"}) == name
    two = cell_of(factors, on | {name: "off", factors[5].name: "off"})
    assert two == "cell_" + "1110101" + "1" * 43
    assert len(two) < 64
    level = Factor(name="dose", levels=("none", "low", "high"), reference="none", full="high")
    assert cell_of([level, *factors[:6]], on | {"dose": "low"}) == "with_dose=low"
    assert cell_of([level, *factors[:6]], on | {"dose": "low", name: "off"}) == "cell_1111011"


def test_effects_of_factorial_keep_their_order() -> None:
    grid = switches(["a", "b", "c"])
    assert list(grid.effect("b", "on")) == ["b", "base", "a+b", "a", "b+c", "c", "full", "a+c"]
    assert grid.corners == tuple(grid.name(levels) for levels in planned_cells(grid.factors))
