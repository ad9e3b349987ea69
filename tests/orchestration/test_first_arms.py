"""A sweep stops only when its first arms all fail for the same reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from branchwise.orchestration.errors import RepeatedFailureError
from branchwise.orchestration.execution.first_arms import FirstArms
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at


def write(run: RunFolder, name: str, status: str, error: str, **facts: Any) -> None:
    """Write the record of an arm of the full method, unless `facts` override it."""
    arm = {"arm": name, "trial": "t0000", "kind": "cell", "cell": "full", "block": 0, "seed": 0, "components": {}}
    run.write_record(name, arm | {"patch": {}, "status": status, "values": {}, "error": error, "tables": {}} | facts)


@pytest.mark.parametrize(
    ("records", "stops"),
    [
        ([("failed", "exit code 1; it said: a | No module named 'x'")], False),
        ([("failed", "exit code 1; it said: a | No module named 'x'")] * 2, True),
        ([("failed", "loss is missing; it said: loss 0.31"), ("failed", "loss is missing; it said: loss 0.52")], True),
        ([("failed", "exit code 1; it said: /tmp/a1/r.py"), ("failed", "exit code 1; it said: /tmp/b2/r.py")], True),
        ([("failed", "exit code 1; it said: no data"), ("failed", "exit code 1; it said: out of memory")], False),
        ([("failed", "no"), ("diverged", "loss is nan")], False),
        ([("done", ""), ("failed", "no"), ("failed", "no")], False),
    ],
)
def test_repeated_failure_stops_sweep(records: list[tuple[str, str]], stops: bool, tmp_path: Path) -> None:
    run = RunFolder(storage_at(tmp_path), "run")
    watch = FirstArms(run, 10, "space.yaml")
    for number, (status, error) in enumerate(records):
        write(run, f"full-b{number}", status, error)
        if stops and number == 1:
            with pytest.raises(RepeatedFailureError, match=r"branchwise try space\.yaml --arm full-b0"):
                watch.check()
        else:
            watch.check()


def test_last_arms_are_not_stopped(tmp_path: Path) -> None:
    run = RunFolder(storage_at(tmp_path), "run")
    for name in ("full-b0", "base-b0"):
        write(run, name, "failed", "no")
    FirstArms(run, 2, "space.yaml").check()


def test_failures_of_other_settings_do_not_stop_sweep(tmp_path: Path) -> None:
    run = RunFolder(storage_at(tmp_path), "run")
    watch = FirstArms(run, 10, "space.yaml")
    for name in ("search-0003", "search-0001"):  # out of memory at once, while the others train
        write(run, name, "failed", "no", kind="search", patch={"width": 9})
        watch.check()
    write(run, "search-0000", "failed", "no", kind="search", patch={"width": 1})
    with pytest.raises(RepeatedFailureError):
        watch.check()
