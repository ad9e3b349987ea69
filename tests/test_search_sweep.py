"""Searches from the command line: killed in their midst, stopped at rungs, with arms that fail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from kills import finished, kill, start
from optuna.storages.journal import JournalFileBackend

from branchwise.orchestration.space import load_space

TUNED = """\
name: tuned
trainable: surface
train: {steps: 10, seconds_per_step: 0.1}
method: {anchor_weight: 1.0, uncond_weight: 0.2}
design:
  kind: tuned_factorial
  components:
    anchor: {off: {anchor_weight: 0}}
    curriculum_transfer: {off: {curriculum: learned}}
  arms: 6
  knobs:
    anchor_weight: {log_uniform: [0.01, 1.0]}
    uncond_weight: {uniform: [0.1, 3.0]}
  blocks: 2
resources: {arms_per_trial: 2}
"""

STOPPED = """\
name: stopped
trainable: surface
train: {steps: 9}
method: {uncond_weight: 0.2}
faults: {crash: [1001]}
design:
  kind: search
  arms: 12
  scheduler: asha
  rungs: [3, 6]
  reduction: 2
  knobs:
    uncond_weight: {uniform: [0.1, 3.0]}
  blocks: 2
resources: {max_retries: 0}
"""


@pytest.mark.slow(45)
@pytest.mark.usefixtures("ray_session")
def test_killed_search_resumes_with_same_quotas(
    sweep_in_process: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text(TUNED)
    storage = tmp_path / "storage"
    run = storage / "tuned"
    process = start("--space", tmp_path / "space.yaml", "--storage", storage, log=tmp_path / "log")
    while len(finished(run)) < 9:
        assert process.poll() is None
        time.sleep(0.1)
    assert kill("driver", process)
    process.wait()
    before = finished(run)
    code, output = sweep_in_process("--resume", "tuned", "--storage", storage)
    assert code == 0, output
    after = finished(run)
    assert {name: after[name] for name in before} == before, "a finished arm ran again"
    arms = pd.read_parquet(run / "arms.parquet")
    searched = Counter(arms.loc[arms["kind"] == "search", "cell"])
    assert searched == dict.fromkeys(("full", "anchor", "curriculum_transfer", "base"), 6)
    assert Counter(arms["kind"]) == {"search": 24, "cell": 8, "confirm": 8}
    assert arms["trail"].nunique() == 1, "a step was lost or repeated"
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(run / "study.journal")))
    for study in optuna.study.get_all_study_summaries(journal):
        states = {trial.state.name for trial in optuna.load_study(study_name=study.study_name, storage=journal).trials}
        assert states == {"COMPLETE"}
        assert study.n_trials == 6


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_stopped_and_failed_arms_are_distinguished(
    sweep_in_process: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text(STOPPED)
    code, output = sweep_in_process("--space", tmp_path / "space.yaml", "--storage", tmp_path)
    assert code == 3, output
    arms = pd.read_parquet(tmp_path / "stopped/arms.parquet").set_index("arm")
    searched = arms[arms["kind"] == "search"]
    assert len(searched) == 12
    assert set(searched["status"]) == {"done", "stopped"}
    stopped = searched[searched["status"] == "stopped"]
    assert set(stopped["steps"]) <= {3, 6}
    assert stopped["value"].isna().all()
    assert stopped["rung_value"].notna().all()
    confirmed = arms[arms["kind"] == "confirm"]
    assert set(confirmed.loc[confirmed["seed"] == 1001, "status"]) == {"failed"}, "told to crash on this seed"
    assert "told to crash" in confirmed["error"].loc["best-b1"]
    assert "stopped at a rung" in output
    assert f"Ablate its best settings: branchwise run {tmp_path}/stopped/best.yaml" in output
    best = load_space(tmp_path / "stopped/best.yaml")
    assert best.folder == str(tmp_path)  # where its run was started from
    assert best.design.component_names() == ("uncond_weight",)
