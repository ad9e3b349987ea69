"""The names of `import branchwise`: cheap to import, strict with arguments, and readers of other libraries' objects."""

from __future__ import annotations

import doctest
import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import branchwise as bw
from branchwise.api.hyperparameters import hyperparameter_trees
from branchwise.trainables.runtime.session import source_text

HEAVY = {"ray", "torch", "matplotlib", "pandas", "optuna", "numpy", "scipy"}
ACCURACY: dict[str, Any] = {"metric": "accuracy", "direction": "maximize"}


def train(lr: float = 0.1, ema: bool = True, seed: int = 0) -> dict[str, float]:
    return {"accuracy": 0.5 + lr * ema / 10 + seed / 100}


def runs() -> pd.DataFrame:
    """Two components on five seeds, with noise: a row per run."""
    generator = np.random.default_rng(0)
    rows = [
        {"ema": ema, "aug": aug, "seed": seed, "acc": 0.6 + 0.05 * ema + 0.02 * aug + 0.002 * generator.normal()}
        for ema, aug, seed in itertools.product([False, True], [False, True], range(5))
    ]
    return pd.DataFrame(rows)


ANALYZE: dict[str, Any] = {"components": ["ema", "aug"], "value": "acc", "direction": "maximize"}


def test_import_loads_no_heavy_library() -> None:
    command = "import sys, branchwise; print(sorted(m for m in sys.modules if '.' not in m))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not HEAVY & set(eval(result.stdout))


def test_public_names_are_documented(root: Path) -> None:
    page = (root / "docs/api.md").read_text()
    for name in bw.__all__:
        assert getattr(bw, name).__doc__
        assert f"branchwise.{name}" in page
    with pytest.raises(AttributeError, match="has no attribute 'ablat'"):
        bw.ablat  # noqa: B018


@pytest.mark.parametrize("module", ["hyperparameters", "tables", "study"])
def test_examples_of_docstrings_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"branchwise.api.{module}"))
    assert results.failed == 0


def test_plan_has_no_side_effects(tmp_path: Path) -> None:
    preview = bw.plan(train, components={"ema": {"ema": False}}, **ACCURACY, seeds=4, storage=tmp_path / "runs")
    assert len(preview.arms) == 8
    assert "8 = (2 cells) x 4 blocks" in repr(preview)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": {"ema": False}}, "components: ema: must be a dict"),
        ({"components": {"emma": {"emma": False}}}, "emma"),
        ({"components": {"ema": {"ema": True}}}, "equals the current value"),
        ({"direction": "up"}, "direction"),
        ({"claims": "ema.shapley > 0"}, "claims: must be a list"),
        ({"claims": ["ema.worth > 0"]}, r"claims\[0\]"),
        ({"settings": {"momentum": 0.9}}, "momentum"),
        ({"settings": {"lr": object()}}, "must be a number"),
        ({"name": "No Name"}, "name"),
        ({"seeds": 1.5}, "blocks"),
    ],
)
def test_bad_arguments_are_input_errors(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"components": {"ema": {"ema": False}}, **ACCURACY, "storage": tmp_path / "runs"}
    with pytest.raises(bw.InputError, match=message):
        bw.plan(train, **arguments | changes)
    with pytest.raises(bw.InputError, match=message):
        bw.ablate(train, **arguments | changes)
    assert not (tmp_path / "runs").exists()


def test_numpy_values_are_settings(tmp_path: Path) -> None:
    preview = bw.plan(
        train, components={"ema": {"ema": np.bool_(False)}}, settings={"lr": np.float64(0.2)}, **ACCURACY,
        storage=tmp_path,
    )  # fmt: skip
    assert "lr: 0.2" in preview.space


def test_function_of_module_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymethod.py").write_text("def fit(ema: bool = True, seed: int = 0):\n    return {'loss': 1.0}\n")
    monkeypatch.syspath_prepend(tmp_path)
    fit = importlib.import_module("mymethod").fit
    preview = bw.plan(fit, components={"ema": {"ema": False}}, metric="loss", direction="minimize", storage=tmp_path)
    assert "trainable: mymethod:fit" in preview.space
    assert "source: ''" in preview.space


def test_source_follows_what_function_uses() -> None:
    width = 3

    def helper(x: float) -> float:
        return x * width

    def first() -> float:
        return helper(1.0)

    text = source_text(first)
    assert "return x * width" in text
    assert "# width = 3" in text
    width = 4
    assert source_text(first) != text


def test_hyperparameters_of_optuna_and_ray_keep_their_bounds() -> None:
    from optuna.distributions import FloatDistribution, IntDistribution
    from ray import tune

    trees = hyperparameter_trees(
        {
            "a": bw.loguniform(1e-4, 0.1),
            "b": FloatDistribution(0.0, 1.0),
            "c": IntDistribution(1, 8),
            "d": tune.uniform(0.0, 0.5),
            "e": tune.randint(1, 9),
            "f": tune.choice(["sgd", "adam"]),
            "g": tune.lograndint(1, 65),
            "h": tune.quniform(0.0, 1.0, 0.25),
        }
    )
    assert trees == {
        "a": {"log_uniform": [1e-4, 0.1]},
        "b": {"uniform": [0.0, 1.0]},
        "c": {"int": [1, 8]},
        "d": {"uniform": [0.0, 0.5]},
        "e": {"int": [1, 8]},
        "f": {"choice": ["sgd", "adam"]},
        "g": {"log_int": [1, 64]},
        "h": {"uniform": [0.0, 1.0], "step": 0.25},
    }
    with pytest.raises(bw.InputError, match=r"hyperparameters: x: .*not supported"):
        hyperparameter_trees({"x": tune.randn(0, 1)})


