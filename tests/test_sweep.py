"""Sweeps of the surface trainable on real local Ray clusters, through the command line."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from patience import patience

Sweep = Callable[..., tuple[int, str]]

ROOT = Path(__file__).resolve().parents[1]


def test_dry_run_prints_plan_without_writing(sweep: Sweep, surface_space: Path, tmp_path: Path) -> None:
    code, output = sweep("--space", surface_space, "--storage", tmp_path / "runs", "--dry-run")
    assert code == 0
    assert "27 = (8 cells + 1 baselines (scratch)) x 3 blocks" in output
    assert "uncond_branch.share > 0.60" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--space", "nowhere.yaml"],
        ["--resume", "nothing"],
        ["--space", "{space}", "--set", "design.blocks=0"],
        ["--space", "{space}", "--set", "resources.cpus_per_trial=4096"],
        ["--space", "{space}", "--resume", "both"],
        ["--space", "{space}", "--name", "../outside"],
        ["--resume", "../outside"],
        ["--resume", "name", "--set", "train.steps=1"],
        ["--spcae", "{space}"],
    ],
)
def test_bad_arguments_exit_with_2_without_writing(
    sweep_in_process: Sweep, surface_space: Path, tmp_path: Path, arguments: list[str]
) -> None:
    given = [argument.format(space=surface_space) for argument in arguments]
    code, output = sweep_in_process(*given, "--storage", tmp_path / "runs")
    assert code == 2, output
    assert output.strip()
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_failed_and_diverged_arms_are_reported(sweep_in_process: Sweep, surface_space: Path, tmp_path: Path) -> None:
    # Where `anchor` is off, block 2 crashes: four of the nine arms that train together, and then separately.
    faults = ["--set", "faults.diverge=[1]", "--set", "design.components.anchor.off={faults.crash: [2]}"]
    options = ["--set", "resources={max_retries: 0, arms_per_trial: 9}"]
    code, output = sweep_in_process("--space", surface_space, "--storage", tmp_path / "runs", *faults, *options)
    assert code == 3, output
    assert "9 diverged, 4 failed" in output
    run = tmp_path / "runs/surface-ablation"
    arms = pd.read_parquet(run / "arms.parquet").set_index("block")
    assert set(arms.loc[[0], "status"]) == {"done"}
    assert set(arms.loc[[1], "status"]) == {"diverged"}
    block = arms.loc[2]
    assert (block["status"] == "failed").sum() == 4
    assert block.loc[block["status"] == "done", "component.anchor"].fillna(True).all()
    assert block.loc[block["status"] == "failed", "error"].str.contains("told to crash").all()
    for trial in block.loc[block["status"] == "failed", "trial"]:
        assert "in run_cohort" in (run / f"logs/{trial}.txt").read_text()
    assert (run / "report/index.html").exists()


# The surface, with a second and third block that wait until the page was read.
PATIENT = """
import time
from pathlib import Path
from branchwise.trainables.surface import *
from branchwise.trainables.surface import run_cohort as run_surface

def run_cohort(arms, context):
    while arms[0].block and not Path(SEEN).exists():
        time.sleep(0.05)
    run_surface(arms, context)
