"""Trainables of the project and the docs keep the contract; others get a message on the violation."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from branchwise.trainables.runtime.loading import load_trainable
from branchwise.trainables.testing import check_trainable

TINY: dict[str, dict[str, Any]] = {
    "teacher": {"channels": [8, 8], "norm_groups": 4, "steps": 4, "batch_size": 16, "ema": 0.5, "lr": 3e-3},
    "student": {"channels": [8, 8], "norm_groups": 4},
    "train": {"steps": 4, "batch_size": 16, "lr": 3e-3, "ema": 0.5, "log_every": 2, "checkpoint_every": 2},
    "evaluate": {"samples": 640, "sampler_steps": 2, "gap_samples": 4},
}


@pytest.fixture
def documented(root: Path, tmp_path: Path) -> Iterator[str]:
    """The module of docs/own-trainable.md."""
    (module,) = re.findall(r"```python\n(\"\"\"Least.*?)```", (root / "docs/own-trainable.md").read_text(), re.DOTALL)
    (tmp_path / "documented_trainable.py").write_text(module)
    sys.path.insert(0, str(tmp_path))
    yield "documented_trainable"
    sys.path.remove(str(tmp_path))
    sys.modules.pop("documented_trainable", None)


def test_surface() -> None:
    check_trainable("surface", {"train": {"steps": 12}}, diverging={"faults.diverge": [0]})


def test_dash() -> None:
    check_trainable("dash", TINY, diverging={"train.lr": 1e30})


@pytest.mark.slow(20)
def test_dash_with_guidance_chosen_by_teacher() -> None:
    evaluate = {**TINY["evaluate"], "guidance": {"choose": [1.0, {"w_max": 2.0}]}, "at_steps": [2]}
    check_trainable("dash", {**TINY, "evaluate": evaluate})


def test_trainable_of_docs(documented: str) -> None:
    check_trainable(documented)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("context.finish(arm, Result", "None and context.finish(arm, Result", "finish is called once for each arm"),
        ('outcome("error", error)', 'outcome("error", float("nan"))', "has a finite value"),
        ('outcome("error", error)', "outcome(3, error)", "metric is declared string and holds 3"),
        ("arm.seed)  # every", "len(arms))  # every", "an arm trains alone as it does in a cohort"),
        ("import random\n", "import random\nimport torch\n", "imports"),
        ("class Spec(Strict):", "class Spec(Strict, extra='ignore'):", "Spec refuses unknown keys"),
        ('"step": step + 1, "steps"', '"step": step + 1, "total"', "steps is missing"),
    ],
)
def test_contract_violations_are_reported(documented: str, tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / f"{documented}.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(AssertionError, match=message):
        check_trainable(documented)


def test_trainable_with_half_a_teacher_is_refused(tmp_path: Path) -> None:
    text = (
        "def run_cohort(arms, context): ...\ndef teacher_key(spec): ...\ndef train_teacher(spec, out, context): ...\n"
    )
    (tmp_path / "half_taught.py").write_text(f"Spec = None\n{text}")
    with pytest.raises(AttributeError, match="has teacher_key and lacks evaluation_key, estimate_teacher, evaluate_te"):
        load_trainable("half_taught", folder=str(tmp_path))
