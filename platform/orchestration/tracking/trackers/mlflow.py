"""MLflow. Without MLFLOW_TRACKING_URI its files go to the storage."""

from __future__ import annotations

import os

from branchwise.orchestration.tracking.scalars import Record, companion_folder, labels_of, scalars_of
from branchwise.trainables.runtime.run_folder import RunFolder

PACKAGE = "mlflow-skinny"  # what to install


def log(run: RunFolder, arm: str, record: Record) -> None:
    """A run of the experiment named by the sweep."""
    import mlflow

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the only kind of store without a database
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri((companion_folder(run) / "mlruns").as_uri())
    mlflow.set_experiment(run.name)
    with mlflow.start_run(run_name=arm, tags=labels_of(run, arm, record)):
        mlflow.log_params(record.get("patch", {}))
        for tag, step, value in scalars_of(record):
            mlflow.log_metric(tag, value, step=step)
