"""Weights & Biases. Its environment variables (WANDB_MODE, ...) apply."""

from __future__ import annotations

from branchwise.orchestration.tracking.scalars import Record, companion_folder, labels_of, scalars_of
from branchwise.trainables.runtime.run_folder import RunFolder

PACKAGE = "wandb"  # what to install


def log(run: RunFolder, arm: str, record: Record) -> None:
    """Log an arm as a run of the project named by the sweep.

    Its id is that of the arm, which prevents duplicates.
    """
    import wandb

    folder = companion_folder(run)  # it makes a folder wandb in it
    folder.mkdir(parents=True, exist_ok=True)
    description = labels_of(run, arm, record)
    rows: dict[int, dict[str, float]] = {}
    for tag, step, value in scalars_of(record):
        rows.setdefault(step, {})[tag] = value
    with wandb.init(
        project=run.name,
        name=arm,
        id=f"{run.name}-{arm}",
        group=description["cell"],
        config={**description, **record.get("patch", {})},
        dir=str(folder),
        settings=wandb.Settings(silent=True),
    ) as logged:
        for step, row in sorted(rows.items()):
            logged.log(row, step=step)
