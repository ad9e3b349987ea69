"""Time limits for calls that may never return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import TypeVar

LIMIT_SECONDS = 30.0  # for a storage, a cluster or a file to respond at the start of a sweep
LONGEST_GAP = 5.0  # that counts as silence heard

T = TypeVar("T")
_abandoned: list[threading.Thread] = []


def run_with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise as `call` does, or raise TimeoutError (an OSError) after `seconds`.

    The call has a separate thread, so that Ctrl-C works meanwhile; a thread that never ends is abandoned.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    abandon_thread(thread)
    if not wait([future], seconds).done:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return future.result()


def abandon_thread(thread: threading.Thread) -> None:
    """Record a thread that may never end, and is not waited for."""
    _abandoned[:] = [thread, *(item for item in _abandoned if item.is_alive())]


def has_abandoned_threads() -> bool:
    """Whether an abandoned thread still runs; a process could wait for some of these at its end."""
    return any(thread.is_alive() for thread in _abandoned)


class IdleTimer:
    """The time without a change while this process was neither stopped nor asleep."""

    def __init__(self) -> None:
        self._state: tuple[Hashable, ...] = ()
        self._seconds = 0.0
        self._when = time.monotonic()

    def of(self, state: Hashable) -> float:
        """Seconds in this state, as of repeated calls."""
        now = time.monotonic()
        self._seconds += min(now - self._when, LONGEST_GAP)
        self._when = now
        if self._state != (state,):
            self._state, self._seconds = (state,), 0.0
        return self._seconds
