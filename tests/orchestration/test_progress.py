"""The thread that calls Ray, and the display that watches it."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from branchwise.orchestration.monitoring.progress import Display, RemainingTime, watch


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A job in the background of a script starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_interrupted_work_finishes_before_error() -> None:
    finished = threading.Event()

    def work(stop: threading.Event) -> None:
        assert stop.wait(20)
        time.sleep(0.5)  # in a call it cannot leave at once
        finished.set()

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        watch(work, lambda: None)
    assert finished.is_set()


def test_display_that_ends_sweep_stops_work_first() -> None:
    lines = []

    def show() -> None:
        raise RuntimeError("the storage is lost")

    with pytest.raises(RuntimeError, match="the storage is lost"):
        watch(lambda stop: lines.append(stop.wait(20)), show)
    assert lines == [True]


def test_storage_that_fails_for_moment_is_not_end() -> None:
    visible = []

    def show() -> None:
        visible.append(True)
        raise OSError("no space left on device")

    watch(lambda stop: time.sleep(1.5), show)
    assert visible


def test_what_work_raised_is_raised() -> None:
    def work(stop: threading.Event) -> None:
        raise ValueError("told to fail")

    with pytest.raises(ValueError, match="told to fail"):
        watch(work, lambda: None)


@pytest.mark.parametrize("pace", [0.25, 1.0, 4.0])  # of the plan's
def test_remaining_time_falls_smoothly(pace: float) -> None:
    remaining, planned, start_up = RemainingTime(100.0), 100.0, 12
    lines = [
        remaining.after(float(second), max(0.0, (second - start_up) * pace / planned))
        for second in range(start_up + int(planned / pace))
    ]
    assert set(lines[: start_up + 1]) == {planned}, "start-up says nothing of the pace"
    for before, after in itertools.pairwise(lines):
        assert abs(after - before) <= 6 + 0.15 * before, "26 s, then 1 min 47 s, is a jump"
    late = start_up + int(0.75 * planned / pace)
    assert lines[late] == pytest.approx(len(lines) - late, rel=0.2, abs=8)
    assert remaining.after(1000.0, 1.0) == 0.0


def test_without_plan_pace_is_estimate() -> None:
    remaining = RemainingTime(0.0)
    assert remaining.after(0.0, 0.0) == 0.0
    remaining.after(1.0, 0.01)
    assert remaining.after(60.0, 0.5) == pytest.approx(59.0, rel=0.1)


def test_earlier_session_does_not_affect_pace() -> None:
    remaining = RemainingTime(600.0)
    assert remaining.after(0.0, 0.4) == 600.0, "two fifths were done before the first second"
    for second in range(1, 300):
        left = remaining.after(float(second), 0.4 + second / 1000)
    assert left == pytest.approx(301, rel=0.1)


def test_display_keeps_output_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray prints boxes; they belong in its log, where this process's output has been sent."""
    log, terminal = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(log), Display(Console(file=terminal, force_terminal=True)) as display:
        display.trained("teacher")
        print("Number of trials 9223372036854775807")
    assert "Number of trials" in log.getvalue()
    assert "Number of trials" not in terminal.getvalue()
    assert "ready" in terminal.getvalue()
