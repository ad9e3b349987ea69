"""`status`, `watch` and `list`: the state of a run from only its folder."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from users import another_user

from branchwise.orchestration.errors import FeaturesFailedError, FeaturesRefusedError, SweepAbortedError, UserError
from branchwise.orchestration.execution.exit_status import classify_exit
from branchwise.orchestration.monitoring import status
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.monitoring.status import (
    describe,
    latest_run,
    overview,
    print_list,
    print_state,
    remaining_seconds,
    watch_state,
)
from branchwise.orchestration.monitoring.terminal import print_failed, print_interrupted
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.shared_models import TeacherStore
from branchwise.trainables.runtime.storage import Storage, storage_at

COHORTS: dict[str, list[dict[str, Any]]] = {
    f"t000{block}": [{"arm": f"{cell}-b{block}", "cell": cell, "block": block} for cell in ("full", "base")]
    for block in range(3)
}


@pytest.fixture(params=["path", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_at(tmp_path) if request.param == "path" else Storage(f"file://{tmp_path}")


@pytest.fixture
def run(storage: Storage) -> RunFolder:
    """Halfway: the first cohort is finished, the second trains, the third waits."""
    run, now = RunFolder(storage, "sweep"), time.time()
    run.write_plan({"space_sha256": ""})
    manifest = {"status": "running", "arms": 6, "started": "2026-01-02T03:04:05+00:00", "host": "elsewhere"}
    run.write_manifest({**manifest, "ended": None, "teachers": [{"key": "abc"}]})
    for arm, seconds, value in (("full-b0", 100.0, 0.5), ("base-b0", 110.0, 1.5)):
        values = {"value": value, "metric": "fd_digits64"}
        expected = {
            "arm": arm,
            "trial": "t0000",
            "kind": "cell",
            "cell": arm[:-3],
            "block": 0,
            "seed": 0,
            "components": {},
        }
        record = {"seconds": seconds, "status": "done", "values": values, "error": "", "tables": {}}
        run.write_record(arm, {**expected, "components": {}, "patch": {}, **record})
    report = {"phase": "train", "step": 50, "steps": 100, "steps_per_second": 2.0, "begun": now - 45, "time": now}
    run.write_progress("t0000", {**report, "step": 100, "arms": COHORTS["t0000"]})
    run.write_progress("t0001", {**report, "arms": COHORTS["t0001"]})
    return run


def hold(run: RunFolder, **changed: Any) -> None:
    holder = {"host": "elsewhere", "pid": 12, "token": "x", "renewed": time.time() - 3}
    run.files.write_json("lock.json", {**holder, **changed})


def test_run_on_another_machine(storage: Storage, run: RunFolder) -> None:
    hold(run)
    message = dict(describe(storage, run))
    assert message["state"] == "running as process 12 on elsewhere, last heartbeat 3 s ago"
    assert message["arms"] == "2 of 6 finished (2 done)"
    assert message["t0001"] == "train 50/100, 2.0 steps/s: full-b1, base-b1"
    assert message["speed"] == "4.0 arm steps/s"
    assert message["best so far"] == "0.5 fd_digits64, full-b0"
    assert "to resume" not in message
    # t0001 has done 0.9 / 2 of its work in 45 s, so 55 s remain; the two waiting arms need as long as the others:
    # a half of 110 s and of 100 s, on average 52.5 s each.
    assert message["left"] == "about 2 min 40 s"


def test_while_teacher_trains(storage: Storage, run: RunFolder) -> None:
    hold(run)
    for arm in COHORTS["t0000"]:
        run.delete_record(arm["arm"])
    run.files.delete("progress")
    report = {"phase": "train", "step": 10, "steps": 100, "steps_per_second": 5.0, "begun": 0, "time": time.time()}
    report["arms"] = []
    TeacherStore(storage).unfinished("abc").write_progress("teacher", report)
    message = dict(describe(storage, run))
    assert message["teacher"] == "train 10/100, 5.0 steps/s"
    assert message["left"].startswith("not known")


@pytest.mark.parametrize(
    ("status", "holder", "state"),
    [
        ("running", {"renewed": 0.0}, "stopped unexpectedly"),
        ("running", {"host": platform.node(), "pid": 2**22 + 1}, "stopped unexpectedly"),
        ("interrupted", None, "interrupted, 2026-01-02"),
        ("failed", None, "failed, 2026-01-02"),
    ],
)
def test_run_that_does_not_run(
    storage: Storage, run: RunFolder, status: str, holder: dict[str, Any] | None, state: str
) -> None:
    if holder:
        hold(run, **holder)
    manifest = run.read_manifest()
    run.write_manifest({**manifest, "status": status, "ended": "2026-01-02T13:04:05+00:00"})
    message = dict(describe(storage, run))
    assert message["state"].startswith(state)
    assert message["to resume"] == "branchwise resume sweep"


def test_finished_and_damaged_run(storage: Storage, run: RunFolder) -> None:
    manifest = run.read_manifest()
    run.files.write("arms/full-b1.json", b"{")
    assert "1 damaged, 2 done" in dict(describe(storage, run))["arms"]
    run.write_manifest({**manifest, "status": "finished", "arms_by_status": {"done": 6}})
    assert overview(run).done == 6
    run.files.write("manifest.json", b"")
    assert dict(describe(storage, run))["state"] == "damaged"


def test_watching_ends_with_run(storage: Storage, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "WATCH_SECONDS", 0.05)
    hold(run)
    console = Console(record=True, width=120, file=io.StringIO())
    watching = threading.Thread(target=lambda: observed.append(watch_state(storage, "sweep", console)))
    observed: list[bool] = []
    watching.start()
    time.sleep(0.5)
    assert watching.is_alive()
    run.write_manifest({**run.read_manifest(), "status": "finished", "arms_by_status": {"done": 6}})
    run.files.delete("lock.json")
    watching.join(10)
    assert observed == [True]
    assert "finished" in console.export_text()
    run.write_manifest({**run.read_manifest(), "status": "failed"})
    assert not watch_state(storage, "sweep", console)


def test_remaining_time_is_unknown_at_first(run: RunFolder) -> None:
    state = RunState(RunFolder(run.storage, "other"))
    state.refresh()
    assert remaining_seconds(state, 6) is None


def test_no_such_run(storage: Storage, run: RunFolder) -> None:
    console = Console(quiet=True)
    with pytest.raises(UserError, match="run other: no such run"):
        print_state(storage, "other", console)
    with pytest.raises(UserError, match=r"run \.\./up: a name"):
        print_state(storage, "../up", console)
    print_state(storage, "sweep", console)


def test_command_lines_are_quick_and_import_no_ray(root: Path, run: RunFolder, tmp_path: Path) -> None:
    for arguments, expected_texts in ((["--status", "sweep"], "2 of 6 finished"), (["--list"], "2 of 6")):
        code = (
            "import sys; from branchwise.commands import run_sweep; "
            f"code = run_sweep.main({[*arguments, '--storage', str(tmp_path)]!r}); "
            "print(code, sorted({'torch', 'ray', 'pandas', 'optuna', 'matplotlib'} & set(sys.modules)))"
        )
        ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
        assert expected_texts in ran.stdout
        assert ran.stdout.splitlines()[-1] == "0 []"


def test_empty_storage(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    print_list(storage, Console())
    assert "no runs" in capsys.readouterr().out
    with pytest.raises(UserError, match="no runs"):
        print_state(storage, None, Console())


def test_status_without_name_shows_run_started_last(storage: Storage, run: RunFolder) -> None:
    other = RunFolder(storage, "a-later-one")
    other.write_plan({"space_sha256": ""})
    other.write_manifest({**run.read_manifest(), "started": "2026-01-02T03:04:06+00:00"})
    assert latest_run(storage).name == "a-later-one"


def test_interrupt_prints_resume_command(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["platform/run_sweep.py"])
    plan: Any = SimpleNamespace(run=run, storage=run.storage)
    print_interrupted(plan, "runs", Console(width=500))
    output = capsys.readouterr().out.splitlines()
    assert output[:3] == [
        "Interrupted. Finished arms are kept.",
        "Continues from its last checkpoint: t0001 (at train 50/100)",
        "To resume:",
    ]
    assert output[3].split()[0] == sys.executable
    assert output[3].endswith(f"--resume sweep --storage {run.storage.root}")


@pytest.mark.parametrize(("error", "advised"), [(FeaturesFailedError, True), (FeaturesRefusedError, False)])
def test_resume_is_advised_where_it_helps(
    run: RunFolder, capsys: pytest.CaptureFixture[str], error: type[SweepAbortedError], advised: bool
) -> None:
    ending = classify_exit(error("right on 0.500 of 20 images"), has_started=True)
    plan: Any = SimpleNamespace(run=run, storage=run.storage)
    print_failed(plan, ending.message, "runs", ending.resumable, "branchwise run")
    message = capsys.readouterr().err
    assert ending.code == 3
    assert message.startswith("branchwise run: right on 0.500 of 20 images. 2 finished arms are kept.")
    assert ("To resume" in message) == advised


def test_list_shows_runs_that_cannot_be_read(run: RunFolder, tmp_path: Path) -> None:
    private = RunFolder(run.storage, "private")
    private.write_plan({"space_sha256": ""})
    lines(run.storage)  # imports what the next call needs
    with another_user(tmp_path / "private"):
        listed = lines(run.storage)
        assert latest_run(run.storage).name == "sweep"
    assert [line.split()[:2] for line in listed[1:]] == [["private", "unreadable"], ["sweep", "stopped"]]


def lines(storage: Storage) -> list[str]:
    stream = io.StringIO()
    print_list(storage, Console(file=stream, width=200))
    return stream.getvalue().splitlines()