def test_pandas_polars_and_csv_give_equal_effects(tmp_path: Path) -> None:
    import polars

    table = runs()
    table.to_csv(tmp_path / "runs.csv", index=False)
    expected = bw.analyze(table, **ANALYZE).effects
    by_hand = table.pivot_table(index="seed", columns=["ema", "aug"], values="acc")
    ema = (by_hand[True] - by_hand[False]).to_numpy().mean(axis=1).mean()
    assert expected.effect[0] == pytest.approx(100 * ema, rel=1e-9)
    for source in (polars.DataFrame(table.to_dict("list")), tmp_path / "runs.csv"):
        pd.testing.assert_frame_equal(bw.analyze(source, **ANALYZE).effects, expected)


def test_optuna_study_is_analysed() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for row in runs().to_dict("records"):
        distributions: dict[str, optuna.distributions.BaseDistribution] = {
            "ema": optuna.distributions.CategoricalDistribution([False, True]),
            "aug": optuna.distributions.CategoricalDistribution([False, True]),
            "seed": optuna.distributions.CategoricalDistribution(range(5)),
        }
        parameters = {name: row[name] for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=row["acc"]))
    expected = bw.analyze(runs(), **ANALYZE).effects
    pd.testing.assert_frame_equal(bw.analyze(study, **ANALYZE | {"value": "value"}).effects, expected)


def test_mlflow_experiment_is_analysed(tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("ablation")
    for row in runs().to_dict("records"):
        with mlflow.start_run():
            mlflow.log_params({name: row[name] for name in ("ema", "aug", "seed")})
            mlflow.log_param("acc", 7)
            mlflow.log_metric("acc", row["acc"], step=5)
    expected = bw.analyze(runs(), **ANALYZE).effects.drop(columns="unit")
    result = bw.analyze(mlflow.get_experiment_by_name("ablation"), **ANALYZE).effects.drop(columns="unit")
    pd.testing.assert_frame_equal(result, expected)
    with pytest.raises(bw.InputError, match=r"no value at step 4 in 20 runs: .*the last step that all have is 5"):
        bw.analyze(mlflow.get_experiment_by_name("ablation"), **ANALYZE, at=4)


def test_ray_results_are_analysed(tmp_path: Path) -> None:
    """Two of the trials fail, and leave before anything is compared."""
    import ray
    from ray import tune

    table = runs().to_dict("records")

    def trainable(config: dict[str, Any]) -> None:
        if config["seed"] == 5:
            raise RuntimeError("this trial fails")
        key = (config["ema"], config["aug"], config["seed"])
        acc = next(row["acc"] for row in table if (row["ema"], row["aug"], row["seed"]) == key)
        tune.report({"acc": acc, "state": 1.0})

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        grid = {name: tune.grid_search([False, True]) for name in ("ema", "aug")}
        results = tune.Tuner(
            trainable,
            param_space=grid | {"seed": tune.grid_search(list(range(6)))},
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    expected = bw.analyze(runs(), **ANALYZE).effects
    pd.testing.assert_frame_equal(bw.analyze(results, **ANALYZE).effects, expected)
    for written in Path(results.experiment_path).rglob("params.json"):
        written.unlink()  # as where TUNE_DISABLE_AUTO_CALLBACK_LOGGERS is set
    pd.testing.assert_frame_equal(bw.analyze(results, **ANALYZE).effects, expected)


def test_wandb_runs_are_analysed() -> None:
    from types import SimpleNamespace

    from wandb.apis.public.summary import HTTPSummary

    # The server of wandb.Api is not available on this machine; its runs have these attributes.
    listed = [
        SimpleNamespace(
            id=str(number),
            name=f"run-{number}",
            state="finished",
            config={"ema": row["ema"], "aug": row["aug"], "seed": row["seed"], "acc": 7, "_wandb": {}},
            summary=HTTPSummary(SimpleNamespace(dir="."), None, summary={"acc": row["acc"], "_wandb": {"runtime": 1}}),
            scan_history=lambda keys, acc=row["acc"]: [{"_step": 3, "acc": acc}, {"_step": 2, "acc": 0.99}],
        )
        for number, row in enumerate(runs().to_dict("records"))
    ]
    crashed = SimpleNamespace(
        id="x", name="x", state="crashed", config={"ema": True, "aug": True, "seed": 0}, summary={"acc": 0.1}
    )
    expected = bw.analyze(runs(), **ANALYZE).effects
    pd.testing.assert_frame_equal(bw.analyze([*listed, crashed], **ANALYZE).effects, expected)
    pd.testing.assert_frame_equal(bw.analyze(listed, **ANALYZE, at=3).effects, expected)
    with pytest.raises(bw.InputError, match="no value at step 4 in 20 runs"):
        bw.analyze(listed, **ANALYZE, at=4)


def test_unknown_objects_are_refused() -> None:
    with pytest.raises(bw.InputError, match="runs: dict is not supported"):
        bw.analyze({"ema": [True]}, **ANALYZE)
    with pytest.raises(bw.InputError, match="components: must be a list"):
        bw.analyze(runs(), **ANALYZE | {"components": "ema"})


def test_study_shows_text_html_and_figures() -> None:
    study = bw.analyze(runs(), **ANALYZE, claims=["ema.shapley > 0"])
    assert "ema" in repr(study)
    assert "<svg" in study._repr_html_()
    assert study.plot("effects").axes
    assert list(study.claims.claim) == ["ema.shapley > 0"]
    with pytest.raises(bw.InputError, match="must be one of effects, claims"):
        study.plot("pie")


def test_load_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(bw.InputError, match="is not a run folder"):
        bw.load(tmp_path)
