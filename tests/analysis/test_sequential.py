"""Levels of declared looks against independent values, and against simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from branchwise.analysis.declared.looks import Spending
from branchwise.analysis.statistics.sequential.boundaries import (
    ALPHAS,
    boundary,
    compute_boundary,
    error_of,
    exact_levels,
    levels_spending,
)

KINDS: dict[str, Spending] = {"obf": "obrien_fleming", "quadratic": "quadratic"}


def golden(root: Path) -> list[tuple[tuple[int, ...], Spending, float, list[float]]]:
    rows: list[tuple[tuple[int, ...], Spending, float, list[float]]] = []
    looks: tuple[int, ...] = ()
    for line in (root / "tests/data/sequential/group_sequential_t.txt").read_text().splitlines():
        fields = line.split()
        if fields[0] == "looks":
            looks = tuple(int(field.strip("(),")) for field in fields[1:])
        elif fields[0] in KINDS:
            alpha = 0.05 / 12 if fields[2] == "0.00417" else float(fields[2])
            rows.append((looks, KINDS[fields[0]], alpha, [float(field) for field in fields[4 : 4 + len(looks)]]))
    return rows


def test_levels_equal_independent_computation(root: Path) -> None:
    rows = golden(root)
    assert len(rows) >= 50
    for looks, spending, alpha, expected in rows:
        assert exact_levels(looks, alpha, spending) == pytest.approx(expected, rel=0.006), (looks, spending, alpha)


def test_looking_without_plan_errs_more_often() -> None:
    assert error_of((5, 10), (0.05, 0.05)) == pytest.approx(0.0867, abs=0.0005)
    assert error_of((5, 10), (0.0279, 0.0279)) == pytest.approx(0.05, abs=0.0002)
    assert error_of(range(3, 11), [0.05] * 8) == pytest.approx(0.166, abs=0.001)


def test_levels_keep_error_in_simulation() -> None:
    looks = (4, 6, 7)
    x = np.random.default_rng(33).normal(size=(400_000, 7))
    for alpha in (0.05, 0.6):
        rejected = np.zeros(len(x), dtype=bool)
        for n_blocks, level in zip(looks, exact_levels(looks, alpha, "obrien_fleming"), strict=True):
            rejected |= stats.ttest_1samp(x[:, :n_blocks], 0, axis=1).pvalue <= level
        assert rejected.mean() == pytest.approx(alpha, abs=4 * np.sqrt(alpha * (1 - alpha) / len(x)))


def test_spending_given_increments_is_inverted_by_error() -> None:
    for alpha in (1e-8, 1e-3, 0.05, 0.98):
        levels = exact_levels((4, 5, 6, 7, 8), alpha, "quadratic")
        assert error_of((4, 5, 6, 7, 8), levels) == pytest.approx(alpha, rel=1e-6)
    assert levels_spending((5, 10), (0.0279, 0.02203)) == pytest.approx([0.0279, 0.0279], rel=3e-3)


def test_committed_table_equals_computation() -> None:
    matches, computed = boundary((5, 10), "obrien_fleming"), compute_boundary((5, 10), "obrien_fleming")
    assert matches.levels == pytest.approx(computed.levels, rel=1e-5)
    assert matches.alphas.tolist() == ALPHAS.tolist()
    for looks in ((4, 5, 6, 7, 8), (4, 5, 6, 7, 8, 9, 10)):
        table = boundary(looks, "quadratic")
        assert table.levels.shape == (len(ALPHAS), len(looks))
        assert (np.diff(table.levels, axis=0) > 0).all()
        assert table.levels[60] == pytest.approx(exact_levels(looks, float(ALPHAS[60]), "quadratic"), rel=1e-5)


@pytest.mark.parametrize(
    ("spending", "expected", "levels"),
    [
        ("obrien_fleming", [0.471, 0.247, 0.152, 0.0472, 0.0137], [0.00305, 0.00722, 0.0140, 0.0230, 0.0336]),
        ("quadratic", [0.747, 0.277, 0.160, 0.0535, 0.0205], [0.0125, 0.0118, 0.0151, 0.0200, 0.0261]),
    ],
)
def test_sequential_p_values(spending: str, expected: list[float], levels: list[float]) -> None:
    x = np.array([0.3, 0.9, -0.2, 0.6, 1.1, 0.2, 0.8, 0.5])
    table = boundary((4, 5, 6, 7, 8), spending)
    nominal = [float(stats.ttest_1samp(x[:n], 0).pvalue) for n in range(4, 9)]
    assert table.p_values(nominal) == pytest.approx(expected, rel=0.02)
    assert [table.level(n, 0.05) for n in range(4, 9)] == pytest.approx(levels, rel=0.01)


def test_rejection_stays() -> None:
    table = boundary((4, 5, 6, 7, 8), "obrien_fleming")
    result = table.p_values([1e-4, 0.9, 0.9])
    assert result[0] == result[1] == result[2] < 0.05
    assert np.isnan(table.p_values([np.nan])[0])
    assert table.p_values([np.nan, 1.0]) == pytest.approx([np.nan, 1.0], nan_ok=True)
    assert table.p_values([0.0])[0] == pytest.approx(1e-8)


def test_interpolated_levels_are_close_to_exact_ones() -> None:
    table = boundary((4, 5, 6, 7, 8, 9, 10), "obrien_fleming")
    for alpha in (3e-7, 0.0123, 0.05 / 12, 0.3):
        matches = [table.level(n, alpha) for n in table.looks]
        assert matches == pytest.approx(exact_levels(table.looks, alpha, "obrien_fleming"), rel=2e-3)


def test_far_ends_stay_exact() -> None:
    """A first look of many: it spends no error, and only the last counts."""
    assert exact_levels((4, 100), 0.05, "obrien_fleming")[-1] == pytest.approx(0.05, rel=1e-4)
    assert exact_levels((4, 100), 1e-8, "obrien_fleming")[-1] == pytest.approx(1e-8, rel=1e-4)
