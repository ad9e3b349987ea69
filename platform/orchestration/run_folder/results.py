"""The run folder: created once, collected from what the workers left in it.

space.yaml, plan.json, manifest.json      what was asked for, laid out, and the circumstances
arms/<arm>.json                           written by a worker when the arm is finished
study.journal                             of a search: what was suggested; with the arms, all the state there is
arms.parquet, curves.parquet, ...         all of them together
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.orchestration.designs.layout import PlannedArm
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import ROOT
from branchwise.orchestration.planning.packing import Trial
from branchwise.orchestration.run_folder.lock import LOCK
from branchwise.orchestration.space.model import NAME_PATTERN, Space, parse_space
from branchwise.trainables.runtime.settings import digest, patched, setting
from branchwise.trainables.runtime.storage import DamagedError, Storage

if TYPE_CHECKING:
    from branchwise.analysis.report.build import Summary

JOURNAL = "study.journal"  # of a search
FORMAT = 1  # of the run folder; a later one cannot be resumed by this code
NOT_BEGUN = {LOCK, "logs", "space.yaml"}  # all that a run holds before its plan is written
NOT_RUNS = ("teachers", "logs")  # what else lies in a storage
VERSIONS = ("ray", "torch", "torchvision", "diffusers", "torch-fidelity", "optuna", "numpy", "pandas", "pyarrow")

# arms.parquet always has these columns, in this order; DASH fills them all, other trainables what they know.
COLUMNS: dict[str, Any] = {
    "sweep": "string",
    "trial": "string",
    "arm": "string",
    "block": "int64",
    "seed": "int64",
    "kind": "string",
    "cell": "string",
    "status": "string",
    "error": "string",
    "metric": "string",
    "value": "float64",
    "kid": "float64",
    "inception_score": "float64",
    "rho": "float64",
    "cos_delta": "float64",
    "gap_mse": "float64",
    "relative_gap": "float64",
    "teacher_value": "float64",
    "student_params": "Int64",
    "teacher_params": "Int64",
    "compression": "float64",
    "steps": "Int64",
    "train_seconds": "float64",
    "eval_seconds": "float64",
    "sample_seconds": "float64",
    "rung_value": "float64",
    "device": "string",
    "comparability_key": "string",
    "student_sha256": "string",
}


def new_run(storage: Storage, space: Space, name: str | None) -> Storage:
    """The folder of a new run: `name`, or the space's name with the first free number. Raises UserError when taken."""
    if name is not None:
        run = run_named(storage, name, "--name")
        if _taken(storage, name):
            raise UserError(f"--name {name}: {run.root} exists already; choose another or use --resume {name}")
        return run
    number = 1
    while _taken(storage, space.name if number == 1 else f"{space.name}-{number}"):
        number += 1
    return storage / (space.name if number == 1 else f"{space.name}-{number}")


def _taken(storage: Storage, name: str) -> bool:
    """Whether there is a run, or a folder that is none of ours; one that never began may be begun again."""
    return name in NOT_RUNS or (storage.exists(name) and not set(storage.names(name)) <= NOT_BEGUN)


def run_named(storage: Storage, name: str, option: str) -> Storage:
    """The folder of the run called `name`, which cannot lie outside the storage. Raises UserError naming `option`."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UserError(f"{option} {name}: a name is made of lower-case letters, digits, '.', '_' and '-', 64 at most")
    if name in NOT_RUNS:
        raise UserError(f"{option} {name}: this folder of a storage is not for runs; choose another name")
    return storage / name


def write_plan(run: Storage, space: Space, trials: Sequence[Trial]) -> None:
    """Writes what is needed to resume: the resolved space and which arms make up which trial."""
    content = space.resolved().encode()
    run.write("space.yaml", content)
    cohorts = {trial.name: [arm.name for arm in trial.arms] for trial in trials}
    run.write_json(
        "plan.json", {"format": FORMAT, "space_sha256": hashlib.sha256(content).hexdigest(), "trials": cohorts}
    )


def read_plan(run: Storage) -> tuple[Space, Mapping[str, Sequence[str]]]:
    """What `write_plan` wrote: the space, and the arms of each trial. Raises UserError when it cannot be relied on."""
    anew = "the run cannot go on; begin another one with --space"
    try:
        plan, content = run.read_json("plan.json"), run.read("space.yaml")
    except (DamagedError, FileNotFoundError) as error:
        raise UserError(f"{error}: {anew}") from error
    if plan["format"] > FORMAT:
        raise UserError(
            f"{run.path('plan.json')}: format {plan['format']} is of a later version of this program, "
            f"which reads up to {FORMAT}"
        )
    if hashlib.sha256(content).hexdigest() != plan["space_sha256"]:
        raise UserError(f"{run.path('space.yaml')}: is not the one this run began with: {anew}")
    return parse_space(run.path("space.yaml"), content), plan["trials"]


def write_manifest(run: Storage, space: Space, status: str, **facts: Any) -> None:
    """Updates manifest.json: the circumstances of the run, with `facts` laid over what it held."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    start = {
        "format": FORMAT,
        "name": run.root.rpartition("/")[2],
        "started": now,
        "argv": sys.argv,
        "host": platform.node(),
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in VERSIONS},
        "git_commit": _git_commit(),
        "claims_sha256": digest(list(space.design.claims)),
        "components": list(space.design.components),
        "blocks": space.design.blocks,
    }
    try:
        earlier = run.read_json("manifest.json")
    except (FileNotFoundError, DamagedError):
        earlier = start
    ended = None if status == "running" else now
    run.write_json("manifest.json", earlier | facts | {"status": status, "ended": ended})