"""


@pytest.mark.slow(30)
def test_sweep_from_another_folder_renews_its_report_and_fills_its_run_folder(
    start_sweep: Callable[..., subprocess.Popen[str]], surface_space: Path, tmp_path: Path
) -> None:
    """Interim pages hold the finished blocks, and no verdict; the last is the report."""
    storage = tmp_path / "a folder with spaces"
    (tmp_path / "patient_surface.py").write_text(PATIENT.replace("SEEN", repr(str(tmp_path / "seen"))))
    surface_space.write_text(surface_space.read_text().replace("trainable: surface", "trainable: patient_surface"))
    options = ("--set", "resources.arms_per_trial=3")
    process = start_sweep("--space", surface_space.name, "--storage", storage, *options, cwd=tmp_path)
    run = storage / "surface-ablation"
    report, page = run / "report", ""
    while not page and process.poll() is None:
        time.sleep(0.2)
        if (report / "index.html").is_file():
            page = (report / "index.html").read_text()
            stored = json.loads((report / "ablation.json").read_text())
            (tmp_path / "seen").touch()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "the interim report failed" not in output
    assert "Interim report, renewed at every finished block: " in output
    assert "Interim report" in page
    assert re.search(r"[12] of 3 finished", page)
    assert "uncond_branch.share &gt; 0.60" in page
    assert 'id="table-claims"' not in page
    assert 'http-equiv="refresh"' in page
    assert stored == {"format": 2, "interim": True, "runs": ["surface-ablation"]}
    final = (report / "index.html").read_text()
    assert "Interim" not in final
    assert 'http-equiv="refresh"' not in final
    assert 'id="table-claims"' in final
    assert not list(run.glob(".report*"))
    arms = pd.read_parquet(run / "arms.parquet")
    assert len(arms) == 27
    assert set(arms["status"]) == {"done"}
    assert arms["value"].notna().all()
    assert arms.loc[arms["cell"] == "full", "component.anchor"].all()
    assert arms.loc[arms["kind"] == "baseline", "component.anchor"].isna().all()
    assert arms.loc[arms["cell"] == "base", "hp.uncond_weight"].eq(0).all()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["arms_by_status"]["done"] == 27
    assert "supported" in output
    assert str(report / "index.html") in output


@pytest.mark.slow(55)
@pytest.mark.usefixtures("ray_session")
def test_interrupted_sweep_keeps_arms_and_resumes(
    start_sweep: Callable[..., subprocess.Popen[str]], sweep_in_process: Sweep, surface_space: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    slow = ["--set", "train.steps=10", "--set", "train.seconds_per_step=0.3", "--set", "resources.arms_per_trial=5"]
    process = start_sweep("--space", surface_space, "--storage", storage, *slow)
    arms = storage / "surface-ablation/arms"
    deadline = time.monotonic() + patience(240)
    while not (arms.exists() and len(list(arms.glob("*.json"))) >= 4) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=patience(200))
    assert process.returncode == 130, output
    finished = {file.name: file.stat().st_mtime_ns for file in arms.glob("*.json")}
    assert 4 <= len(finished) < 27
    assert len(pd.read_parquet(storage / "surface-ablation/arms.parquet")) == len(finished)

    command = re.search(r"To resume:\s+(.*--resume.*)", output)
    assert command, output
    python, script, *arguments = shlex.split(command[1])
    assert (python, Path(script)) == (sys.executable, ROOT / "platform/run_sweep.py"), "it can be pasted anywhere"
    assert arguments == ["--resume", "surface-ablation", "--storage", str(storage)]
    stopped = start_sweep(*arguments)
    while len(list(arms.glob("*.json"))) <= len(finished) and stopped.poll() is None:
        time.sleep(0.2)
    stopped.send_signal(signal.SIGTERM)  # as a scheduler does
    output, _ = stopped.communicate(timeout=patience(200))
    assert stopped.returncode == 130, output

    code, output = sweep_in_process(*arguments)
    assert code == 0, output
    assert "27 of 27 arms done" in output
    for name, written in finished.items():
        assert (arms / name).stat().st_mtime_ns == written, f"{name} ran again"


def test_plan_is_checked_only_on_local_machine(
    sweep_in_process: Sweep, surface_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    large = ("--space", surface_space, "--storage", tmp_path / "runs", "--set", "resources.cpus_per_trial=4096")
    code, output = sweep_in_process(*large)
    assert (code, len(output.splitlines())) == (2, 1), output
    code, output = sweep_in_process(*large, "--dry-run")
    assert code == 2
    assert "not here" in output
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # as within a Ray job, with a driver on a small machine
    code, output = sweep_in_process(*large, "--dry-run")
    assert code == 0
    assert "not here" not in output
    assert not (tmp_path / "runs").exists()
