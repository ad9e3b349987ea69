"""`branchwise.ablate` and `branchwise.search` run functions that a session defines, on a real Ray."""

from __future__ import annotations

import os
import random
import re
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from patience import patience

import branchwise as bw

COMPONENTS = {"ema": {"ema": False}, "aug": {"aug": False}}


def make_train(bonus: float) -> Callable[..., dict[str, float]]:
    """A closure, which no worker can import."""

    def train(lr: float = 0.1, ema: bool = True, aug: bool = True, seed: int = 0) -> dict[str, float]:
        """Marker of a pickle."""
        noise = random.Random(f"{seed}{ema}{aug}").random() / 100
        return {"accuracy": 0.7 + bonus * ema + 0.02 * aug + noise - (lr - 0.1) ** 2, "loss": 1.0 - bonus * ema}

    return train


@pytest.mark.slow(40)
def test_closure_is_ablated_in_running_ray(tmp_path: Path, ray_session: None) -> None:
    arguments: dict[str, Any] = {
        "components": COMPONENTS,
        "metric": "accuracy",
        "direction": "maximize",
        "outcomes": {"loss": "minimize"},
        "seeds": 3,
        "claims": ["ema.shapley > 0"],
        "name": "closure",
        "storage": tmp_path,
        "progress": False,
    }
    study = bw.ablate(make_train(0.05), **arguments)
    effects = study.effects.set_index("component")
    assert effects.loc["ema", "effect"] == pytest.approx(5, abs=0.6)
    assert effects.loc["ema", "unit"] == "points"
    assert list(study.claims.verdict) == ["supported"]
    assert len(study.arms) == 12
    assert list(study.cells.cell) == ["base", "ema", "aug", "full"]
    assert "def train(lr: float = 0.1" in study.space
    assert "# bonus = 0.05" in study.space
    pickles = [path for path in study.folder.rglob("*.pkl") if b"Marker of a pickle" in path.read_bytes()]
    assert not pickles
    before = study.arms
    written = {file: file.stat().st_mtime_ns for file in study.folder.rglob("*")}
    pd.testing.assert_frame_equal(bw.ablate(make_train(0.05), **arguments).arms, before)
    assert {file: file.stat().st_mtime_ns for file in study.folder.rglob("*")} == written, "loaded: nothing runs again"
    with pytest.raises(bw.InputError, match="a run with other code"):
        bw.ablate(make_train(0.06), **arguments)
    with pytest.raises(bw.InputError, match=r"other settings: design\.blocks"):
        bw.ablate(make_train(0.05), **arguments | {"seeds": 4})
    assert bw.verify(study.folder).holds.all()
    for wrong, message in (
        ({"add_cell": {"ema": 1}}, "add_cell: .* must be a dict of component and level"),
        ({"add_cell": {"ema": False}}, "aug is a cell of the design already"),
        ({"blocks": 3}, "it has 3 blocks; more are needed"),
        ({"blocks": 4, "claims": "ema.shapley > 0"}, "claims: must be a list"),
        ({"blocks": 4, "function": make_train(0.06)}, "function: its code is not that of the run closure"),
    ):
        with pytest.raises(bw.InputError, match=message):
            study.extend(**wrong, progress=False)
    grown = study.extend(add_component={"rate": {"lr": 0.3}}, claims=["rate.shapley > 0"], progress=False)
    assert grown.arms["reused_from"].eq("closure").sum() == 12
    assert len(grown.arms) == 24
    assert list(grown.claims.verdict) == ["supported"]
    assert grown.effects.set_index("component").p_holm.isna().to_dict() == {"ema": True, "aug": True, "rate": False}
    assert "Decided before the extension" in repr(grown)


@pytest.mark.slow(30)
def test_search_accepts_other_distributions(tmp_path: Path, ray_session: None) -> None:
    import optuna
    from ray import tune

    study = bw.search(
        make_train(0.05),
        hyperparameters={
            "lr": tune.loguniform(0.01, 1.0),
            "ema": optuna.distributions.CategoricalDistribution([True, False]),
        },
        arms=4,
        seeds=2,
        metric="accuracy",
        direction="maximize",
        storage=tmp_path,
        progress=False,
    )
    searched = study.arms[study.arms.kind == "search"]
    assert len(searched) == 4
    assert searched["hp.lr"].between(0.01, 1.0).all()


@pytest.mark.slow(30)
def test_failed_arms_are_rows_and_warning(tmp_path: Path, ray_session: None) -> None:
    def train(ema: bool = True, seed: int = 0) -> dict[str, float]:
        if not ema and seed == 1:
            raise RuntimeError("this seed fails")
        return {"loss": 1.0 + seed / 10 + 0.1 * (not ema)}

    with pytest.warns(UserWarning, match=r"1 of 6 arms have no value.*this seed fails"):
        study = bw.ablate(
            train,
            components={"ema": {"ema": False}},
            metric="loss",
            direction="minimize",
            seeds=3,
            storage=tmp_path,
            progress=False,
        )
    assert list(study.arms.status).count("failed") == 1


SCRIPT = """
    import pathlib, sys, time
    import branchwise as bw

    FOLDER = pathlib.Path(sys.argv[1])

    def train(ema: bool = True, seed: int = 0):
        (FOLDER / f"{ema}-{seed}-{time.time_ns()}").touch()
        time.sleep(0.5)
        return {"loss": 1.0 + seed / 10 + 0.1 * (not ema) + 0.01 * ema * seed}

    study = bw.ablate(train, components={"ema": {"ema": False}}, metric="loss", direction="minimize", seeds=8,
                      name="killed", storage=FOLDER / "results", max_concurrent=1)
    print(study.effects.effect[0])
"""


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, ray_session: None) -> Callable[..., None]:
    """Runs a script as `python SCRIPT ARGUMENTS`, in this process with its Ray."""

    def run(script: Path, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")

    return run


@pytest.mark.slow(60)
def test_interrupted_and_killed_script_resumes_where_it_was(
    root: Path, tmp_path: Path, run_here: Callable[..., None]
) -> None:
    script = tmp_path / "ablation.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": str(root)}
    arms = tmp_path / "results/killed/arms"
    finished: dict[str, bytes] = {}
    for number in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [sys.executable, script, tmp_path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while process.poll() is None and len(list(arms.glob("*.json"))) < len(finished) + 3:
            time.sleep(0.1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=patience(120))
        if number == signal.SIGINT:
            assert "KeyboardInterrupt: killed was interrupted" in output
        before, finished = finished, {path.name: path.read_bytes() for path in arms.glob("*.json")}
        assert len(before) + 3 <= len(finished) < 16, output
        assert {name: finished[name] for name in before} == before
    run_here(script, tmp_path)
    assert {name: (arms / name).read_bytes() for name in finished} == finished
    assert len(list(arms.glob("*.json"))) == 16


@pytest.mark.slow(15)
def test_python_of_readme_runs(
    root: Path,
    tmp_path: Path,
    run_here: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), flags=re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    monkeypatch.chdir(tmp_path)
    run_here(script)
    assert "points" in capsys.readouterr().out
    assert (tmp_path / "results/ema/report/index.html").is_file()
