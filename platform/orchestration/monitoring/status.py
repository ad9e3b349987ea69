"""The status of a run, while it runs or afterwards, from its folder only: no Ray, no space."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

import rich.table
from rich.console import Console
from rich.live import Live

from branchwise.documents import BestArm
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import first_names
from branchwise.orchestration.limits import spent_of
from branchwise.orchestration.monitoring.progress import duration, read_progress
from branchwise.orchestration.monitoring.run_state import RunState, share
from branchwise.orchestration.run_folder.lock import active_lease_owner
from branchwise.orchestration.run_folder.plan_file import LIST_HINT, started_run
from branchwise.orchestration.run_folder.tables import trial_seconds
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.job import TEACHER
from branchwise.trainables.runtime.run_folder import RunFolder, runs
from branchwise.trainables.runtime.shared_models import TeacherStore
from branchwise.trainables.runtime.storage import Storage

WATCH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A run in a line."""

    name: str
    state: str  # running, finished, interrupted, failed; stopped: it ended unexpectedly; unreadable: another user's
    done: int
    total: int
    started: str
    holder: Mapping[str, Any] | None  # who runs it now


def print_state(storage: Storage, name: str | None, console: Console) -> None:
    """Print the state of the run called `name`, or of the last started.

    Raises UserError if none exists.
    """
    console.print(_grid(storage, RunState(run_to_show(storage, name))), highlight=False)


def watch_state(storage: Storage, name: str, console: Console) -> bool:
    """Show the state of a run until no process runs it; return whether it has finished.

    Raises UserError if there is no such run, and KeyboardInterrupt at Ctrl-C, which does not affect
    the run.
    """
    state = RunState(run_to_show(storage, name))
    with Live(_grid(storage, state), console=console, auto_refresh=False) as live:
        while overview(state.run).holder:
            time.sleep(WATCH_SECONDS)
            with suppress(OSError):  # a storage that fails for a moment
                live.update(_grid(storage, state), refresh=True)
        live.update(_grid(storage, state), refresh=True)
    return overview(state.run).state == "finished"


def run_to_show(storage: Storage, name: str | None) -> RunFolder:
    """Return the run called `name`, or the last started. Raises UserError if none exists."""
    return latest_run(storage) if name is None else started_run(storage, name, "run", LIST_HINT)


def latest_run(storage: Storage) -> RunFolder:
    """Return the run of the storage that was started last. Raises UserError if none exists."""
    started = [(overview(run).started, run.name, run) for run in runs(storage)]
    if not started:
        raise UserError(f"{storage.root}: no runs")
    return max(started, key=lambda item: item[:2])[2]


def _grid(storage: Storage, state: RunState) -> rich.table.Table:
    state.refresh()
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for key, text in describe(storage, state.run, state):
        grid.add_row(key, text)
    return grid


def print_list(storage: Storage, console: Console) -> None:
    """Print a line for each run."""
    table = rich.table.Table("run", "state", "arms with a result", "started", box=None, padding=(0, 2, 0, 0))
    for folder in runs(storage):
        run = overview(folder)
        table.add_row(run.name, run.state, f"{run.done} of {run.total}", _local_time(run.started))
    if table.row_count:
        console.print(table, highlight=False)
    else:
        console.print(f"{storage.root}: no runs", highlight=False, soft_wrap=True)


def overview(run: RunFolder) -> Overview:
    try:
        manifest, holder = run.read_manifest(), active_lease_owner(run.files)
        counts, state = manifest.get("arms_by_status"), manifest.get("status", "damaged")
        # While it runs, the counts are those of an earlier session; a record exists once its arm is finished.
        done = len(run.record_names()) if state == "running" or not counts else counts["done"]
    except PermissionError:
        return Overview(name=run.name, state="unreadable", done=0, total=0, started="", holder=None)
    return Overview(
        name=run.name,
        state="stopped" if state == "running" and holder is None else "running" if holder else state,
        done=done,
        total=manifest.get("arms", 0) or done,
        started=manifest.get("started", ""),
        holder=holder,
    )


def describe(storage: Storage, run: RunFolder, state: RunState | None = None) -> Iterator[tuple[str, str]]:
    """The output of `status`, a row at a time.

    `state` holds the records read so far, so that none is read repeatedly.
    """
    view, manifest, now = overview(run), run.read_manifest(), time.time()
    yield "run", run.root
    yield "state", _state(view, manifest, now)
    if view.started:
        yield "started", f"{_local_time(view.started)} on {manifest.get('host') or 'an unknown host'}"
    if state is None:
        state = RunState(run)
        state.refresh()
    message = ", ".join(f"{number} {status}" for status, number in state.counts().items())
    yield "arms", f"{len(state.records)} of {view.total} finished" + (f" ({message})" if message else "")
    if manifest.get("spent"):
        yield "spent", spent_of(manifest).text()
    if manifest.get("limit"):
        yield "limit", str(manifest["limit"])
    if looks := manifest.get("looks"):
        yield (
            "looks",
            "; ".join(f"after {at['blocks']} blocks decided {first_names(at['decided']) or 'nothing'}" for at in looks),
        )
    if "stopped_after" in manifest:
        why = {"decided": "everything was decided", "futile": "nothing open had a chance", "max": "the last look"}
        because = why[manifest.get("stopped_because", "max")]
        yield "ended", f"by the look after {manifest['stopped_after']} blocks: {because}"
    if view.holder:
        yield from _running(storage, state, manifest, view.total, now)
    elif len(state.records) < view.total or view.state != "finished":
        yield "to resume", f"branchwise resume {view.name}"
    if run.has_report():
        yield "report", run.report_path()
    if best := best_arm(run, state):
        over = f", the mean of {best.seeds} seeds" if best.seeds > 1 else ""
        yield "best so far", f"{best.value:.4g} {best.metric}{over}, {best.arm}"