def records(run: Storage) -> dict[str, Mapping[str, Any] | None]:
    """What the workers recorded of each finished arm, by its name; None for a record that is damaged."""
    return {name.removesuffix(".json"): _record(run, name) for name in run.names("arms")}


def _record(run: Storage, name: str) -> Mapping[str, Any] | None:
    try:
        record: Mapping[str, Any] = run.read_json(f"arms/{name}")
    except DamagedError:
        return None
    return record


def forget_failures(run: Storage, arms: Sequence[PlannedArm]) -> None:
    """Lets those of `arms` run again that failed, or whose record is damaged."""
    found = records(run)
    for arm in arms:
        if arm.name in found and not finished(found[arm.name]):
            run.delete(f"arms/{arm.name}.json")


def finished(record: Mapping[str, Any] | None) -> bool:
    """Whether the record of an arm is a result; a resumed sweep runs failed arms once more."""
    return record is not None and record["status"] != "failed"


def complete(counts: Mapping[str, int], total: int) -> bool:
    """Whether each of `total` arms has a value, or was stopped on purpose."""
    lost = sum(number for status, number in counts.items() if status not in ("done", "stopped"))
    return not lost and counts["done"] + counts["stopped"] >= total


def collect(
    run: Storage, space: Space, arms: Sequence[PlannedArm], teacher: Mapping[str, Any] | None
) -> dict[str, int]:
    """Gathers the workers' results into the parquet tables; returns how many arms have which status.

    `teacher` is the teacher's evaluation, where there is a teacher.
    """
    import pandas as pd

    found = {name: record for name, record in records(run).items() if record is not None}
    done = [(arm, found[arm.name]) for arm in arms if arm.name in found]
    name = run.root.rpartition("/")[2]
    teacher_value = teacher["value"] if teacher else None
    rows = [_row(name, space, arm, record, teacher_value) for arm, record in done]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)])))
    _write_parquet(run, "arms", table.astype(COLUMNS))
    for kind in ("curves", "gaps", "guidance"):
        rows = [
            {"sweep": name, "arm": arm.name, "block": arm.block, "cell": arm.cell, **row}
            for arm, record in done
            for row in record.get("tables", {}).get(kind, ())
        ]
        if rows:
            _write_parquet(run, kind, pd.DataFrame(rows))
    counts = dict.fromkeys(("done", "stopped", "diverged", "failed"), 0)
    for _, record in done:
        counts[record["status"]] += 1
    return counts | {"missing": len(arms) - len(done)}


def report(run: Storage) -> Summary:
    """Builds the run's report; that of a run at a URI is built here and stored there."""
    from branchwise.analysis.report.build import build_report  # pandas and matplotlib: not before they are needed

    if run.local is not None:
        return build_report([run.local])
    with tempfile.TemporaryDirectory(prefix="branchwise-") as scratch:
        folder = Path(scratch) / run.root.rpartition("/")[2]
        folder.mkdir()
        for name in run.names(""):
            if name.endswith((".yaml", ".json", ".parquet")):
                (folder / name).write_bytes(run.read(name))
        for arm in run.names("students"):
            if run.exists(f"students/{arm}/samples.png"):
                (folder / "students" / arm).mkdir(parents=True)
                (folder / f"students/{arm}/samples.png").write_bytes(run.read(f"students/{arm}/samples.png"))
        summary = build_report([folder])
        for file in summary.folder.rglob("*"):
            if file.is_file():
                run.write(f"report/{file.relative_to(summary.folder).as_posix()}", file.read_bytes())
        return summary


def _row(
    sweep: str, space: Space, arm: PlannedArm, record: Mapping[str, Any], teacher_value: float | None
) -> dict[str, Any]:
    settings = patched(space.spec, arm.patch)
    known = {
        "sweep": sweep,
        "trial": record["trial"],
        "arm": arm.name,
        "block": arm.block,
        "seed": arm.seed,
        "kind": arm.kind,
        "cell": arm.cell,
        "status": record["status"],
        "error": record.get("error", ""),
        "value": math.nan,
        "teacher_value": teacher_value,
    }
    components = {f"component.{name}": arm.components.get(name) for name in space.design.components}
    hyperparameters = {f"hp.{key}": setting(settings, key) for key in space.design.settings()}
    return known | components | hyperparameters | dict(record.get("values", {}))


def _write_parquet(run: Storage, name: str, table: Any) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, write_page_checksum=True)
    run.write(f"{name}.parquet", buffer.getvalue())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of this checkout, with '+' when files differ from it; None outside a checkout."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
