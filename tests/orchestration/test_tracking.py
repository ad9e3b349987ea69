"""What a sweep reports to TensorBoard, MLflow and Weights & Biases, all without a network."""

from __future__ import annotations

import importlib.util
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.monitoring.trackers import trackers
from branchwise.orchestration.space import load_space
from branchwise.orchestration.tracking.registry import TRACKERS, refuse_missing
from branchwise.orchestration.tracking.scalars import scalars_of
from branchwise.orchestration.tracking.trackers import mlflow as mlflow_tracker
from branchwise.orchestration.tracking.trackers.tensorboard import event_file
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

RECORD = {
    "arm": "full-b0",
    "trial": "t0000",
    "kind": "cell",
    "cell": "full",
    "block": 0,
    "seed": 0,
    "components": {},
    "status": "done",
    "error": "",
    "patch": {"anchor_weight": 0.1},
    "values": {"value": 1.5, "steps": 20, "metric": "surface", "rho": None},
    "tables": {"curves": [{"step": step, "loss": 1.0 / (1 + step)} for step in range(3)]},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(storage_at(tmp_path / "storage"), "sweep")
    run.write_record("full-b0", RECORD)
    return run


@pytest.fixture
def without_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the tools but that they stay offline."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # mlflow sets it; what is set here is put back afterwards
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def tell(run: RunFolder, *tools: str) -> str:
    output = io.StringIO()
    with trackers(run, tools, Console(file=output)) as follow:
        state = RunState(run)
        follow(state, state.refresh())
    return output.getvalue()


def test_tensorboard_reads_sweep_logs(run: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tell(run) == ""
    assert run.files.local is not None
    events = EventAccumulator(str(run.files.local / "tensorboard/full-b0"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"curves/loss", "values/value"}
    assert [(e.step, e.value) for e in events.Scalars("curves/loss")] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert [(e.step, e.value) for e in events.Scalars("values/value")] == [(20, 1.5)]
    before = run.files.names("tensorboard/full-b0")
    assert tell(run) == ""  # as a resumed sweep does
    assert run.files.names("tensorboard/full-b0") == before


def test_no_number_breaks_event_file() -> None:
    event_file([("a", 2**40, math.nan), ("b", 0, math.inf), ("c", 0, -1e300)], 0.0)
    assert list(scalars_of({"status": "failed"})) == []
    named = {"values": {"value": 1.0, "value(weak)": 2.0, "steps": 3}}
    assert list(scalars_of(named)) == [("values/value", 3, 1.0), ("values/weak/value", 3, 2.0)]


def test_driver_imports_no_torch_for_it(root: Path) -> None:
    code = (
        "import sys; from branchwise.orchestration.monitoring.trackers import trackers; "
        "from branchwise.orchestration.tracking.trackers.tensorboard import event_file; "
        "event_file([('a', 1, 1.0)], 0.0); "
        "print(sorted({'torch', 'ray', 'tensorboardX', 'mlflow', 'wandb'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_mlflow_and_wandb_offline(run: RunFolder, without_services: None) -> None:
    output = tell(run, "mlflow", "wandb")
    assert output == ""
    assert run.files.names("tracking/mlflow") == run.files.names("tracking/wandb") == ["full-b0.json"]
    import mlflow

    folder = run.storage.local
    assert folder is not None
    client = mlflow.MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.run_name == "full-b0"
    assert logged.data.params == {"anchor_weight": "0.1"}
    assert logged.data.metrics["values/value"] == 1.5
    assert logged.data.tags["cell"] == "full"
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert offline.name.endswith("-sweep-full-b0")
    assert (offline / "run-sweep-full-b0.wandb").stat().st_size > 0


def test_tool_that_fails_does_not_stop_sweep(
    run: RunFolder, without_services: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no server\nanswers")

    monkeypatch.setattr(mlflow_tracker, "log", refuse)
    output = " ".join(tell(run, "mlflow").split())
    assert "mlflow: logging failed and is disabled; `branchwise resume` backfills it: no server answers" in output
    assert run.files.names("tracking/mlflow") == []
    assert run.files.names("tensorboard") == ["full-b0"]
    monkeypatch.setattr(mlflow_tracker, "log", lambda *_: None)
    assert tell(run, "mlflow") == ""
    assert run.files.names("tracking/mlflow") == ["full-b0.json"]


def test_key_tracking(surface_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_space(surface_space).tracking == ()
    assert "tracking" not in load_space(surface_space).resolved()
    space = load_space(surface_space, ["tracking=[mlflow]"])
    assert space.tracking == ("mlflow",)
    assert "tracking:\n- mlflow" in space.resolved()
    assert TRACKERS == ["mlflow", "wandb"]
    with pytest.raises(UserError, match=r"tracking.0: must be one of mlflow, wandb, not 'comet'"):
        load_space(surface_space, ["tracking=[comet]"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="tracking: mlflow is not installed; pip install mlflow-skinny"):
        refuse_missing(space.tracking)
