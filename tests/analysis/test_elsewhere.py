"""Runs of other programs: the same numbers as a sweep's, each kind of source, and what is noted or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import pytest

from branchwise.analysis.__main__ import main
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.importers.sources import read_runs
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.statistics.findings import analyze_part

OPTIONS = ImportOptions(components=["ema", "aug"], block="seed", value="accuracy", direction="maximize")


def table(seeds: int = 6) -> pd.DataFrame:
    """24 runs of four cells; augmentation has a larger effect than averaging."""
    draw, rows = np.random.default_rng(0), []
    for seed in range(40, 40 + seeds):
        block = draw.normal(0, 0.1)
        for ema in (0, 1):
            for aug in ("none", "flip"):
                logit = 1.2 + 0.3 * ema + 0.5 * (aug == "flip") + block + draw.normal(0, 0.05)
                rows.append({"ema": ema, "aug": aug, "seed": seed, "accuracy": 1 / (1 + np.exp(-logit))})
    return pd.DataFrame(rows)


def findings(runs: Any, tmp_path: Path, **changes: Any) -> Any:
    requested = ImportOptions(**{**{name: getattr(OPTIONS, name) for name in OPTIONS.__dataclass_fields__}, **changes})
    return analyze_part(load_run(run_from_table(runs, requested, tmp_path / "made")))


def test_numbers_match_those_of_equal_sweep(root: Path, tmp_path: Path) -> None:
    run = load_run(root / "tests/data/runs/ablation")
    arms = run.arms[run.arms["kind"] == "cell"]
    columns = {f"component.{name}": name for name in run.components}
    exported = arms.rename(columns=columns)[[*columns.values(), "seed", "value"]]
    exported.to_csv(tmp_path / "runs.csv", index=False)
    result = findings(tmp_path / "runs.csv", tmp_path, components=run.components, value="value", direction="minimize")
    swept = analyze_part(run)
    assert result.run.components == swept.run.components
    for actual, reference in zip(result.headline.rows, swept.headline.rows, strict=True):
        for quantity in ("shapley", "main_effect", "leave_one_out", "add_one_in"):
            first, other = getattr(actual, quantity), getattr(reference, quantity)
            assert (first.value, first.low, first.high, first.p) == (other.value, other.low, other.high, other.p)
    planned = {row.cell: (row.n, row.mean, row.sd) for row in swept.cells if row.cell in run.outline.planned}
    assert {row.cell: (row.n, row.mean, row.sd) for row in result.cells} == planned


def test_csv_to_table_by_single_command(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "runs.csv", index=False)
    command = ["runs.csv", "--components", "ema,aug", "--value", "accuracy", "--direction", "maximize"]
    code = (
        "import sys; from branchwise.analysis.__main__ import main; code = main(sys.argv[1:]); "
        "assert not {'ray', 'torch', 'optuna', 'mlflow'} & set(sys.modules); sys.exit(code)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *command, "--claim", "aug.share > 0.5"],
        cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "aug: raises accuracy by " in process.stdout
    assert "Claims written after the runs" in process.stdout
    assert "they are exploratory" in process.stdout
    report = json.loads((tmp_path / "runs-ablation/report/ablation.json").read_text())
    assert report["claims_edited"] is True
    assert main([str(tmp_path / "runs-ablation")]) == 0, "it is a run folder like any other"


def test_levels_and_doses(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = [
        {"decay": decay, "act": act, "seed": seed, "loss": 2.0 - decay + (act == "relu") * 0.1 + draw.normal(0, 0.01)}
        for seed in range(4)
        for decay in (0.3, 0.0, 0.1)
        for act in ("gelu", "relu")
    ]
    requested = {"components": ["decay", "act"], "value": "loss", "direction": "minimize", "reference": {"act": "relu"}}
    result = findings(pd.DataFrame(rows), tmp_path, **requested)
    decay, act = result.run.grid.factors
    assert (decay.levels, decay.reference, decay.full, decay.doses) == (
        ("0", "0.1", "0.3"),
        "0",
        "0.3",
        (0.0, 0.1, 0.3),
    )
    assert (act.reference, act.full) == ("relu", "gelu")
    assert [row.component for row in result.headline.rows] == ["decay", "act"]


WANDB = [
    {
        "name": f"run-{i}", "state": "finished", "summary": {"accuracy": row.accuracy, "_step": 9},
        "config": {"ema": {"value": bool(row.ema)}, "data": {"value": {"aug": row.aug}}, "seed": {"value": row.seed}},
    }
    for i, row in enumerate(table().itertuples())
]  # fmt: skip


def wandb_json(folder: Path) -> str:
    """Runs as returned by the API of W&B, with each setting wrapped as in its files."""
    (folder / "runs.json").write_text(json.dumps(WANDB))
    return str(folder / "runs.json")


def wandb_csv(folder: Path) -> str:
    """As W&B's page exports a table."""
    rows = table().assign(Name="run", State="finished", Runtime=np.arange(24) * 7)
    rows.to_csv(folder / "wandb.csv", index=False)
    return str(folder / "wandb.csv")


