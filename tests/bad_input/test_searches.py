"""The space of a search is read strictly, and written out whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import load_space

DATA = Path(__file__).resolve().parents[1] / "data"
SPACE = (DATA / "surface_search.yaml").read_text()
TUNED = (DATA / "surface_tuned.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0, 1.0]", ["anchor_weight", "above 0"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [1.0, 0.1]", ["anchor_weight", "empty"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0.1, 1.0], uniform: [0.1, 1.0]", ["exactly one"]),
        ("uniform: [0.1, 3.0]", "uniform: [-1.0, 3.0]", ["uncond_weight", "-1.0"]),
        ("uniform: [0.1, 3.0]", "unifrom: [0.1, 3.0]", ["unifrom", "did you mean uniform?"]),
        ("min_snr, uniform]", "min_snr, other]", ["curriculum", "'other'"]),
        ("arms: 24", "arms: 0", ["design.arms"]),
        ("arms: 24", "arms: 24\n  algorithm: tpe", ["design.algorithm", "optuna_tpe"]),
        ("arms: 24", "arms: 24\n  start: [{anchor: 1}]", ["start[0]", "anchor_weight"]),
        ("uncond_weight: {", "uncond_wieght: {", ["uncond_wieght", "uncond_weight"]),
        ("uniform: [0.1, 3.0]", "uniform: [0.1, 3.0], when: {curriculum: uniform}", ["when", "listed before"]),
        ("min_snr, uniform]", "min_snr, min_snr]", ["curriculum", "twice"]),
        ("arms: 24", "arms: 24\n  algorithm: optuna_brute_force", ["must be a choice or an int"]),
        ("arms: 24", "arms: 24\n  scheduler: asha", ["needs rungs"]),
        ("arms: 24", "arms: 24\n  rungs: [3]", ["none has no rungs"]),
        ("arms: 24", "arms: 24\n  scheduler: asha\n  rungs: [3, 2]", ["must rise"]),
        ("arms: 24", "arms: 24\n  objectives: [value, params]", ["objectives", "'params'", "cost"]),
        ("arms: 24", "arms: 24\n  objectives: [value, cost]\n  scheduler: asha\n  rungs: [3]", ["must be none"]),
        ("arms: 24", "arms: 24\n  constraints: [compression > 5.9]", ["constraints", "COLUMN >= NUMBER"]),
        ("arms: 24", "arms: 24\n  constraints: [size >= 5.9]", ["constraints[0]", "'size'", "cost"]),
    ],
)
def test_a_bad_search_is_refused(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SPACE
    file = tmp_path / "search.yaml"
    file.write_text(SPACE.replace(old, new, 1))
    with pytest.raises(UserError) as refusal:
        load_space(file)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_a_cell_with_nothing_to_tune_is_refused() -> None:
    with pytest.raises(UserError, match="every knob of the cell curriculum_transfer"):
        load_space(DATA / "surface_tuned.yaml", ["design.knobs={anchor_weight: {log_uniform: [0.01, 1.0]}}"])
