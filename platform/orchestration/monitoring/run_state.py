"""The state of a run, read from its folder: finished arms, and the progress of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.run_folder import RunFolder

READERS = 16  # requests to an object store at a time


class RunState:
    """The records and progress reports of a run at the last refresh; each record is read once."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.records: dict[str, Mapping[str, Any]] = {}  # by arm
        self.running: dict[str, Mapping[str, Any]] = {}  # the last report of each cohort that does not have records
        self._finished: set[str] = set()

    def refresh(self) -> list[str]:
        """Refresh the state; return the arms finished since the last call. Raises OSError."""
        new = self._read(self._record, [name for name in self.run.record_names() if name not in self.records])
        self.records.update(new)
        reported = [name for name in self.run.progress_names() if name not in self._finished]
        reports = self._read(self._report, reported)
        self._finished |= {cohort for cohort, report in reports.items() if not self.unfinished(report)}
        self.running = {cohort: report for cohort, report in reports.items() if cohort not in self._finished}
        return list(new)

    def unfinished(self, report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The arms of a cohort's report that have no record yet: {"arm", "cell", "block"}."""
        return [arm for arm in report["arms"] if arm["arm"] not in self.records]

    def counts(self) -> dict[str, int]:
        """The number of records by status."""
        return dict(sorted(Counter(str(record["status"]) for record in self.records.values()).items()))

    def _record(self, arm: str) -> Any:
        try:
            return self.run.read_record(arm)
        except FileNotFoundError:
            return None
        except DamagedError:
            return {"status": "damaged"}

    def _report(self, cohort: str) -> Any:
        try:
            return self.run.read_progress(cohort)
        except (FileNotFoundError, DamagedError):
            return None

    def _read(self, read: Callable[[str], Any], names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        if self.run.files.local is not None or len(names) < 2:
            states = list(map(read, names))
        else:
            with ThreadPoolExecutor(READERS) as pool:
                states = list(pool.map(read, names))
        return {name: content for name, content in zip(names, states, strict=True) if content is not None}


# Called at each refresh, with the newly finished arms.
Follower = Callable[[RunState, Sequence[str]], None]


def share(report: Mapping[str, Any]) -> float:
    """The fraction of its work that a running cohort has done."""
    steps: float = report["step"] / max(1, report["steps"])
    # Evaluation follows training and is the shorter part.
    return 0.9 * steps if report["phase"] == "train" else 0.9 + 0.1 * steps
