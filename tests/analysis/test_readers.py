"""Each reader returns exactly what the writer's package wrote, and does not modify the source."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_tables import columns, digest

from branchwise.analysis.importers.run_table import from_frame
from branchwise.analysis.importers.sources import READERS, read_runs
from branchwise.analysis.records.damage import RunFolderError

IN_FOLDER = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).map(str.strip)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def numbers(texts: list[str]) -> list[float]:
    return [float(text) if text else math.nan for text in texts]


@IN_FOLDER
@given(
    rows=st.lists(st.tuples(CELL, CELL, FLOATS), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_csv_reads_back(rows: Any, delimiter: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    with file.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["opt, kind", "note", "loss"])
        writer.writerows((f"x{first}", second, repr(loss)) for first, second, loss in rows)
    result = columns(read_runs(str(file)))
    assert result["opt, kind"] == [f"x{first}" for first, _, _ in rows]
    assert result["note"] == [second for _, second, _ in rows]
    assert result["loss"] == [repr(loss) for _, _, loss in rows]


@IN_FOLDER
@given(
    rows=st.lists(st.tuples(st.integers(), FLOATS, st.booleans(), CELL), min_size=1, max_size=5), lines=st.booleans()
)
def test_json_reads_back(rows: Any, lines: bool, tmp_path: Path) -> None:
    records = [{"seed": seed, "loss": loss, "ema": ema, "note": note} for seed, loss, ema, note in rows]
    file = tmp_path / ("runs.jsonl" if lines else "runs.json")
    file.write_text("\n".join(map(json.dumps, records)) if lines else json.dumps(records))
    result = columns(read_runs(str(file)))
    assert result["seed"] == [str(seed) for seed, *_ in rows]
    assert [x.hex() for x in numbers(result["loss"])] == [float(loss).hex() for _, loss, _, _ in rows]
    assert result["ema"] == [str(ema) for *_, ema, _ in rows]
    assert result["note"] == [note for *_, note in rows]


FRAME = pd.DataFrame(
    {
        "ema": pd.array([True, None, False], dtype="boolean"),
        "seed": pd.array([2**53 + 1, None, 2**63 - 1], dtype="Int64"),
        "big": np.array([2**64 - 1, 0, 1], dtype="uint64"),
        "loss": [0.1 + 0.2, math.nan, 1e-308],
        "single": np.array([0.1, 1e30, 7], dtype="float32"),
        "opt": pd.Categorical(["sgd", None, "adam"]),
        "hidden": [[64, 128], None, []],
        "version": ["1.10", "1.1", ""],
    }
)


@pytest.mark.parametrize("write", [None, "to_parquet"])
def test_pandas_types_read_back(write: str | None, tmp_path: Path) -> None:
    file = tmp_path / "runs.parquet"
    indexed = FRAME.set_index(["version", "seed"])
    if write:
        indexed.to_parquet(file)
    result = columns(read_runs(str(file)) if write else from_frame(indexed))
    assert [text.title() for text in result["ema"]] == ["True", "", "False"]
    assert result["seed"] == [str(2**53 + 1), "", str(2**63 - 1)]
    assert result["big"] == [str(2**64 - 1), "0", "1"]
    assert numbers(result["loss"])[::2] == [0.1 + 0.2, 1e-308]
    assert result["loss"][1] == ""
    assert list(np.array(result["single"], dtype="float32")) == list(FRAME["single"])
    assert result["opt"] == ["sgd", "", "adam"]
    assert result["hidden"] == ["[64, 128]", "", "[]"]
    assert result["version"] == ["1.10", "1.1", ""]


def log_to_mlflow(uri: str) -> mlflow.MlflowClient:
    """Runs with each kind of metric and end, in an experiment; one run and another experiment are deleted."""
    client, draw = mlflow.MlflowClient(tracking_uri=uri), np.random.default_rng(0)
    for name in ("kept", "deleted"):
        experiment = client.create_experiment(name)
        parent = client.create_run(experiment, run_name="parent").info.run_id
        for i, end in enumerate(("FINISHED", "FAILED", "KILLED", None, "FINISHED")):
            run = client.create_run(experiment, tags={"mlflow.parentRunId": parent, "note": f"n{i}"}).info.run_id
            client.log_param(run, "model/lr", "1.10")
            client.log_param(run, "seed", 2**60 + i)
            for step in draw.permutation(4):  # written out of order
                special = (math.nan, math.inf, -math.inf, draw.normal(), 1e-300)[i]
                client.log_metric(run, "val/loss", special if step == 3 else draw.normal(), step=int(step))
            if end:
                client.set_terminated(run, end)
        client.delete_run(run)
    client.delete_experiment(experiment)
    return client


def exactly(loss: float | None) -> str:
    """A loss bit for bit; the database keeps infinity as the largest number."""
    if loss is None or math.isnan(loss) or abs(loss) < 1e308:
        return "" if loss is None else float(loss).hex()
    return str(math.copysign(math.inf, loss))


def through_client(client: mlflow.MlflowClient) -> dict[str, tuple[str, str, str]]:
    """By run: its state, its settings and its last loss as MLflow returns them."""
    results = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            loss = run.data.metrics.get("val/loss")
            results[run.info.run_id] = (run.info.status, run.data.params.get("seed", ""), exactly(loss))
    return results


@pytest.mark.parametrize("kind", ["database", "folder"])
def test_mlflow_reads_back(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    path = tmp_path / "in" / ("mlflow.db" if kind == "database" else "mlruns")
    path.parent.mkdir()
    client = log_to_mlflow(f"sqlite:///{path}" if kind == "database" else path.as_uri())
    before = digest(path)
    runs = read_runs(str(path))
    assert digest(path) == before
    result = columns(runs)
    read = {}
    for i, run in enumerate(result["run_id"]):
        loss = result["val/loss"][i]
        read[run] = (result["state"][i].upper(), result["config.seed"][i], exactly(float(loss) if loss else None))
    assert read == through_client(client)
    assert runs.history
    points = runs.history.points("val/loss")
    for i, run in enumerate(result["run_id"]):
        logged = sorted((item.step, exactly(item.value)) for item in client.get_metric_history(run, "val/loss"))
        local = zip(points.steps[points.rows == i].tolist(), points.values[points.rows == i].tolist(), strict=True)
        assert [(int(step), exactly(value)) for step, value in local] == logged
    assert set(result["config.model/lr"]) == {"", "1.10"}
    assert set(result["experiment"]) == {"kept"}
    assert runs.kinds["val/loss"] == "metric"
    assert runs.kinds["config.seed"] == "setting"


def study_of(storage: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name="first", direction="maximize")
    optuna.create_study(storage=storage, study_name="second")

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("seed", 2**60 + trial.number)
        trial.suggest_categorical("wd", [None, 0.1, "1.10"])
        trial.suggest_float("lr", 1e-5, 1, log=True)
        depth = trial.suggest_int("depth", 1, 9)
        trial.report(0.3, 1)
        if trial.number % 4 == 1:
            raise optuna.TrialPruned
        if trial.number % 4 == 2:
            raise RuntimeError
        return math.inf if trial.number == 4 else depth / 7

    study.optimize(objective, n_trials=9, catch=(RuntimeError,))
    study.ask()
    study.enqueue_trial({"depth": 3})
    return study


@pytest.mark.parametrize("kind", ["database", "journal"])
def test_optuna_reads_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / ("study.db" if kind == "database" else "study.log")
    path.parent.mkdir()
    backend = optuna.storages.journal.JournalFileBackend
    storage = f"sqlite:///{path}" if kind == "database" else optuna.storages.JournalStorage(backend(str(path)))
    study = study_of(storage)
    before = digest(path)
    result = columns(read_runs(str(path)))
    assert digest(path) == before
    assert result["trial"] == [str(trial.number) for trial in study.trials]
    assert result["state"] == [trial.state.name.lower() for trial in study.trials]
    for i, trial in enumerate(study.trials):
        assert result["seed"][i] == str(trial.user_attrs.get("seed", ""))
        settings_ = {name[len("config.") :]: texts[i] for name, texts in result.items() if name.startswith("config.")}
        assert {k: text for k, text in settings_.items() if text} == {k: str(v) for k, v in trial.params.items()}
        assert result["value"][i] == ("" if trial.value is None else str(trial.value))


def test_ray_tune_reads_back(root: Path) -> None:
    path = root / "tests/data/ray_tune"
    before = digest(path / "x")
    runs = read_runs(str(path))
    assert digest(path / "x") == before
    result = columns(runs)
    states = json.loads(next(path.glob("experiment_state-*.json")).read_text())["trial_data"]
    trials = {trial["relative_logdir"]: trial for trial in (json.loads(entry[0]) for entry in states)}
    assert set(result["trial"]) == set(trials)
    for i, name in enumerate(result["trial"]):
        last = pd.read_json(path / name / "result.json", lines=True, precise_float=True).iloc[-1]
        assert result["state"][i] == trials[name]["status"].lower()
        assert float(result["accuracy"][i]) == last["accuracy"]
        assert float(result["lr"][i]) == last["lr"]
        config = trials[name]["config"]
        assert result["config.lr"][i] == str(config["lr"])
        assert result["config.opt.name"][i] == config["opt"]["name"]
        assert result["config.seed"][i] == str(config["seed"])
    assert sorted(result["state"]) == ["error", *["terminated"] * 5]


def writing_ahead(path: Path) -> sqlite3.Connection:
    """A connection that keeps its last transaction in a log next to the database."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    return database


