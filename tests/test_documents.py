"""`--json` and `--progress json`: a document or lines on stdout, by their schema, in all cases."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from branchwise.cli import main
from branchwise.command_io import finite, print_error, write_json
from branchwise.documents import DOCUMENTS, json_schema
from branchwise.orchestration import interrupts
from branchwise.orchestration.monitoring.events import Events
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.space import load_space
from branchwise.trainables import Result
from branchwise.trainables.dash.machine import checks
from branchwise.trainables.dash.machine.checks import MachineCheck
from branchwise.trainables.runtime.job import record_of
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

Printed = Callable[..., tuple[int, Any, str]]


def strict(text: str) -> Any:
    """JSON without bare NaN and infinity."""

    def refuse(name: str) -> None:
        pytest.fail(f"bare {name}")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Printed:
    """Runs a command and returns its exit code, the document on stdout, and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, schema: str = "") -> tuple[int, Any, str]:
        code = main(list(map(str, arguments)))
        output = capsys.readouterr()
        document = strict(output.out)
        jsonschema.validate(document, json_schema(schema or ("error" if code == 2 else str(arguments[0]))))
        return code, document, output.err

    return run


def test_comparisons(printed: Printed, tmp_path: Path) -> None:
    rows = [f"{method},{seed},{1 + 0.1 * method + 0.01 * seed * seed}" for method in (0, 1) for seed in range(4)]
    (tmp_path / "runs.csv").write_text("\n".join(["method,seed,loss", *rows]))
    table = (tmp_path / "runs.csv", "--components", "method", "--value", "loss", "--direction", "minimize")
    for name in ("one", "two"):
        assert printed("analyze", *table, "--out", tmp_path / name, "--json")[0] == 0
    compared = printed("compare", tmp_path / "runs.csv", "--group", "method", "--value", "loss", "--json")[1]
    assert (compared["names"], compared["paired"], len(compared["differences"])) == (["0", "1"], False, 1)
    assert compared["differences"][0]["estimate"] == pytest.approx(0.1)
    runs = (tmp_path / "one", tmp_path / "two")
    across = printed("analyze", *runs, "--across", "--json", schema="across")[1]
    assert list(across["effects"]) == ["method"]
    code, refused, _ = printed("compare", tmp_path / "one", "--json", schema="error")
    assert (code, refused["exit_code"]) == (2, 2)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schemas_are_schemas_and_print_themselves(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert main(["schema", name]) == 0
    assert strict(capsys.readouterr().out) == schema
    assert schema["properties"]["schema_version"]["const"] == 1
    for wrong in ({}, {"schema_version": 2}, {"schema_version": 1, "unknown": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_plan(printed: Printed, surface_space: Path) -> None:
    code, plan, output = printed("plan", surface_space, "--json")
    assert (code, output, plan["run"], plan["obstacle"]) == (0, "", "surface-ablation", None)
    assert plan["arms"] == plan["arms_left"] > 0
    assert printed("run", surface_space, "--dry-run", "--json", schema="plan")[1] == plan


def test_plan_that_cannot_start(printed: Printed, surface_space: Path) -> None:
    code, plan, _ = printed("plan", surface_space, "--json", "--set", "resources.cpus_per_trial=999", schema="plan")
    assert code == 2
    assert "999" in plan["obstacle"]


COMMAND = """\
name: script
trainable: command
command:
  {run: [python, train.py, "{ema}", --seed, "{seed}"], metric: {file: result.json, key: acc}, direction: maximize}
settings: {ema: --ema}
design: {components: {ema: {off: {ema: ""}}}, blocks: 5}
resources: {max_concurrent: 2}
"""


def test_time_of_plan_follows_earlier_run_of_its_settings(printed: Printed, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "space.yaml").write_text(COMMAND)
    assert printed("plan", "space.yaml", "--json")[1]["seconds"] is None
    space, run = load_space(tmp_path / "space.yaml"), RunFolder(storage_at(tmp_path / "results"), "before")
    run.write_space(space.resolved().encode())
    run.write_plan({"space_sha256": ""})
    run.write_manifest({"status": "finished", "started": "2026-01-02T03:04:05+00:00"})
    for number, arm in enumerate(space.design.arms(space.method, {})[:4]):
        record = record_of(arm, f"t{number:04d}", Result(status="done", values={"value": 0.5}))
        run.write_record(arm.name, {**record, "seconds": 20.0 + 20 * (number % 2)})
    plan = printed("plan", "space.yaml", "--json")[1]
    slots = min(2, os.cpu_count() or 1)
    assert plan["seconds"] >= 10 * 30 / slots
    assert any("by the arms of before" in line["text"] for line in plan["details"])
    other = printed("plan", "space.yaml", "--set", "settings.ema=--other", "--json")[1]
    assert other["seconds"] is None


def test_states_of_runs(printed: Printed, root: Path, tmp_path: Path) -> None:
    assert printed("list", "--json")[1]["runs"] == []
    runs = root / "tests/data/runs"
    listed = printed("list", "--storage", runs, "--json")[1]["runs"]
    assert "ablation" in {run["run"] for run in listed}
    _, state, _ = printed("status", "ablation", "--storage", runs, "--json")
    assert state["run"] == "ablation"
    assert state["seconds_left"] is state["pid"] is None


def test_running_run(printed: Printed, tmp_path: Path) -> None:
    run = RunFolder(storage_at(tmp_path / "results"), "sweep")
    run.write_plan({"space_sha256": ""})
    run.write_manifest({"status": "running", "arms": 4, "started": "2026-01-02T03:04:05+00:00", "host": "there"})
    _, state, _ = printed("status", "--json")
    assert (state["state"], state["arms"], state["best"], state["running"]) == ("stopped", 4, None, [])


def test_analysis_and_verification(printed: Printed, root: Path, tmp_path: Path) -> None:
    run = root / "tests/data/runs/ablation"
    code, result, _ = printed("analyze", run, "--out", tmp_path / "report", "--json", "--claim", "anchor.shapley > 0")
    assert code == 0
    assert result["results"]["format"] == 2
    assert len(result["exploratory"]) == 1
    assert Path(result["report"], "index.html").is_file()
    code, verified, _ = printed("verify", run, "--json", schema="verify")
    assert code == (0 if verified["holds"] else 1)
    assert verified["holds"] == all(check["holds"] for check in verified["checks"])


def test_doctor(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    matches = [MachineCheck("a", "passed", "fine"), MachineCheck("b", "failed", "no")]
    monkeypatch.setattr(checks, "run", lambda device: iter(matches))
    code, document, _ = printed("doctor", "--cpu", "--json", schema="doctor")
    assert code == 3
    assert [check["state"] for check in document["checks"]][:2] == ["passed", "failed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nope", "--json"],
        ["status", "--json"],
        ["status", "--json", "../up"],
        ["plan", "nope.yaml", "--json"],
        ["plan", "--json"],
        ["run", "nope.yaml", "--json"],
        ["resume", "nope", "--dry-run", "--json"],
        ["list", "--storage", "ftp://x/y", "--json"],
        ["list", "--jsn", "--json"],
        ["analyze", "nope", "--json"],
        ["analyze", "--json"],
        ["verify", "nope", "--json"],
        ["verify", "--json"],
        ["doctor", "--json", "now"],
    ],
)
def test_errors_are_documents(printed: Printed, arguments: list[str], tmp_path: Path) -> None:
    code, document, output = printed(*arguments)
    assert code == document["exit_code"] == 2
    assert output == f"branchwise {arguments[0]}: {document['error']}\n"
    assert not any(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_null() -> None:
    assert finite({"a": [math.nan, (math.inf, 1.5)], 2: -math.inf}) == {"a": [None, [None, 1.5]], "2": None}


def test_closed_reader_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        assert not write_json({"a": 1}, stream)
        stream.write("more")  # is dropped


def test_closed_pipe_leaves_no_traceback() -> None:
    command = [sys.executable, "-m", "branchwise.cli", "schema", "plan"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    # An abandoned thread of another test in this process would make `leave` exit immediately.
    monkeypatch.setattr(interrupts, "has_abandoned_threads", lambda: False)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    print_error("branchwise list", "no", 2, as_json=True)
    with pytest.raises(SystemExit) as exit_info:
        interrupts.exit_process(2)
    assert exit_info.value.code == 2


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    lines = [strict(line) for line in stream.getvalue().splitlines()]
    for line in lines:
        jsonschema.validate(line, json_schema("progress"))
    return lines


def cohort(name: str, *arms: str) -> Any:
    return SimpleNamespace(name=name, arms=[SimpleNamespace(name=arm) for arm in arms])


def test_events_follow_run(tmp_path: Path) -> None:
    run = RunFolder(storage_at(tmp_path), "sweep")

    def record(arm: str, trial: str, **more: Any) -> None:
        arm_record = {"arm": arm, "trial": trial, "kind": "cell", "cell": arm[:-3], "block": 0, "seed": 0, "patch": {}}
        exit_info = {"seconds": 1.0, "status": "done", "values": {"value": 0.5}, "error": "", "tables": {}}
        run.write_record(arm, {**arm_record, "components": {}, **exit_info, **more})

    record("earlier-b0", "t0000")
    plan: Any = SimpleNamespace(
        run=run, total=4, cohorts=[cohort("t0001", "full-b0", "base-b0"), cohort("t0002", "ema-b0")],
        teacher_seconds=0.0, arm_seconds=4.0, startup_seconds=1.0, is_complete=False,
    )  # fmt: skip
    stream = io.StringIO()
    events, state = Events(stream), RunState(run)
    events.begin(plan)
    report = {"phase": "train", "step": 1, "steps": 2, "begun": 0.0, "time": 1.0}
    run.write_progress(
        "t0001", {**report, "arms": [{"arm": name, "cell": "", "block": 0} for name in ("full-b0", "base-b0")]}
    )
    events(state, state.refresh())
    record("full-b0", "t0001")
    events(state, state.refresh())
    record("base-b0", "t0001", values={"value": math.nan}, status="diverged", error="loss is NaN")
    record("ema-b0", "t0002")  # too quick to be observed running
    events(state, state.refresh())
    events.interim(4, ["ema"])
    events.limit("limits.hours: 1")
    events.done(3, "limited", None, "")
    lines = lines_of(stream)
    assert [(line["event"], line.get("name")) for line in lines] == [
        ("planned", None),
        ("cohort_started", "t0001"),
        ("arm_finished", "full-b0"),
        ("arm_failed", "base-b0"),
        ("cohort_started", "t0002"),
        ("arm_finished", "ema-b0"),
        ("cohort_finished", "t0001"),
        ("cohort_finished", "t0002"),
        ("look", None),
        ("limit", None),
        ("done", None),
    ]
    assert (lines[0]["arms_finished"], lines[0]["seconds_left"]) == (1, 5.0)
    assert lines[3]["message"] == "loss is NaN"
    assert (lines[-1]["exit_code"], lines[-1]["arms_finished"]) == (3, 4)
