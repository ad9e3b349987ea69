"""The resources that a sweep has used of its limits."""

from __future__ import annotations

import time
from dataclasses import replace

from branchwise.orchestration.limits import Meter, Usage, spent_of
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.run_folder.tables import records, trial_seconds
from branchwise.trainables.runtime.run_folder import RunFolder


def meter_of(plan: Plan) -> Meter:
    """The meter of a session that begins now."""
    gpus = plan.space.resources.gpus_per_trial
    meter = Meter(limits=plan.space.limits, before=Usage(), started_at=time.time(), gpus=gpus, price=plan.price or 0.0)
    hours = spent_of(plan.run.read_manifest()).hours
    return replace(meter, before=replace(meter.trial_usage(total_seconds(plan.run)), hours=hours))


def spent_by(plan: Plan, meter: Meter) -> Usage:
    """All that the run has taken, in this session and before."""
    hours = meter.before.hours + meter.hours()
    return replace(meter.trial_usage(total_seconds(plan.run)), hours=hours)


def total_seconds(run: RunFolder) -> float:
    """Seconds of all trials that left a record, without those reused from other runs."""
    trained = [record for record in records(run).values() if record is not None and "reused_from" not in record]
    return sum(max(seconds) for seconds in trial_seconds(trained).values())
