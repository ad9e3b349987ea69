"""Ctrl-C and SIGTERM: a request to end, which always arrives and is handled once.

The first signal becomes a KeyboardInterrupt in the main thread. Further ones have no effect, so that its handling
runs to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from branchwise.orchestration.time_limit import has_abandoned_threads

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 130
STUCK_SECONDS = 30.0  # for a main thread that is in a call which Python cannot interrupt


@dataclass
class _Request:
    arrived: bool = False  # in the main thread
    raised: bool = False
    deferring: int = 0  # how many `deferred` are in progress


_request = _Request()


def exit_on_signal_while_starting() -> None:
    """Let a signal end the process at once until `coalesce_interrupts`.

    Imports need seconds, and no work has started.
    """
    for number in SIGNALS:
        signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"Interrupted before anything had started.\n")
    os._exit(EXIT_CODE)


@contextmanager
def coalesce_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt within at the first Ctrl-C or SIGTERM.

    This also holds in a job that was started with both ignored. A main thread that is stuck in a
    library does not hear signals: after STUCK_SECONDS the process then ends with EXIT_CODE, as a
    killed process would. Only for the main thread.
    """
    global _request
    _request = _Request()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    handlers = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_exit_when_stuck, args=(reading, _request), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            # Once a program has done its work, it is too late to interrupt it.
            signal.signal(number, signal.SIG_IGN if handler is _exit_at_once else handler)
        os.close(writing)
        _request = _Request()  # a later sweep of this process was not interrupted


@contextmanager
def deferred() -> Iterator[None]:
    """Defer a signal that arrives within: KeyboardInterrupt is raised at the end."""
    _request.deferring += 1
    try:
        yield
    finally:
        _request.deferring -= 1
    check()


def check(swallowed: bool = False) -> None:
    """Raise KeyboardInterrupt when a signal has arrived that was not handled.

    swallowed: also after an exception that should have left the caller: a library has caught it.
    """
    if _request.arrived and (swallowed or not _request.raised) and not _request.deferring:
        _request.raised = True
        raise KeyboardInterrupt


def reinstall_handlers() -> None:
    """Reinstall the handlers of `coalesce_interrupts` if a library changed them outside Python."""
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, _on_signal)


def mark_handled() -> None:
    """Record a signal that another handler, such as Ray's, has already handled."""
    _request.arrived = _request.raised = True


def exit_process(code: int) -> NoReturn:
    """End the process with this exit code, regardless of blocked threads and further signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller
                stream.flush()
    except (OSError, ValueError):  # a full disk, or a closed reader: Python would retry, and exit with 120
        os._exit(code)
    if has_abandoned_threads():
        os._exit(code)
    sys.exit(code)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _request.arrived = True
    check()


def _exit_when_stuck(reading: int, request: _Request) -> None:
    """End the process if the main thread does not react to a signal.

    Python writes each signal's number into the pipe as it arrives, regardless of the main thread.
    """
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] not in SIGNALS:
                continue
            deadline = time.monotonic() + STUCK_SECONDS
            while not request.arrived and time.monotonic() < deadline:
                time.sleep(0.1)
            if not request.arrived:
                late = f"A library call did not return within {STUCK_SECONDS:.0f} s"
                os.write(2, f"Interrupted. {late}; finished arms are kept.\n".encode())
                os._exit(EXIT_CODE)
