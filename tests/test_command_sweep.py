"""Commands and functions in real sweeps: killed and resumed, failing, searched, and called from another folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from branchwise.documents import json_schema

pytestmark = pytest.mark.long(60)

TRAIN = """
    import argparse, json, os, pathlib, random, subprocess, sys, time

    parser = argparse.ArgumentParser()
    for name in ("--lr", "--wait"):
        parser.add_argument(name, type=float, default=0.0)
    for name in ("--checkpoints", "--mark", "--fails"):
        parser.add_argument(name, default="")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--ema", action="store_true")
    options = parser.parse_args()
    if options.mark:  # a child, which must not outlive us
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", options.mark])
    state = pathlib.Path(options.checkpoints or ".", "state.json")
    step, starts = json.loads(state.read_text()) if state.exists() else (0, 0)
    while step < 10:
        step += 1
        state.write_text(json.dumps([step, starts + 1]))
        print(json.dumps({"step": step, "accuracy": round(0.05 * step * (1 + options.lr), 6)}))
        time.sleep(options.wait)
    if options.fails and not options.ema:
        sys.exit("out of data")
    accuracy = 0.7 + 0.1 * options.ema + options.lr + random.Random(options.seed).gauss(0, 0.01)
    json.dump({"accuracy": accuracy, "starts": starts + 1}, open("result.json", "w"))
"""
SPACE = """
    name: scripts
    trainable: command
    command:
      run: [python, train.py, --lr, "{{lr}}", --seed, "{{seed}}", "{{ema}}", --checkpoints, "{{checkpoints}}", {more}]
      metric: {{file: result.json, key: accuracy}}
      direction: maximize
      outcomes: {{starts: {{file: result.json, key: starts, direction: minimize}}}}
      progress: {{steps: 10}}
    settings: {{lr: 0.001, ema: --ema}}
    {design}
"""
FACTORIAL = 'design: {components: {ema: {off: {ema: ""}}}, blocks: 3}'
Sweep = Callable[..., tuple[int, str]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_space(more: str = "", design: str = FACTORIAL) -> Path:
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "train.py").write_text(textwrap.dedent(TRAIN))
        (folder / "space.yaml").write_text(textwrap.dedent(SPACE).format(more=more, design=design))
        return folder / "space.yaml"

    return write_space


def alive(mark: str, program: str = "") -> list[int]:
    """The processes that have `mark` among their arguments, and another that ends in `program`."""
    matches = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            argv = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if mark in argv and any(argument.endswith(program) for argument in argv) and state != "Z":
            matches.append(int(folder.name))
    return matches


def text_of(file: Path) -> str:
    """The content of the file; empty where it has just been removed."""
    try:
        return file.read_text()
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_killed_driver_and_script_leave_clean_state(
    write: Callable[..., Path], start_sweep: Callable[..., subprocess.Popen[str]], sweep: Sweep, tmp_path: Path
) -> None:
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    space, storage = write(f"--wait, '0.5', --mark, {mark}"), tmp_path / "runs"
    driver = start_sweep("--space", space, "--storage", storage)
    arms = storage / "scripts/arms"

    def states() -> list[list[int]]:
        """Of each unfinished arm, its script's step and how often it was started."""
        files = (storage / "scripts/workspaces").glob("*/checkpoints/state.json")
        return [json.loads(text) for text in map(text_of, files) if text.endswith("]")]

    wait_for(lambda: arms.is_dir() and list(arms.glob("*.json")), 240)
    # First a script that is half through, which is retried from its checkpoint; then the driver.
    wait_for(lambda: any(2 < step < 9 for step, _ in states()) and alive(mark, "train.py"), 120)
    for script in alive(mark, "train.py")[:1]:
        os.kill(script, signal.SIGKILL)
    wait_for(lambda: any(starts == 2 for _, starts in states()), 120)
    driver.kill()
    driver.wait()
    finished = {file.name: file.read_bytes() for file in arms.glob("*.json")}
    wait_for(lambda: not alive(mark), 60)
    code, output = sweep("--resume", "scripts", "--storage", storage, "--progress", "json")
    assert code == 0, output
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"schema_version"')]
    for line in lines:
        jsonschema.validate(line, json_schema("progress"))
    assert (lines[0]["event"], lines[0]["arms_finished"]) == ("planned", len(finished))
    assert sum(line["event"] == "arm_finished" for line in lines) == 6 - len(finished)
    assert (lines[-1]["event"], lines[-1]["exit_code"], lines[-1]["status"]) == ("done", 0, "finished")
    table = pd.read_parquet(storage / "scripts/arms.parquet")
    assert len(table) == 6
    assert set(table["status"]) == {"done"}
    assert table["starts"].max() >= 2  # some went on where they were
    assert {name: (arms / name).read_bytes() for name in finished} == finished
    assert not alive(mark)