def best_arm(run: RunFolder, state: RunState) -> BestArm | None:
    """Return the best arm so far, in the metric's direction.

    None without a value, and on multiple data sets. Of a search's configurations on multiple seeds,
    those with values on the largest number of seeds count: the best is named by its first arm, with
    the mean as value.
    """
    if any(record.get("across") for record in state.records.values()):
        return None  # values of different data sets are not compared
    groups: dict[str, dict[int, tuple[float, str]]] = {}  # by seed: settings may be suggested twice
    for arm, record in sorted(state.records.items()):
        if (value := _value(record)) is not None:
            searched = json.dumps([record["cell"], record["patch"]], sort_keys=True)
            group = groups.setdefault(searched if record.get("kind") == "search" else arm, {})
            group.setdefault(record.get("seed", 0), (value, arm))
    if not groups:
        return None
    seeds = max(map(len, groups.values()))
    runs = [list(group.values()) for group in groups.values() if len(group) == seeds]
    sign = -1.0 if _higher_is_better(run) else 1.0
    value, arm = min(
        ((fmean(v for v, _ in cell_runs), cell_runs[0][1]) for cell_runs in runs),
        key=lambda cell_runs: (sign * cell_runs[0], cell_runs[1]),
    )
    return BestArm(arm=arm, metric=str(state.records[arm]["values"]["metric"]), value=value, seeds=seeds)


def _higher_is_better(run: RunFolder) -> bool:
    """Whether the plan declares so of the value; it may be damaged or missing."""
    try:
        columns = run.read_plan().get("columns") or []
    except (DamagedError, FileNotFoundError):
        return False
    return any(column["name"] == "value" and column["better"] == "higher" for column in columns)


def _running(
    storage: Storage, state: RunState, manifest: Mapping[str, Any], total: int, now: float
) -> Iterator[tuple[str, str]]:
    teachers = manifest.get("teachers") or []
    for number, teacher in enumerate(teachers, start=1):
        report = read_progress(TeacherStore(storage).unfinished(teacher["key"]), TEACHER)
        if report:
            which = f"{number} of {len(teachers)}, " if len(teachers) > 1 else ""
            yield "teacher", which + _progress(report, now)
    for cohort, report in state.running.items():
        arms = [arm["arm"] for arm in state.unfinished(report)]
        yield cohort, f"{_progress(report, now)}: {', '.join(arms[:4])}{', ...' if len(arms) > 4 else ''}"
    rate = sum(_rate(report) * len(state.unfinished(report)) for report in state.running.values())
    if rate:
        yield "speed", f"{rate:.1f} arm steps/s"
    time_remaining = remaining_seconds(state, total)
    yield (
        "left",
        f"about {duration(time_remaining)}"
        if time_remaining is not None
        else "not known before the first arms have trained a while",
    )


def remaining_seconds(state: RunState, total: int) -> float | None:
    """Estimate the time that the run still needs from its finished and running cohorts.

    None if unknown. The teacher is not included. Waiting cohorts are assumed to be like the others,
    as many at a time as run now.
    """
    seconds = trial_seconds(state.records.values())
    durations = [max(arms) / len(arms) for trial, arms in seconds.items() if trial not in state.running]  # of an arm
    running: list[float] = []
    waiting = total - len(state.records)
    for report in state.running.values():
        arms = len(state.unfinished(report))
        waiting -= arms
        if share(report) > 0:
            elapsed = report["time"] - report["begun"]
            running.append(elapsed * (1 - share(report)) / share(report))
            durations.append(elapsed / share(report) / max(1, arms))
    if not durations:
        return None
    at_a_time = max(1, len(state.running))
    waited: float = max(0, waiting) * sum(durations) / len(durations)
    return max([(sum(running) + waited) / at_a_time, *running])


def _state(view: Overview, manifest: Mapping[str, Any], now: float) -> str:
    if view.holder:
        ago = max(0, round(now - view.holder["renewed"]))
        return f"running as process {view.holder['pid']} on {view.holder['host']}, last heartbeat {ago} s ago"
    if view.state == "stopped":
        return "stopped unexpectedly: its process was killed, or its machine is gone"
    end_time = manifest.get("ended")
    return f"{view.state}{f', {_local_time(end_time)}' if end_time else ''}"


def _progress(report: Mapping[str, Any], now: float) -> str:
    rate, ago = _rate(report), now - report["time"]
    message = f"{report['phase']} {report['step']}/{report['steps']}" + (f", {rate:.1f} steps/s" if rate else "")
    return message + (f", {duration(ago)} ago" if ago > 30 else "")


def _rate(report: Mapping[str, Any]) -> float:
    return float(report.get("steps_per_second", 0.0)) if report["phase"] == "train" else 0.0


def _value(record: Mapping[str, Any]) -> float | None:
    value: float | None = record.get("values", {}).get("value")
    return None if value is None or record["status"] != "done" or math.isnan(value) else value


def _local_time(when: str) -> str:
    return f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M}" if when else ""
