"""Hands each finished arm to the trackers of a sweep, in a separate thread.

A tracker is notified of an arm once, when its record appears; `tracking/<tracker>/<arm>.json` states that it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.console import Console

from branchwise.orchestration.monitoring.run_state import Follower, RunState
from branchwise.orchestration.tracking.registry import ALWAYS, log_of
from branchwise.orchestration.tracking.scalars import Record
from branchwise.trainables.runtime.run_folder import RunFolder


@contextmanager
def trackers(run: RunFolder, names: Sequence[str], console: Console) -> Iterator[Follower]:
    """A follower that reports finished arms to the trackers; ends when all are reported."""
    logged = {name: run.tracked(name) for name in names}
    logged[ALWAYS] = run.event_names()
    broken: set[str] = set()

    def tell(name: str, arm: str, record: Record) -> None:
        if name in broken:
            return
        try:
            log_of(name)(run, arm, record)
            if name != ALWAYS:
                run.mark_tracked(name, arm, time.time())
        except Exception as error:  # no failure of a tracker may end the sweep
            broken.add(name)
            output = " ".join(str(error).split())
            console.print(
                f"{name}: logging failed and is disabled; `branchwise resume` backfills it: {output}", markup=False
            )

    with ThreadPoolExecutor(1) as pool:

        def follow(state: RunState, new: Sequence[str]) -> None:
            for arm in new:
                for name in logged:
                    if arm not in logged[name]:
                        pool.submit(tell, name, arm, state.records[arm])

        yield follow
