"""Durations of arms in an earlier run of the same settings, if a trainable has no estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from branchwise.analysis.statistics.power import SAME
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.run_folder.tables import trial_seconds
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.run_folder import RunFolder, runs

MAX_RECORDS = 50  # enough for a mean


@dataclass(frozen=True, kw_only=True)
class EarlierTime:
    """Expected seconds of a plan's arms, by those of an earlier run."""

    run: str
    seconds: float


def earlier_time(plan: Plan) -> EarlierTime | None:
    """Return the time by the storage's latest run with equal settings and resources, if any."""
    if plan.target is not None or plan.storage.local is None or not plan.slots:
        return None
    expected = _settings(yaml.safe_load(plan.space.resolved()))
    earlier_runs = []
    for run in runs(plan.storage):
        try:
            if _settings(yaml.safe_load(run.read_space())) == expected and (seconds := _mean_seconds(run)):
                earlier_runs.append((str(run.read_manifest().get("started", "")), run.name, seconds))
        except (OSError, DamagedError, yaml.YAMLError, AttributeError):
            continue  # no run that anything can be learned from
    if not earlier_runs:
        return None
    _, name, seconds = max(earlier_runs)
    arms = plan.total - len(plan.arms) + sum(len(cohort.arms) for cohort in plan.cohorts)
    return EarlierTime(run=name, seconds=seconds * arms / plan.slots)


def _settings(tree: dict[str, Any]) -> dict[str, Any]:
    resources = dict(tree.get("resources") or {})
    stored = {key: resources.get(key) for key in ("cpus_per_trial", "gpus_per_trial", "arms_per_trial", "workers")}
    across = (tree.get("design") or {}).get("across")  # an arm may take longer on another data set
    return {**{key: tree.get(key) for key in (*SAME, "function")}, "across": across, "resources": stored}


def _mean_seconds(run: RunFolder) -> float:
    """Mean seconds of an arm: a cohort's time is shared by its arms."""
    done = [run.read_record(name) for name in run.record_names()[:MAX_RECORDS]]
    done = [record for record in done if record.get("status") == "done"]
    shares = [max(seconds) / len(seconds) for seconds in trial_seconds(done).values()]
    return sum(shares) / len(shares) if shares else 0.0
