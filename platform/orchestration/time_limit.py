"""Waiting for what may never answer, for so long and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

LIMIT_SECONDS = 30.0  # for a storage, a cluster or a file to answer at the start of a sweep
LONGEST_GAP = 5.0  # that counts as silence heard

T = TypeVar("T")
_abandoned: list[threading.Thread] = []


def run_with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises, unless that takes longer than `seconds`: then TimeoutError, an OSError.

    The call has a separate thread, so that Ctrl-C is heard meanwhile; one that never ends is abandoned.
    """
    done = threading.Event()
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:  # raised where it is waited for
            failure.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    abandon_thread(thread)
    if not done.wait(seconds):
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if failure:
        raise failure[0]
    return answer[0]


def abandon_thread(thread: threading.Thread) -> None:
    """Notes a thread that may never end, and is not waited for."""
    _abandoned[:] = [thread, *(item for item in _abandoned if item.is_alive())]


def has_abandoned_threads() -> bool:
    """Whether a thread that was left behind is still at it; the end of a process would wait for some of these."""
    return any(thread.is_alive() for thread in _abandoned)


class IdleTimer:
    """How long something has not changed, as far as this process has seen: time it was stopped or slept is no proof."""

    def __init__(self) -> None:
        self._state: tuple[Hashable, ...] = ()
        self._seconds = 0.0
        self._when = time.monotonic()

    def of(self, state: Hashable) -> float:
        """Seconds for which this has been the state, when asked repeatedly."""
        now = time.monotonic()
        self._seconds += min(now - self._when, LONGEST_GAP)
        self._when = now
        if self._state != (state,):
            self._state, self._seconds = (state,), 0.0
        return self._seconds
