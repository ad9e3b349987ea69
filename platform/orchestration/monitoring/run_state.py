"""What a run folder tells of its arms while they run, wherever they run: which are finished, how far the others are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from branchwise.trainables.runtime.storage import DamagedError, Storage

READERS = 16  # requests to an object store at a time


class RunState:
    """The records and progress reports of a run, as of the last look. Every record is read once.

    `trials` are the arms of each trial, as the plan has them; of other trials, their reports tell.
    """

    def __init__(self, run: Storage, trials: Mapping[str, Sequence[str]]) -> None:
        self.run = run
        self.trials = trials
        self.records: dict[str, Mapping[str, Any]] = {}  # by arm
        self.running: dict[str, Mapping[str, Any]] = {}  # the last report of each trial that lacks records
        self._ended: set[str] = set()

    def look(self) -> list[str]:
        """Looks again; returns the arms that have been finished since the last time. Raises OSError."""
        names = [name.removesuffix(".json") for name in self.run.names("arms")]
        new = self._read("arms", [name for name in names if name not in self.records])
        self.records.update(new)
        reported = [name.removesuffix(".json") for name in self.run.names("progress")]
        reports = self._read("progress", [name for name in reported if name not in self._ended])
        self._ended |= {trial for trial, report in reports.items() if not self.unfinished(trial, report)}
        self.running = {trial: report for trial, report in reports.items() if trial not in self._ended}
        return list(new)

    def unfinished(self, trial: str, report: Mapping[str, Any]) -> list[str]:
        """The arms of a trial that have no record yet."""
        arms = report.get("arms") or self.trials.get(trial) or [trial.partition(".")[2] or trial]
        return [arm for arm in arms if arm not in self.records]

    def count(self, *statuses: str) -> int:
        return sum(record["status"] in statuses for record in self.records.values())

    def _read(self, folder: str, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        def read(name: str) -> Any:
            try:
                return self.run.read_json(f"{folder}/{name}.json")
            except FileNotFoundError:
                return None
            except DamagedError:
                return {"status": "damaged"} if folder == "arms" else None

        if self.run.local is not None or len(names) < 2:
            found = list(map(read, names))
        else:
            with ThreadPoolExecutor(READERS) as pool:
                found = list(pool.map(read, names))
        return {name: content for name, content in zip(names, found, strict=True) if content is not None}


# Called at every look, with the arms that have been finished since the last one.
Follower = Callable[[RunState, Sequence[str]], None]


def share(report: Mapping[str, Any]) -> float:
    """How much of its work a running trial has done."""
    steps: float = report["step"] / max(1, report["steps"])
    # Evaluation follows training and is the shorter part.
    return 0.9 * steps if report["phase"] == "train" else 0.9 + 0.1 * steps


def cell_and_block(arm: str) -> tuple[str, str]:
    """The tags of an arm: full-b2 is the cell `full` in block 2; arms of a search share a cell."""
    cell, _, block = arm.rpartition("-b")
    return (cell, block) if block.isdigit() else (arm.partition("-")[0], "0")
