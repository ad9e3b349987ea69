"""Kills in the middle of a sweep cost time and nothing else. The long version is benchmarks/chaos.py."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from benchmarks.chaos import ARM_REPORTS, descendants, differences, finished, kill_once, resume, run_undisturbed, start

# `trail`, a column of the surface, tells whether a step was lost or repeated.
SPACE = """\
name: chaos
trainable: surface
train: {steps: 40, seconds_per_step: 0.15, checkpoint_every: 3}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  baselines: [scratch]
  blocks: 4
resources: {arms_per_trial: 5, max_concurrent: 2}
"""
SEED = 7


@pytest.mark.slow
def test_three_kills_leave_the_results_of_an_undisturbed_sweep(tmp_path: Path) -> None:
    space, storage = tmp_path / "space.yaml", tmp_path / "storage"
    space.write_text(SPACE)
    undisturbed = run_undisturbed(space, tmp_path / "undisturbed")
    _no_token_in(undisturbed.run, tmp_path / "undisturbed.log")
    storage.mkdir()
    run, moments = storage / "run", random.Random(SEED)

    # The settings come from the other run's folder: a run can be repeated from what it left.
    process = start(
        "--space", undisturbed.run / "space.yaml", "--storage", storage, "--name", "run", log=tmp_path / "1"
    )
    assert kill_once("actor", process, storage, ARM_REPORTS, moments.uniform(0.2, 2))
    assert process.poll() is None, "an actor's death is the sweep's"
    before = _kill_driver(process, storage, moments.uniform(0.5, 4))
    resumed = start("--resume", "run", "--storage", storage, log=tmp_path / "2")
    before |= _kill_driver(resumed, storage, moments.uniform(9, 14))
    assert resume(storage, "run") == 0, (tmp_path / "storage.log").read_text()

    assert len(finished(run)) == 20
    assert {name: record for name, record in finished(run).items() if name in before} == before
    assert differences(run, undisturbed.run) == []
    assert resume(storage, "run") == 0  # nothing is left to do
    assert differences(run, undisturbed.run) == []


def _kill_driver(process: object, storage: Path, moment: float) -> dict[str, tuple[int, bytes]]:
    """What was finished when the driver was killed, `moment` seconds from now."""
    assert kill_once("driver", process, storage, ARM_REPORTS, moment)  # type: ignore[arg-type]
    process.wait()  # type: ignore[attr-defined]
    return finished(storage / "run")


def _no_token_in(run: Path, log: Path) -> None:
    """Ray's token is in no file of the run, nor in what was printed, and only its owner reads it."""
    token = Path.home() / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_bytes().strip()
    holders = [file for file in (*run.rglob("*"), log) if file.is_file() and secret in file.read_bytes()]
    assert holders == []


def test_only_processes_below_the_root_are_found() -> None:
    assert descendants(os.getpid(), "no such command") == []