def parquet(folder: Path) -> str:
    table().to_parquet(folder / "runs.parquet")
    return str(folder / "runs.parquet")


def _log_to_mlflow(uri: str) -> None:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("ablation")
    for row in table().to_dict("records"):
        run = client.create_run(experiment).info.run_id
        for name in ("ema", "aug", "seed"):
            client.log_param(run, name, row[name])
        client.log_metric(run, "accuracy", 0.1, step=0)
        client.log_metric(run, "accuracy", row["accuracy"], step=1)
        client.set_terminated(run)


def mlflow_database(folder: Path) -> str:
    _log_to_mlflow(f"sqlite:///{folder}/mlflow.db")
    return str(folder / "mlflow.db")


def mlflow_folder(folder: Path) -> str:
    _log_to_mlflow((folder / "mlruns").as_uri())
    return str(folder / "mlruns")


def optuna_storage(folder: Path) -> str:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", direction="maximize")
    space = {
        "ema": optuna.distributions.CategoricalDistribution([0, 1]),
        "aug": optuna.distributions.CategoricalDistribution(["none", "flip"]),
        "seed": optuna.distributions.IntDistribution(0, 100),
    }
    for row in table().to_dict("records"):
        params = {name: row[name] for name in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=row["accuracy"]))
    return str(folder / "study.db")


def ray_tune(folder: Path) -> str:
    """As Ray Tune 2.60 leaves its trials."""
    for i, row in enumerate(table().itertuples()):
        trial = folder / f"tuned/train_{i:05d}"
        trial.mkdir(parents=True)
        (trial / "params.json").write_text(json.dumps({"ema": row.ema, "aug": row.aug, "seed": row.seed}))
        results = [{"accuracy": 0.1, "training_iteration": 1}, {"accuracy": row.accuracy, "training_iteration": 2}]
        (trial / "result.json").write_text("".join(json.dumps(result) + "\n" for result in results))
    return str(folder / "tuned")


SOURCES = [wandb_json, wandb_csv, parquet, mlflow_folder, mlflow_database, optuna_storage, ray_tune]


