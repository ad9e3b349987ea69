"""Mutated spaces and arguments: always a plan or a message. `benchmarks/fuzz.py` tries 10,000."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import pytest

CASES, PARTS = 300, 6


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_spaces_plan_or_fail_with_message(part: int, tmp_path: Path) -> None:
    for number in range(part, CASES, PARTS):
        case = fuzzing.mutated(f"test/{number}")
        verdict = fuzzing.examine(case, tmp_path)
        assert not verdict.finding, f"case {number} ({case.how}): {verdict.finding}"
