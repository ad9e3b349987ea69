"""Searches from the command line: killed in their midst, stopped at rungs, with arms that fail."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import optuna
import pandas as pd
import pytest
from kills import finished, kill, resume, start
from optuna.storages.journal import JournalFileBackend

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


@pytest.mark.slow(45)
def test_a_killed_search_goes_on_with_the_same_quotas(tmp_path: Path) -> None:
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
    assert resume(storage, "tuned") == 0, (tmp_path / "storage.log").read_text()
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