def test_database_in_use_is_read_with_its_log(tmp_path: Path) -> None:
    path, created = tmp_path / "in/mlflow.db", tmp_path / "made.db"
    path.parent.mkdir()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{created}")
    run = client.create_run(client.create_experiment("a")).info.run_id
    shutil.copyfile(created, path)  # MLflow keeps its connection open
    database = writing_ahead(path)
    database.execute("UPDATE runs SET status = 'FAILED'")
    database.commit()
    before = digest(path)
    result = columns(read_runs(f"sqlite:///{path}"))
    assert (result["run_id"], result["state"]) == ([run], ["FAILED"])
    assert digest(path) == before
    database.close()


def test_foreign_databases_are_refused_unchanged(tmp_path: Path) -> None:
    for name, statements in {
        "app.db": ["CREATE TABLE users (id)"],
        "empty.db": ["PRAGMA user_version = 1"],
        "old.db": ["CREATE TABLE studies (study_id)", "CREATE TABLE trials (trial_id)",
                   "CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('v2.6.0.a')"],
    }.items():  # fmt: skip
        path = tmp_path / name
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()
        before = digest(path)
        for source in (str(path), f"sqlite:///{path}"):
            with pytest.raises(
                RunFolderError, match=r"neither MLflow nor Optuna|another version of Optuna|cannot be read"
            ):
                read_runs(source)
        assert digest(path) == before


