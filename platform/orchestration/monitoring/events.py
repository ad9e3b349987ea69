"""The progress of a sweep as JSON lines, for programs: `--progress json`."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from branchwise.command_io import SCHEMA_VERSION, write_json
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.monitoring.status import remaining_seconds
from branchwise.orchestration.planning.plan import Plan


class Events:
    """A follower of a running sweep that writes a line per event to a stream.

    Without a stream it is a no-op. A reader that disconnects ends the output, not the sweep.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._run, self._total, self._finished = "", 0, 0
        self._remaining: float | None = None
        self._arms: dict[str, set[str]] = {}  # by cohort
        self._earlier: Collection[str] = ()  # arms that had a result before
        self._open: set[str] = set()
        self._closed: set[str] = set()

    def begin(self, plan: Plan) -> None:
        """Announce the plan as it is carried out."""
        if self._stream is None:
            return
        self._run, self._total = plan.run.name, plan.total
        self._arms = {cohort.name: {arm.name for arm in cohort.arms} for cohort in plan.cohorts}
        self._earlier = set(plan.run.record_names()).difference(*self._arms.values())
        self._finished = len(self._earlier)
        is_estimated = plan.arm_seconds > 0 or plan.is_complete
        self._remaining = plan.teacher_seconds + plan.arm_seconds + plan.startup_seconds if is_estimated else None
        self._write("planned")

    def teacher(self, name: str, status: str) -> None:
        """Announce that a teacher, or another model that the arms need, is `training` or `ready`."""
        self._write("teacher", name=name, status=status)

    def __call__(self, state: RunState, new: Sequence[str]) -> None:
        """Announce changes since the last call."""
        if self._stream is None:
            return
        self._finished, self._remaining = len(state.records), remaining_seconds(state, self._total)
        for cohort, report in state.running.items():
            self._arms.setdefault(cohort, set()).update(arm["arm"] for arm in report["arms"])
            self._start(cohort)
        for name in (name for name in new if name not in self._earlier):
            record = state.records[name]
            self._start(str(record.get("trial", "")))
            self._arm(name, record)
        for cohort in sorted(self._open - self._closed - state.running.keys()):
            if self._arms.get(cohort, set()) <= state.records.keys():
                self._closed.add(cohort)
                self._write("cohort_finished", name=cohort)

    def interim(self, blocks: int, decided: Sequence[str]) -> None:
        """Announce a declared interim analysis."""
        self._write("look", message=f"after {blocks} blocks decided {', '.join(decided) or 'nothing'}")

    def limit(self, text: str) -> None:
        """Announce the limit that has stopped the run."""
        self._write("limit", message=text)

    def done(self, code: int, status: str, finished: int | None, message: str) -> None:
        """Announce the end; the command returns `code`."""
        self._finished = self._finished if finished is None else finished
        self._remaining = None
        self._write("done", exit_code=code, status=status, message=message or None)

    def _start(self, cohort: str) -> None:
        if cohort and cohort not in self._open:
            self._open.add(cohort)
            self._write("cohort_started", name=cohort)

    def _arm(self, name: str, record: Mapping[str, Any]) -> None:
        status = str(record["status"])
        event_type = "arm_finished" if status in ("done", "stopped") else "arm_failed"
        value = (record.get("values") or {}).get("value")
        self._write(event_type, name=name, status=status, value=value, message=record.get("error") or None)

    def _write(self, event: str, **fields: Any) -> None:
        with self._lock:
            if self._stream is None or not self._run:
                return
            line = {
                "schema_version": SCHEMA_VERSION,
                "event": event,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "run": self._run,
                "arms": self._total,
                "arms_finished": self._finished,
                "seconds_left": self._remaining,
                **{key: value for key, value in fields.items() if value is not None},
            }
            if not write_json(line, self._stream):
                self._stream = None
