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


@pytest.mark.parametrize("text", [SPACE, TUNED])
def test_the_resolved_search_reads_as_the_same(tmp_path: Path, text: str) -> None:
    file, again = tmp_path / "search.yaml", tmp_path / "again.yaml"
    file.write_text(text)
    space = load_space(file)
    again.write_text(space.resolved())
    assert load_space(again) == space


def test_a_cell_with_nothing_to_tune_is_refused() -> None:
    with pytest.raises(UserError, match="every knob of the cell curriculum_transfer"):
        load_space(DATA / "surface_tuned.yaml", ["design.knobs={anchor_weight: {log_uniform: [0.01, 1.0]}}"])


def test_the_old_names_of_a_searchs_keys_still_work(tmp_path: Path) -> None:
    file, old = tmp_path / "search.yaml", tmp_path / "old.yaml"
    file.write_text(SPACE)
    old.write_text(SPACE.replace("arms: 24", "trials: 24").replace("  knobs:", "  space:"))
    assert load_space(old) == load_space(file)
    assert [notice.partition(": ")[2] for notice in load_space(old).notices] == [
        "design.trials is now called design.arms; the old name still works",
        "design.space is now called design.knobs; the old name still works",
    ]
    assert not load_space(file).notices
