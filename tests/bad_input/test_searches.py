"""The space of a search is read strictly, and written out completely."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from branchwise.orchestration.designs.search import Search
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import load_space
from branchwise.orchestration.tuning.studies import open_studies
from branchwise.trainables.command.arguments import as_argument
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

DATA = Path(__file__).resolve().parents[1] / "data"
SPACE = (DATA / "surface_search.yaml").read_text()
TUNED = (DATA / "surface_tuned.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "expected_texts"),
    [
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0, 1.0]", ["anchor_weight", "above 0"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [1.0, 0.1]", ["anchor_weight", "empty"]),
        ("log_uniform: [0.01, 1.0]", "log_uniform: [0.1, 1.0], uniform: [0.1, 1.0]", ["exactly one"]),
        ("uniform: [0.1, 3.0]", "uniform: [-1.0, 3.0]", ["uncond_weight", "-1.0"]),
        ("uniform: [0.1, 3.0]", "unifrom: [0.1, 3.0]", ["unifrom", "did you mean uniform?"]),
        ("min_snr, uniform]", "min_snr, other]", ["curriculum", "'other'"]),
        ("uniform: [0.1, 3.0]", "uniform: [0.1, 3.0], step: 0.7", ["step 0.7 does not lead from 0.1 to 3"]),
        ("uniform: [0.1, 3.0]", "log_uniform: [0.1, 3.0], step: 0.1", ["step goes with uniform or int"]),
        ("uniform: [0.1, 3.0]", "log_int: [0, 3]", ["log_int interval must begin at 1"]),
        ("uniform: [0.1, 3.0]", "int: [0, 3], step: 1.5", ["step 1.5 of an int must be a whole number"]),
        ("uniform: [0.1, 3.0]", "normal: [0, 1]", ["normal is not supported; use uniform"]),
        ("uniform: [0.1, 3.0]", "choice: [1.0]", ["a choice needs at least two values"]),
        ("uniform: [0.1, 3.0]", "choice: [1, 1.0]", ["must not name a value twice"]),
        ("arms: 24", "arms: 0", ["design.arms"]),
        ("design:", "limits: {hours: 1}\ndesign:", ["limits: not allowed with design.kind search"]),
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
        ("arms: 24", "arms: 24\n  seeds: 3\n  scheduler: asha\n  rungs: [3]", ["asha", "seeds 3", "use race"]),
        ("arms: 24", "arms: 24\n  scheduler: race", ["race is not allowed with seeds 1", "3 or more"]),
        ("arms: 24", "arms: 24\n  seeds: 4\n  scheduler: wilcoxon", ["wilcoxon is not allowed with seeds 4", "5"]),
        ("arms: 24", "arms: 24\n  seeds: 5\n  scheduler: race\n  rungs: [3]", ["none has no rungs"]),
        ("arms: 24", "arms: 24\n  seeds: 3\n  warm_start: [x]", ["warm_start is not allowed with seeds 3"]),
        ("arms: 24", "arms: 24\n  seeds: 0", ["design.seeds", "greater than 0"]),
        ("arms: 24", "arms: 24\n  seeds: 4\n  seed: 997", ["design.seed: 997", "seed 1000", "must differ"]),
        ("arms: 24", "arms: 24\n  constraints: [compression > 5.9]", ["constraints", "COLUMN >= NUMBER"]),
        ("arms: 24", "arms: 24\n  constraints: [size >= 5.9]", ["constraints[0]", "'size'", "cost"]),
    ],
)
def test_bad_search_is_refused(tmp_path: Path, old: str, new: str, expected_texts: list[str]) -> None:
    assert old in SPACE
    file = tmp_path / "search.yaml"
    file.write_text(SPACE.replace(old, new, 1))
    with pytest.raises(UserError) as refusal:
        load_space(file)
    assert "\n" not in str(refusal.value)
    for expected_text in expected_texts:
        assert expected_text in str(refusal.value)


def test_cell_without_hyperparameters_is_refused() -> None:
    with pytest.raises(UserError, match="every knob of the cell curriculum_transfer"):
        load_space(DATA / "surface_tuned.yaml", ["design.knobs={anchor_weight: {log_uniform: [0.01, 1.0]}}"])


KNOBS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "width": ("{log_int: [1, 256]}", lambda value: isinstance(value, int) and 1 <= value <= 256),
    "units": ("{int: [8, 256], step: 8}", lambda value: isinstance(value, int) and value % 8 == 0),
    "rate": ("{uniform: [0, 1], step: 0.25}", lambda value: value in (0.0, 0.25, 0.5, 0.75, 1.0)),
    "depth": ("{choice: [null, 3, 5]}", lambda value: value in (None, 3, 5)),
    "ema": ("{choice: [true, false]}", lambda value: isinstance(value, bool)),
    "layers": ("{choice: [[64, 64], [32], []]}", lambda value: value in ((64, 64), (32,), ())),
}


def test_kinds_of_knobs(tmp_path: Path) -> None:
    expected_texts = ", ".join(f'"{name}={{{name}}}"' for name in KNOBS)
    knobs = ", ".join(f"{name}: {text}" for name, (text, _) in KNOBS.items())
    (tmp_path / "space.yaml").write_text(
        f"name: knobs\ntrainable: command\ncommand: {{run: [echo, {expected_texts}], metric: {{key: loss}}, "
        "direction: minimize}\nsettings: {width: 1e1, units: 8, rate: 0.5, depth: null, ema: true, layers: [64, 64]}\n"
        f"design: {{kind: search, arms: 60, algorithm: optuna_random, blocks: 2, knobs: {{{knobs}}}}}\n"
    )
    space = load_space(tmp_path / "space.yaml")
    run = RunFolder(storage_at(tmp_path / "runs"), "knobs")
    design = space.design
    assert isinstance(design, Search)
    (study,) = open_studies(space, run)
    chosen = [study.settings(study.ask()) for _ in range(60)]
    for name, (_, allowed) in KNOBS.items():
        values = [space.method.patched(settings).settings for settings in chosen]
        assert all(allowed(getattr(value, name)) for value in values), name
        assert len({repr(getattr(value, name)) for value in values}) > 1
        assert all(design.knobs[name].holds(getattr(value, name)) for value in values)
    assert as_argument(space.spec.settings.width) == "10"
    assert sum(settings["width"] <= 16 for settings in chosen) > 20  # on the log scale
