"""A function is trainable: its settings, what it is given, and what it returns."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from branchwise.trainables import Arm, Context, Result, load_trainable
from branchwise.trainables.testing import check_trainable

OPTIONS = {"function": {"metric": "accuracy", "direction": "maximize"}}
MODEL = """
    import random
    from pydantic import BaseModel

    class Settings(BaseModel):
        lr: float = 1e-3
        ema: bool = True

    def train(settings: Settings, seed: int, report) -> dict:
        for step in range(1, 5):
            report(step, steps=4, accuracy=0.1 * step, loss=1 / step)
        noise = random.Random(seed).gauss(0, 0.01)
        return {"accuracy": 0.7 + settings.lr + 0.1 * settings.ema + noise if settings.lr < 1 else float("nan")}
"""
KEYWORDS = """
    from __future__ import annotations

    def train(seed: int, lr: float = 1e-3, ema: bool = True, sizes: tuple[int, ...] = (1, 2)):
        return {"accuracy": 0.7 + lr + 0.1 * ema}
"""
DATACLASS = """
    from dataclasses import dataclass, field

    @dataclass
    class Optimizer:
        lr: float = 1e-3

    @dataclass
    class Settings:
        ema: bool = True
        optimizer: Optimizer = field(default_factory=Optimizer)

    def train(settings: Settings, seed):
        return {"accuracy": 0.7 + settings.optimizer.lr + 0.1 * settings.ema}
"""
numbers = itertools.count()
Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path) -> Module:
    """Writes a module next to the space and returns the name of its function `train`."""

    def write(text: str) -> str:
        name = f"my_function_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return f"{name}:train"

    return write


def run(name: str, folder: Path, settings: dict[str, Any], **given: Any) -> Result:
    results: dict[str, Result] = {}
    trainable = load_trainable(name, settings, str(folder))
    scratch = folder / f"scratch-{next(numbers)}"
    scratch.mkdir()
    context = Context(
        rank=0,
        world_size=1,
        device="cpu",
        threads=1,
        scratch=scratch,
        teacher=None,
        report=lambda progress: None,
        save=lambda content: None,
        load=lambda: None,
        finish=lambda arm, result, model: results.update({arm.name: result}),
        **given,
    )
    trainable.run_cohort([Arm(name="arm", seed=3, spec=trainable.Spec.model_validate(settings))], context)
    return results["arm"]


@pytest.mark.parametrize("text", [MODEL, KEYWORDS, DATACLASS], ids=["pydantic", "keywords", "dataclass"])
def test_it_keeps_contract(text: str, module: Module, tmp_path: Path) -> None:
    check_trainable(module(text), OPTIONS, diverging={"lr": 5.0} if text == MODEL else None, folder=str(tmp_path))


def test_settings_are_those_of_function(module: Module, tmp_path: Path) -> None:
    name = module(KEYWORDS)
    assert run(name, tmp_path, {**OPTIONS, "settings": {"lr": 0.1, "ema": False}}).values["value"] == 0.7 + 0.1
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        run(name, tmp_path, {**OPTIONS, "settings": {"learning_rate": 0.1}})
    name = module(DATACLASS)
    assert run(name, tmp_path, {**OPTIONS, "settings": {"optimizer": {"lr": 0.1}}}).values["value"] == 0.7 + 0.1 + 0.1


def test_reports_become_curves_and_meet_rungs(module: Module, tmp_path: Path) -> None:
    name = module(MODEL)
    done = run(name, tmp_path, OPTIONS)
    assert done.tables["curves"][1] == {"accuracy": 0.2, "loss": 0.5, "step": 2}
    stopped = run(name, tmp_path, OPTIONS, rungs=(2,), should_continue=lambda arm, step, value: value <= -0.5)
    assert (stopped.status, stopped.values["rung_value"], stopped.values["steps"]) == ("stopped", 0.2, 2)


def test_function_that_ignores_stop_is_stopped(module: Module, tmp_path: Path) -> None:
    name = module("""
        def train(seed, report):
            try:
                report(1, accuracy=0.1)
            except Exception:
                pass
            return {"accuracy": 0.9}
    """)
    assert run(name, tmp_path, OPTIONS, rungs=(1,), should_continue=lambda arm, step, value: False).status == "stopped"


def test_numbers_of_numpy_and_torch_are_numbers(module: Module, tmp_path: Path) -> None:
    name = module("""
        import numpy as np

        def train(seed):
            return {"accuracy": np.float32(0.5), "steps_taken": np.int64(7)}
    """)
    options = {"function": {**OPTIONS["function"], "outcomes": {"steps_taken": {"direction": "minimize"}}}}
    values = run(name, tmp_path, options).values
    assert (values["value"], values["steps_taken"]) == (0.5, 7.0)


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ("None", "returned None; it must return a dict with 'accuracy'"),
        ("{'loss': 1.0}", "returned no 'accuracy'; it returned loss"),
        ("{'accuracy': 'high'}", "accuracy is 'high', which is not a number"),
        ("{'accuracy': 93.1}", "accuracy is 93.1, which is not in its range"),
    ],
)
def test_what_is_returned_is_checked(returned: str, error: str, module: Module, tmp_path: Path) -> None:
    options = {"function": {**OPTIONS["function"], "range": [0.0, 1.0]}}
    result = run(module(f"def train(seed):\n        return {returned}".replace("        ", "    ")), tmp_path, options)
    assert result.status == "failed"
    assert error in result.error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def train(seed, lr): ...", "parameter lr has no default"),
        ("def train(settings, seed): ...", "`settings` must be annotated with a pydantic model or a dataclass"),
    ],
)
def test_parameters_that_cannot_be_filled_are_refused(text: str, error: str, module: Module, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=error):
        load_trainable(module(text), OPTIONS, str(tmp_path))


def test_missing_module_names_search_path(module: Module, tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"no module 'no_such_module' in {tmp_path} or PYTHONPATH"):
        load_trainable("no_such_module:train", OPTIONS, str(tmp_path))
    with pytest.raises(AttributeError, match="has no function 'test'"):
        load_trainable(module(MODEL).replace(":train", ":test"), OPTIONS, str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_import"):
        load_trainable(module("import no_such_import"), OPTIONS, str(tmp_path))
