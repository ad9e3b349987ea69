"""Kills in the middle of a sweep cost only time. The long version is benchmarks/chaos.py."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from kills import (
    ARM_REPORTS,
    Moment,
    descendants,
    differences,
    finished,
    kill,
    resume,
    run_reference,
    start,
    wait_for,
)

# `trail`, a column of the surface, shows missing or repeated steps.
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


@pytest.mark.slow(75)
@pytest.mark.usefixtures("ray_session")
def test_three_kills_keep_results(sweep_in_process: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    space, storage = tmp_path / "space.yaml", tmp_path / "storage"
    space.write_text(SPACE)
    code, output = sweep_in_process("--space", space, "--storage", tmp_path, "--name", "undisturbed")
    assert code == 0, output
    expected = tmp_path / "undisturbed"
    storage.mkdir()
    run, moments = storage / "run", random.Random(SEED)
    finished_before: dict[str, tuple[int, bytes]] = {}

    def kill_at_random(kind: str, process: subprocess.Popen[bytes], *, until: float) -> None:
        moment = Moment(reports=ARM_REPORTS, share=moments.uniform(0.01, until), seconds=moments.random())
        assert wait_for(moment, process, storage)
        assert kill(kind, process)
        finished_before.update(finished(run))

    # The settings are from the other run's folder: a run can be repeated from its folder.
    new = ("--space", expected / "space.yaml", "--storage", storage, "--name", "run")
    process = start(*new, log=tmp_path / "1.log")
    kill_at_random("actor", process, until=0.3)
    assert process.poll() is None, "an actor's death is not the sweep's"
    kill_at_random("driver", process, until=0.8)
    process.wait()
    process = start("--resume", "run", "--storage", storage, log=tmp_path / "2.log")
    time.sleep(moments.uniform(9, 14))
    assert kill("driver", process)
    finished_before.update(finished(run))
    process.wait()
    assert resume(storage, "run") == 0, (tmp_path / "storage.log").read_text()
    for log in ("1.log", "2.log", "storage.log"):
        _no_token_in(run, tmp_path / log)

    assert len(finished(run)) == 20
    assert {name: record for name, record in finished(run).items() if name in finished_before} == finished_before
    assert differences(run, expected) == []
    code, output = sweep_in_process("--resume", "run", "--storage", storage)
    assert code == 0, output  # no work remains
    assert differences(run, expected) == []


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "space.yaml").write_text(faults.SPACE)
    return run_reference(folder / "space.yaml", folder / "undisturbed")


@pytest.mark.long(60)
@pytest.mark.parametrize("kind", ["clock", "dashboard killed", "file flipped", "file deleted at rest", "signals"])
def test_fault_costs_no_result(expected: Path, tmp_path: Path, kind: str) -> None:
    """The short form of `benchmarks/chaos.py --faults 40`; tests/test_endings.py has the parts of Ray."""
    fault = faults.disturb(kind, expected, tmp_path / "storage", random.Random(SEED))
    assert fault.wrong == [], (tmp_path / "storage.log").read_text()


def _no_token_in(run: Path, log: Path) -> None:
    """Ray's token is in no file of the run, nor in what was printed, and only its owner reads it."""
    token = Path.home() / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_bytes().strip()
    holders = [file for file in (*run.rglob("*"), log) if file.is_file() and secret in file.read_bytes()]
    assert holders == []


def test_only_descendants_are_listed() -> None:
    assert descendants(os.getpid(), "no such command") == []
