"""What a sweep leaves for TensorBoard, always, and for MLflow and Weights & Biases where the space says so.

An arm is told of once, when its record appears; `tracking/<tool>/<arm>.json` says that it was. The tools' own
environment variables (MLFLOW_TRACKING_URI, WANDB_MODE, ...) say where to; without them MLflow's go to the storage.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from branchwise.orchestration.checkout import ROOT
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.monitoring.run_state import Follower, RunState
from branchwise.orchestration.monitoring.tensorboard import event_file, scalars_of
from branchwise.trainables.runtime.run_folder import RunFolder

Tool = Literal["mlflow", "wandb"]
INSTALL = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
Record = Mapping[str, Any]


def refuse_missing(tools: Sequence[Tool]) -> None:
    """Raises UserError when a tool that the space names is not installed."""
    for tool in tools:
        if importlib.util.find_spec(tool) is None:
            raise UserError(f"tracking: {tool} is not installed here; pip install {INSTALL[tool]}, or leave it out")


@contextmanager
def trackers(run: RunFolder, tools: Sequence[Tool], console: Console) -> Iterator[Follower]:
    """A follower that tells every tool of every finished arm, in a thread of its own; ends when all are told."""
    log = {"mlflow": _to_mlflow, "wandb": _to_wandb}
    telling: dict[str, Callable[[RunFolder, str, Record], None]] = {"tensorboard": _to_tensorboard}
    telling |= {tool: log[tool] for tool in tools}
    told = {tool: {name.removesuffix(".json") for name in run.files.names(_told(tool))} for tool in telling}
    broken: set[str] = set()

    def tell(tool: str, arm: str, record: Record) -> None:
        if tool in broken:
            return
        try:
            telling[tool](run, arm, record)
            if tool != "tensorboard":
                run.files.write_json(f"{_told(tool)}/{arm}.json", {"time": time.time()})
        except Exception as error:  # a tool that fails, in whatever way, is no reason to lose a sweep
            broken.add(tool)
            said = " ".join(str(error).split())
            console.print(f"{tool} fails and is told no more; --resume tells it what is missing: {said}", markup=False)

    with ThreadPoolExecutor(1) as pool:
        pending: list[Future[None]] = []

        def follow(state: RunState, new: Sequence[str]) -> None:
            for arm in new:
                for tool in telling:
                    if arm not in told[tool]:
                        pending.append(pool.submit(tell, tool, arm, state.records[arm]))

        yield follow


def _to_tensorboard(run: RunFolder, arm: str, record: Record) -> None:
    run.files.write(f"tensorboard/{arm}/events.out.tfevents.{arm}", event_file(scalars_of(record), time.time()))


def _to_mlflow(run: RunFolder, arm: str, record: Record) -> None:
    """A run of the experiment named by the sweep."""
    import mlflow

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the one kind of store that needs no database
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri((_beside(run) / "mlruns").as_uri())
    mlflow.set_experiment(run.name)
    with mlflow.start_run(run_name=arm, tags=_about(run, arm, record)):
        mlflow.log_params(record.get("patch", {}))
        for tag, step, value in scalars_of(record):
            mlflow.log_metric(tag, value, step=step)


def _to_wandb(run: RunFolder, arm: str, record: Record) -> None:
    """A run of the project named by the sweep; its id is that of the arm, so that it is never there twice."""
    import wandb

    folder = _beside(run)  # it makes a folder wandb in it
    folder.mkdir(parents=True, exist_ok=True)
    about = _about(run, arm, record)
    rows: dict[int, dict[str, float]] = {}
    for tag, step, value in scalars_of(record):
        rows.setdefault(step, {})[tag] = value
    with wandb.init(
        project=run.name,
        name=arm,
        id=f"{run.name}-{arm}",
        group=about["cell"],
        config={**about, **record.get("patch", {})},
        dir=str(folder),
        settings=wandb.Settings(silent=True),
    ) as logged:
        for step, row in sorted(rows.items()):
            logged.log(row, step=step)


def _told(tool: str) -> str:
    """The folder whose names say which arms the tool was told of."""
    return tool if tool == "tensorboard" else f"tracking/{tool}"


def _beside(run: RunFolder) -> Path:
    """Where a tool keeps its files: in the storage, or for one at a URI in results/ of this checkout."""
    local = run.storage.local
    return local if local is not None else ROOT / "results"


def _about(run: RunFolder, arm: str, record: Record) -> dict[str, str]:
    about = {key: str(record.get(key, "")) for key in ("cell", "block", "status")}
    return {"sweep": run.name, "arm": arm, **about}