@pytest.mark.parametrize("source", SOURCES)
def test_sources_give_equal_numbers(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # new runs belong into a database, but old ones are in folders
    value = "value" if source is optuna_storage else "accuracy"
    result = findings(source(tmp_path), tmp_path, value=value)
    expected = findings(table(), tmp_path / "plain")
    for actual, reference in zip(result.headline.rows, expected.headline.rows, strict=True):
        assert actual.shapley.value == pytest.approx(reference.shapley.value, rel=1e-9)
        assert actual.shapley.low == pytest.approx(reference.shapley.low, rel=1e-9)
    assert not [note for note in result.notes if "no component" in note]


def test_what_reader_must_know_is_noted(tmp_path: Path) -> None:
    runs = table()
    runs["lr"] = np.where(runs["ema"] == 1, 0.1, 0.2)
    runs["workers"] = np.arange(24) // 2 % 3
    runs["state"] = "finished"
    runs.loc[3, "state"] = "crashed"
    runs.loc[5, "accuracy"] = np.nan
    result = findings(runs.drop(index=[8]), tmp_path)
    message = "\n".join(result.notes)
    assert "lr is no component and differs along with the cells, so their effects are its effects as well" in message
    assert "workers is no component and differs between runs of one cell" in message
    assert "Planned arms without a row yet (1): base-b2" in message
    assert "2 arms failed" in message
    errors = result.run.arms.set_index("arm")["error"].dropna().to_dict()
    assert errors == {"full-b0": "it ended as crashed", "aug-b1": "it has no accuracy"}


@pytest.mark.parametrize(
    ("change", "requested", "texts"),
    [
        ({}, {"direction": ""}, "the direction is missing; say --direction maximize or minimize"),
        ({}, {"components": []}, "these differ between runs: ema (0, 1); aug (none, flip)"),
        ({}, {"components": ["emma"]}, "has no column emma; there are ema, aug, seed, accuracy"),
        ({}, {"value": "acc"}, "has no column acc"),
        ({}, {"components": ["ema", "seed"]}, "components, block and value must be different columns"),
        ({"aug": "flip"}, {}, "aug is flip in every run that has a result; a component needs two values"),
        ({"seed": 1}, {"components": ["ema", "aug"]}, "an interval takes at least two blocks"),
        ({"seed": range(24)}, {}, "no seed is shared by two cells"),
        ({"seed": ""}, {}, "run 1: seed is empty"),
        ({"accuracy": "high"}, {}, "run 1: accuracy is 'high'; it must be a number"),
        ({"accuracy": np.inf}, {}, "no run has a finite accuracy: accuracy is inf"),
        ({"aug": ["flip", "crop"] * 12}, {}, "Say --reference aug=flip"),
        ({}, {"reference": {"aug": "crop"}}, "--reference aug=crop: aug must be one of none, flip"),
        ({}, {"claims": ["aug.sharp > 0"]}, "--claim: "),
    ],
)  # fmt: skip
def test_what_is_no_ablation_is_refused(change: Any, requested: Any, texts: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError) as refused:
        findings(table().assign(**change), tmp_path, **requested)
    assert texts in str(refused.value)
    assert not (tmp_path / "made").exists()
    assert not list(tmp_path.glob(".*"))


def test_doubled_runs_are_named(tmp_path: Path) -> None:
    runs = table().assign(commit=["a"] * 24)
    runs = pd.concat([runs, runs.iloc[[2]].assign(commit="b")])
    with pytest.raises(
        RunFolderError, match=r"runs 3 and 25 are the same cell and block \(ema-b0\), they differ in commit"
    ):
        findings(runs, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("runs.csv", b"", "is empty"),
        ("runs.csv", b"ema,seed\n", "no runs"),
        ("runs.csv", b"\xff\xfe", "is empty"),
        ("runs.csv", b"a,b\n1,2\n1,2,3\n", "run 2: it has 3 fields, and the header names 2"),
        ("runs.json", b"{", "line 1: is not JSON"),
        ("runs.json", b"3", "is not a list of runs"),
        ("runs.xlsx", b"x", "unknown kind of file; runs are read from"),
        ("runs.parquet", b"PAR1", "cannot be read"),
        ("runs.db", b"SQLite?", "unknown kind of file"),
        ("runs.db", b"SQLite format 3\x00", "cannot be read"),
    ],
)
def test_file_that_cannot_be_read(name: str, content: bytes, texts: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=texts):
        read_runs(str(tmp_path / name))


def test_bad_input_exits_with_2_without_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs.csv"
    table().to_csv(file, index=False)
    given = [str(file), "--value", "accuracy", "--direction", "maximize"]
    for arguments, texts in (
        ([str(file)], "say --components, --block, --value and --direction"),
        (given, "these differ between runs: ema (0, 1); aug (none, flip)"),
        ([*given, "--components", "ema", "--reference", "ema"], "write COMPONENT=VALUE"),
        ([*given, "--components", "ema,aug", "--out", str(tmp_path)], "exists and is not a run folder"),
        ([str(tmp_path / "none.csv"), *given[1:], "--components", "ema"], "no such file or folder; runs are read from"),
    ):
        assert main(arguments) == 2
        output = capsys.readouterr().err
        assert texts in output
        assert output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]
