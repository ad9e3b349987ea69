"""Plans and states of runs as the documents of `--json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from branchwise.documents import (
    Detail,
    ListDocument,
    ListedRun,
    PlanDocument,
    RunningCohort,
    StatusDocument,
)
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.monitoring.status import best_arm, overview, remaining_seconds
from branchwise.orchestration.monitoring.terminal import plan_rows
from branchwise.orchestration.planning.earlier_time import earlier_time
from branchwise.orchestration.planning.plan import Plan
from branchwise.trainables.runtime.run_folder import RunFolder, runs
from branchwise.trainables.runtime.storage import Storage


def plan_document(plan: Plan, obstacle: str) -> PlanDocument:
    """Return the document of `plan --json`."""
    design, searches = plan.space.design, plan.space.design.searches()
    is_estimated = plan.device is not None and (plan.arm_seconds or plan.is_complete or not plan.total)
    seconds = plan.teacher_seconds + plan.arm_seconds + plan.startup_seconds
    if not is_estimated and plan.device is not None and (earlier := earlier_time(plan)):
        is_estimated, seconds = True, earlier.seconds + plan.startup_seconds
    machine = plan.device.name if plan.device else None
    return PlanDocument(
        run=plan.run.name,
        folder=plan.run.root,
        kind=design.kind,
        trainable=plan.space.trainable,
        components=list(design.component_names()),
        claims=list(getattr(design, "claims", ())),
        arms=plan.total,
        arms_left=None if searches else sum(len(cohort.arms) for cohort in plan.cohorts),
        blocks=design.max_blocks,
        seconds=float(seconds) if is_estimated and math.isfinite(seconds) else None,
        machine=f"{plan.target.count} x {machine}" if plan.target else machine,
        obstacle=obstacle or None,
        notices=list(plan.space.notices),
        details=[Detail(name=name, text=text) for name, text in plan_rows(plan, obstacle)],
    )


def status_document(run: RunFolder) -> StatusDocument:
    """Return the document of `status --json`."""
    view, manifest, state = overview(run), run.read_manifest(), RunState(run)
    state.refresh()
    remaining = remaining_seconds(state, view.total) if view.holder else None
    return StatusDocument(
        run=view.name,
        folder=run.root,
        state=view.state,
        started=view.started or None,
        ended=manifest.get("ended"),
        host=manifest.get("host"),
        pid=view.holder["pid"] if view.holder else None,
        arms=view.total,
        arms_finished=len(state.records),
        arms_by_status=state.counts(),
        seconds_left=remaining,
        running=[_running(cohort, report, state) for cohort, report in state.running.items()] if view.holder else [],
        best=best_arm(run, state),
        report=run.report_path() if run.has_report() else None,
        limit=manifest.get("limit") or None,
    )


def list_document(storage: Storage) -> ListDocument:
    """Return the document of `list --json`."""
    listed = [
        ListedRun(
            run=view.name, state=view.state, arms=view.total, arms_finished=view.done, started=view.started or None
        )
        for view in map(overview, runs(storage))
    ]
    return ListDocument(storage=storage.root, runs=listed)


def _running(cohort: str, report: Mapping[str, Any], state: RunState) -> RunningCohort:
    return RunningCohort(
        cohort=cohort,
        arms=[arm["arm"] for arm in state.unfinished(report)],
        phase=report["phase"],
        step=report["step"],
        steps=report["steps"],
        steps_per_second=report.get("steps_per_second"),
    )
