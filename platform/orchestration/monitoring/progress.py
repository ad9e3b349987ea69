"""Terminal output of a running sweep: a live display, or plain lines without a terminal.

The workers write their progress to the run folder; the display reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from branchwise.orchestration import interrupts
from branchwise.orchestration.monitoring.run_state import Follower, RunState, share
from branchwise.orchestration.time_limit import abandon_thread
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.job import TEACHER
from branchwise.trainables.runtime.run_folder import RunFolder

REFRESH_SECONDS = 1.0
LINE_SECONDS = 15.0  # between plain lines
STOP_SECONDS = 30.0  # for work that must stop


def watch(
    work: Callable[[threading.Event], None], show: Callable[[], None], check: Callable[[], None] = lambda: None
) -> None:
    """Run `work` in a thread, and `show` about every second in another, until the work ends.

    Ctrl-C thus arrives here at once, as KeyboardInterrupt, neither in the middle of Ray's work nor
    after a storage has answered. `work` that shall stop is waited for: if it had a call to Ray in
    progress while Ray is shut down, Ray would end this process at once, with exit code 1.

    Args:
        work: Is given an event that is set when it shall stop.
        show: Displays the progress.
        check: Called every second.

    Raises:
        BaseException: Whatever `work`, `show` or `check` raises.
    """
    # Waited for by an event: a join that Ctrl-C breaks off may treat the thread as finished (Python's issue 90882).
    stop, finished = threading.Event(), threading.Event()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # handed to the main thread, which raises it
            if not stop.is_set():
                failure.append(error)
        finally:
            finished.set()

    def refresh() -> None:
        try:
            while not finished.wait(REFRESH_SECONDS) and not stop.is_set():
                with suppress(OSError):  # a storage that fails for a moment; for how long it may, `check` knows
                    show()
        except Exception as error:
            failure.append(error)

    threads = [threading.Thread(target=target, daemon=True) for target in (run, refresh)]
    try:
        for thread in threads:
            thread.start()
            abandon_thread(thread)
        while not finished.wait(REFRESH_SECONDS) and not failure:
            interrupts.check(swallowed=True)
            check()
    finally:
        stop.set()
        finished.wait(STOP_SECONDS)
        threads[1].join(STOP_SECONDS)
    if failure:
        raise failure[0]


class Display:
    """Bars on a terminal, else a line every LINE_SECONDS when something changed.

    A context manager. `followers` see what was inspected; `on_training` is called with the name of
    a model that arms need, such as the teacher, when it is `training` and when it is `ready`.
    `pulse` changes whenever something that runs has reported.
    """

    def __init__(
        self,
        console: Console,
        followers: Sequence[Follower] = (),
        on_training: Callable[[str, str], None] = lambda name, status: None,
    ) -> None:
        self.pulse: Hashable = None
        self._console = console
        self._followers = followers
        self._on_training = on_training
        self._in_training: set[str] = set()
        self._state: RunState | None = None
        self._stack = ExitStack()
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            # Not captured: Ray's output is written to its log, to which the cluster redirects this process.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, Any] = {}
        self._last_line = ("", 0.0)
        self._remaining = RemainingTime(0.0)

    def __enter__(self) -> Display:
        self._stack.enter_context(self._bars)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def training(self, name: str, unfinished: RunFolder, which: str = "") -> None:
        """Show the progress of what trains under this name, from the folder its training writes to.

        `which`: "1 of 2, ", of several.
        """
        if name + which not in self._in_training:
            self._in_training.add(name + which)
            self._on_training(which + name, "training")
        state = read_progress(unfinished, name)
        if not state:
            self._show(name, None, f"{which}starting Ray Train workers, which takes about 15 s")
            return
        self.pulse = (TEACHER, state["time"])
        fraction = state["step"] / max(1, state["steps"])
        self._show(name, fraction, f"{which}{state['phase']} {state['step']}/{state['steps']}{_details(state)}")

    def trained(self, name: str) -> None:
        """Show that what trained under this name is ready."""
        self._show(name, 1.0, "ready")
        self._on_training(name, "ready")

    def begin_arms(self, expected_seconds: float) -> None:
        """Start the clock of the arms."""
        self._remaining = RemainingTime(expected_seconds)

    def measurements(self, work: RunFolder, done: int, total: int) -> None:
        """Show how many of `total` measurements are done; their workers report to the folder `work`."""
        reports = self._refresh(work).running.values()
        partial = sum(len(report["arms"]) * report["step"] / max(1, report["steps"]) for report in reports)
        self._count("measures", max(done, partial), total, f"{done}/{total} made")

    def arms(self, task: str, run: RunFolder, names: set[str], total: int) -> None:
        """Show the progress of a task of `total` arms, of which `names` have been requested so far."""
        state = self._refresh(run)
        finished = len(names & state.records.keys())
        running, partial, rate = 0, 0.0, 0.0
        for report in state.running.values():
            waiting = len(names.intersection(arm["arm"] for arm in state.unfinished(report)))
            running += waiting
            partial += waiting * share(report)
            rate += report.get("steps_per_second", 0.0) * (waiting if report["phase"] == "train" else 0)
        failed = sum(state.records[name]["status"] not in ("done", "stopped") for name in names & state.records.keys())
        text = f"{finished}/{total} done, {running} running" + (f", {failed} failed" if failed else "")
        if rate:
            text += f", {rate:.0f} arm steps/s"
        self._count(task, finished + partial, total, text)

    def _count(self, task: str, done: float, total: int, text: str) -> None:
        """Show the text and the remaining time; `done` counts what is in progress in part."""
        fraction = min(1.0, done / max(1, total))
        remaining = self._remaining.after(time.monotonic(), fraction)
        self._show(task, fraction, text + (f", {duration(remaining)} left" if remaining > 0 else ""))

    def _refresh(self, run: RunFolder) -> RunState:
        if self._state is None:
            self._state = RunState(run)
        new = self._state.refresh()
        reports = frozenset((cohort, report["time"]) for cohort, report in self._state.running.items())
        if self._state.records or reports:
            self.pulse = (len(self._state.records), reports)
        for follow in self._followers:
            follow(self._state, new)
        return self._state

    def _show(self, task: str, fraction: float | None, state: str) -> None:
        """`fraction` is None before the first measurement: the bar then only moves."""
        if self._console.is_terminal:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=None, state="")
            total = None if fraction is None else 1.0
            self._bars.update(self._tasks[task], total=total, completed=fraction or 0.0, state=state)
            return
        line, now = f"{task}: {state}", time.monotonic()
        if line != self._last_line[0] and now - self._last_line[1] >= LINE_SECONDS:
            self._console.print(line, highlight=False)
            self._last_line = (line, now)


class RemainingTime:
    """The remaining time, from the plan's estimate and the observed pace, without jumps.

    The clock starts at the last refresh before progress, so start-up and earlier sessions do not
    count.
    """

    TRUSTED = 0.3  # from this fraction of the session's work on, only the pace counts
    FORGETS = 6.0  # seconds after which a new estimate has mostly replaced the old

    def __init__(self, expected: float) -> None:
        self._expected = expected
        self._started_at: tuple[float, float] | None = None  # when, and the fraction that was done then
        self._last_shown: tuple[float, float] | None = None  # seconds remaining, and the time of display

    def after(self, now: float, fraction: float) -> float:
        """Return the seconds left at time `now` with this fraction of the work done; 0 if unknown."""
        if fraction >= 1:
            return 0.0
        if fraction <= 0 or self._started_at is None:
            self._started_at = now, fraction
            return self._expected
        began, first = self._started_at
        done = (fraction - first) / (1 - first)
        if done <= 0:
            return self._expected
        trust = min(1.0, done / self.TRUSTED) if self._expected else 1.0
        estimate = trust * (now - began) * (1 - done) / done + (1 - trust) * self._expected * (1 - done)
        if self._last_shown is not None:
            before, when = self._last_shown
            weight = min(1.0, (now - when) / self.FORGETS)
            estimate = (1 - weight) * max(0.0, before - (now - when)) + weight * estimate
        self._last_shown = (estimate, now)
        return estimate


def read_progress(folder: RunFolder, name: str) -> Any:
    """The last report of the cohort or teacher of this name, or None."""
    try:
        return folder.read_progress(name)
    except (FileNotFoundError, DamagedError):
        return None


def duration(seconds: float) -> str:
    """Format `seconds`: 45 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _details(state: Mapping[str, Any]) -> str:
    rate = state.get("steps_per_second")
    if not rate:
        return ""
    remaining = (state["steps"] - state["step"]) / rate
    return f", {rate:.1f} steps/s, {duration(remaining)} left"