def test_failed_arm_is_named_with_its_output(write: Callable[..., Path], sweep: Sweep, tmp_path: Path) -> None:
    space = write("--fails, always")
    code, output = sweep(
        "--space", space, "--storage", tmp_path / "runs", "--set", "resources.max_retries=0", cwd=tmp_path
    )
    assert code == 3, output
    table = pd.read_parquet(tmp_path / "runs/scripts/arms.parquet").set_index("arm")
    assert (table["status"] == "done").sum() == 3
    assert (
        table["error"]
        .loc["base-b0"]
        .endswith(
            'exit code 1; it said: {"step": 9, "accuracy": 0.45045} | {"step": 10, "accuracy": 0.5005} | out of data'
        )
    )
    logs = tmp_path / "runs/scripts/logs"
    assert "out of data" in (logs / "base-b0.txt").read_text()
    assert '"step": 10' in (logs / "full-b0.txt").read_text()  # also of an arm that is done


def test_search_stops_scripts_at_rungs_and_finds_better_setting(
    write: Callable[..., Path], sweep: Sweep, tmp_path: Path
) -> None:
    design = (
        "design: {kind: search, arms: 9, knobs: {lr: {uniform: [0.0, 0.1]}}, algorithm: optuna_random, "
        "scheduler: asha, rungs: [3], blocks: 2}"
    )
    code, output = sweep("--space", write(design=design), "--storage", tmp_path / "runs")
    assert code == 0, output
    table = pd.read_parquet(tmp_path / "runs/scripts/arms.parquet")
    searched = table[table["kind"] == "search"]
    assert "stopped" in set(searched["status"])
    done = searched[searched["status"] == "done"]
    best = table[table["cell"] == "best"]["hp.lr"].iloc[0]
    assert best == done["hp.lr"].iloc[done["value"].argmax()]  # more is better


def test_function_next_to_space_runs_from_any_folder(sweep: Sweep, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "helper_beside.py").write_text("BONUS = 0.1\n")
    (project / "fit_function.py").write_text(
        "import random\nfrom helper_beside import BONUS\n\n\n"
        "def train(seed: int, lr: float = 0.1, ema: bool = True) -> dict:\n"
        "    return {'accuracy': 0.7 + BONUS * ema + random.Random(seed).gauss(0, 0.01)}\n"
    )
    (project / "space.yaml").write_text(
        "name: beside\ntrainable: fit_function:train\nfunction: {metric: accuracy, direction: maximize}\n"
        "design: {components: {ema: {off: {ema: false}}}, blocks: 3}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    storage = tmp_path / "runs"
    code, output = sweep("--space", project / "space.yaml", "--storage", storage, cwd=tmp_path / "elsewhere")
    assert code == 0, output
    assert "6 of 6 arms done" in output


def test_sigterm_stops_sweep_while_storing_large_files(
    write: Callable[..., Path], start_sweep: Callable[..., subprocess.Popen[str]], sweep: Sweep, tmp_path: Path
) -> None:
    space, storage = write(), tmp_path / "runs"
    large = '\nwith open("model.bin", "wb") as model:\n    model.write(os.urandom(400 << 20))\n'
    (space.parent / "train.py").write_text(textwrap.dedent(TRAIN) + large)
    driver = start_sweep("--space", space, "--storage", storage)
    students = storage / "scripts/students"
    wait_for(lambda: list(students.glob(".*.tmp")), 240)
    driver.terminate()
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 130, output
    assert "Finished arms are kept" in output
    assert not list(students.glob(".*.tmp"))
    code, output = sweep("--resume", "scripts", "--storage", storage)
    assert code == 0, output
    assert len(list(students.glob("*/model.bin"))) == 6
