"""Stop a sweep when its first arms all fail for the same reason."""

from __future__ import annotations

import re

from branchwise.analysis.console import single_line
from branchwise.analysis.declared.cells import FULL
from branchwise.orchestration.errors import RepeatedFailureError
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.run_folder import RunFolder

ENOUGH = 2  # failed arms, with none that did not fail


class FirstArms:
    """Watches the records of a run until an arm has succeeded."""

    def __init__(self, run: RunFolder, total: int, file: str, data_sets: int = 1) -> None:
        """`total` arms are planned, on so many data sets; `file` is the space."""
        self._run, self._total, self._file = run, total, file
        self._failed: dict[str, str] = {}  # by arm, its error
        # Data sets on which an arm of the space's settings failed: others may fail for what they change.
        self._default_failed: set[str] = set()
        self._data_sets = data_sets
        self._passed = False

    def check(self) -> None:
        """Raise RepeatedFailureError if the first arms have all failed for one reason.

        That holds if the full method is among them, and others are still to run.
        """
        if self._passed:
            return
        for name in self._run.record_names():
            if name in self._failed:
                continue
            try:
                record = self._run.read_record(name)
            except (OSError, DamagedError):
                continue
            if record["status"] != "failed":
                self._passed = True
                return
            self._failed[name] = str(record["error"])
            # A search tries the space's settings first.
            first_searched = record["kind"] == "search" and name.endswith("-0000")
            across = record.get("across") or {}
            if first_searched or not record["patch"] or (across and record["cell"] == FULL):
                self._default_failed.add("".join(across.values()))
        reasons = {_reason(error) for error in self._failed.values()}
        default_failed = len(self._default_failed) >= self._data_sets
        if len(self._failed) >= ENOUGH and len(reasons) > 1:
            self._passed = True
        elif len(self._failed) >= ENOUGH and default_failed and self._total > len(self._failed):
            name, error = next(iter(self._failed.items()))
            raise RepeatedFailureError(
                f"Stopped, since the first {len(self._failed)} arms failed alike: {name}: {single_line(error)}. "
                f"To repeat this arm alone: branchwise try {self._file} --arm {name}"
            )


def _reason(error: str) -> str:
    """Return an error's text without numbers and paths, equal for errors with the same cause."""
    head, _, output = error.partition("; it said: ")
    last = output.rpartition(" | ")[2]
    return re.sub(r"\S*/\S*|[-+]?\d[\w.+-]*", "#", f"{head} {last}")
