"""Rows that would be the same arm, components without effect and incomparable values are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import Space, parse_space

HEAD = """\
name: digits
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
"""
X, Y = "design.components.x", "design.components.y"


def space_with(design: str, head: str = HEAD) -> Space:
    return parse_space("space.yaml", f"{head}design: {{{design}}}".encode())


@pytest.mark.parametrize(
    ("components", "expected_texts"),
    [
        ("x: {off: {anchor_weight: 0}}, y: {off: {anchor_weight: 0}}", [X, Y]),
        ("x: {off: {anchor_weight: 0}}, y: {off: {anchor_weight: 0.5}}", [X, Y]),
        ("x: {off: {anchor_weight: 0, train.lr: 0.1}}, y: {off: {anchor_weight: 0, train.ema: 0.5}}", [X, Y]),
        ("x: {off: {anchor_weight: 0}}, y: {off: {method.anchor_weight: 0}}", [X, Y, "method.anchor_weight"]),
        ("x: {off: {anchor_weight: 0, method.anchor_weight: 0}}", [X, "method.anchor_weight"]),
        ("x: {off: {anchor_weight: 0.1}}", [X, "equals the current value"]),
        ("x: {off: {anchor_weight: 0, train.steps: 10}}", [X, "train.steps: 10 equals the current value"]),
        ("x: {off: {multi_guidance: [1.0, 2.0, 4.0]}}", [X, "equals the current value"]),
        ("x: {off: {evaluate.samples: 700}}", ["evaluate.samples: 700", "compared"]),
        ("x: {off: {evaluate.precision: bf16}}", ["evaluate.precision", "compared"]),
        (
            "x: {reference: a, levels: {a: {anchor_weight: 0}, b: {anchor_weight: 0}, own: {anchor_weight: 0.1}}}",
            ["only x", "the same settings"],
        ),
        (
            "x: {reference: none, levels: {none: {anchor_weight: 0}, own: {anchor_weight: 0.1}}}, "
            "y: {off: {method.anchor_weight: 0.5}}",
            [X, Y, "method.anchor_weight"],
        ),
    ],
)
def test_components_that_make_no_factorial(components: str, expected_texts: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        space_with(f"components: {{{components}}}")
    assert all(expected_text in str(refusal.value) for expected_text in expected_texts)


def test_exclusion_of_unknown_component_is_refused() -> None:
    with pytest.raises(UserError, match=r"design\.exclude\[0\]: zz: off is not allowed"):
        space_with("components: {x: {off: {anchor_weight: 0}}}, exclude: [{zz: 'off'}]")


def test_alias_of_current_value_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "any_case.py").write_text(
        "from typing import Annotated\n"
        "from pydantic import AfterValidator, BaseModel\n\n"
        "class Method(BaseModel, extra='forbid', frozen=True):\n"
        "    loss: Annotated[str, AfterValidator(str.lower)] = 'mse'\n\n"
        "class Spec(BaseModel, extra='forbid', frozen=True):\n"
        "    method: Method = Method()\n\n"
        "def run_cohort(arms, context):\n"
        "    raise NotImplementedError\n"
    )
    content = b"name: x\ntrainable: any_case\ndesign: {components: {x: {off: {loss: MSE}}}}"
    with pytest.raises(UserError, match="full and base, which only x should tell apart,"):
        parse_space("space.yaml", content, folder=str(tmp_path))


def test_baseline_that_is_cell_already() -> None:
    with pytest.raises(UserError, match="base and scratch have the same settings"):
        space_with("components: {x: {off: {objective: scratch, curriculum: learned}}}, baselines: [scratch]")


@pytest.mark.parametrize(
    ("knobs", "expected_texts"),
    [
        ("evaluate.samples: {int: [640, 2000]}", ["design.knobs.evaluate.samples", "640", "compared"]),
        ("evaluate.precision: {choice: [fp32, bf16]}", ["design.knobs.evaluate.precision", "compared"]),
        (
            "anchor_weight: {uniform: [0, 1]}, method.anchor_weight: {uniform: [0, 1]}",
            ["design.knobs.method.anchor_weight", "design.knobs.anchor_weight"],
        ),
    ],
)
def test_incomparable_hyperparameters_are_refused(knobs: str, expected_texts: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        space_with(f"kind: search, arms: 4, knobs: {{{knobs}}}")
    assert all(expected_text in str(refusal.value) for expected_text in expected_texts)


def test_disabled_hyperparameter_is_dropped() -> None:
    space = space_with(
        "kind: tuned_factorial, arms: 4, components: {x: {off: {method.anchor_weight: 0}}}, "
        "knobs: {anchor_weight: {uniform: [0, 1]}, train.lr: {uniform: [0.1, 1]}}"
    )
    knobs = {search.cell: list(search.knobs) for search in space.design.searches()}
    assert knobs == {"full": ["anchor_weight", "train.lr"], "base": ["train.lr"]}
