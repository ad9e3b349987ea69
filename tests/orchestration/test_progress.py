"""The thread that speaks to Ray, and the display that watches it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from branchwise.orchestration.monitoring.progress import watch


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A job in the background of a script starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_work_that_is_interrupted_has_ended_before_anyone_hears_of_it() -> None:
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        assert stop.wait(20)
        time.sleep(0.5)  # in a call it cannot leave at once
        ended.set()

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        watch(work, lambda: None)
    assert ended.is_set()


def test_a_display_that_ends_the_sweep_stops_the_work_first() -> None:
    told = []

    def show() -> None:
        raise RuntimeError("the storage is lost")

    with pytest.raises(RuntimeError, match="the storage is lost"):
        watch(lambda stop: told.append(stop.wait(20)), show)
    assert told == [True]


def test_a_storage_that_fails_for_a_moment_is_not_the_end() -> None:
    shown = []

    def show() -> None:
        shown.append(True)
        raise OSError("no space left on device")

    watch(lambda stop: time.sleep(1.5), show)
    assert shown


def test_what_the_work_raised_is_raised() -> None:
    def work(stop: threading.Event) -> None:
        raise ValueError("told to fail")

    with pytest.raises(ValueError, match="told to fail"):
        watch(work, lambda: None)