def test_docs_have_row_for_each_reader(root: Path) -> None:
    text = (root / "docs/runs-elsewhere.md").read_text()
    for reader in READERS:
        assert f"| {reader.name} |" in text


CUT: dict[str, Callable[[str], str]] = {
    "last line": lambda text: text[: -len(text.splitlines()[-1]) // 2],
    "null bytes": lambda text: text + "\x00" * 64,
}


@pytest.mark.parametrize("how", CUT)
def test_damaged_trial_counts_as_failed(how: str, tmp_path: Path) -> None:
    for seed in range(3):
        for ema in (0, 1):
            trial = tmp_path / f"tuned/train_{ema}{seed}"
            (trial / "checkpoint_000001").mkdir(parents=True)
            (trial / "params.json").write_text(json.dumps({"ema": ema, "seed": seed, "opt": None}))
            (trial / "checkpoint_000001/params.json").write_text("{}")
            lines = [{"acc": 0.1 * step, "training_iteration": step, "done": step == 3} for step in (1, 2, 3)]
            (trial / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = tmp_path / "tuned/train_01/result.json"
    file.write_text(CUT[how](file.read_text()))
    (tmp_path / "tuned/train_02/error.txt").write_text("a first failure")
    (tmp_path / "tuned/train_09").mkdir()
    (tmp_path / "tuned/train_09/params.json").write_text('{"ema": 0, "seed": 9}')
    result = columns(read_runs(str(tmp_path / "tuned")))
    states = dict(zip(result["trial"], result["state"], strict=True))
    expected = "interrupted" if how == "last line" else "finished"
    assert states.pop("train_01") == expected
    assert set(states.values()) == {"finished"}
    assert result["config.opt"].count("None") == 6
