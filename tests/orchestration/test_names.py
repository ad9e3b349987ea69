"""Sweeps of the same space that start at once each get a separate folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.sweep import acquire_run
from branchwise.orchestration.planning.plan import plan_new
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.space import load_space
from branchwise.trainables.runtime.storage import storage_at


def test_unnamed_sweeps_are_numbered(surface_space: Path, tmp_path: Path) -> None:
    space, storage = load_space(surface_space), storage_at(tmp_path / "runs")
    plans = [plan_new(space, storage, None) for _ in range(3)]  # before any of them has a folder
    assert {plan.run.name for plan in plans} == {"surface-ablation"}
    with acquire_run(plans[0]) as first, acquire_run(plans[1]) as second:
        write_plan(first.plan.run, space, ())
        first.has_started = True
        with acquire_run(plans[2]) as third:
            names = [run_session.plan.run.name for run_session in (first, second, third)]
        assert plan_new(space, storage, None).run.name == "surface-ablation-3", "a name in use is not even planned with"
    assert names == ["surface-ablation", "surface-ablation-2", "surface-ablation-3"]
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["surface-ablation"], "the others never began"


def test_requested_name_is_refused_if_taken(surface_space: Path, tmp_path: Path) -> None:
    space, storage = load_space(surface_space), storage_at(tmp_path / "runs")
    plans = [plan_new(space, storage, "mine") for _ in range(2)]
    with acquire_run(plans[0]), pytest.raises(UserError, match="mine is in use by process"), acquire_run(plans[1]):
        pass
