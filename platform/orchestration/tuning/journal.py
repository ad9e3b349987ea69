"""The journal of a search: Optuna's format, which `optuna-dashboard` opens at any time.

Optuna writes each suggestion and each value separately and syncs the disk each time. Here a single process writes, and
only the suggestions that have been handed out must be on the disk. So entries are buffered until
`flush`, and written together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from branchwise.trainables.runtime.run_folder import JOURNAL, RunFolder


class Journal(BaseJournalBackend):
    """The journal of a run, and what has been added to it since the last `flush`."""

    def __init__(self, run: RunFolder) -> None:
        self._files = run.files
        text = self._files.read(JOURNAL) if self._files.exists(JOURNAL) else b""
        # A line cut off by a power loss or a full disk was of suggestions not yet handed out.
        self._read_lines = text.rfind(b"\n") + 1
        self._logs: list[dict[str, Any]] = [json.loads(line) for line in text[: self._read_lines].splitlines()]
        self._flushed = len(self._logs)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs += logs

    def flush(self) -> None:
        """Store what is new. Raises OSError."""
        if self._flushed == len(self._logs):
            return
        local = self._files.local
        if (
            local is None or not self._read_lines
        ):  # an object store cannot append; of a new file the folder must know too
            lines = _lines(self._logs)
            self._files.write(JOURNAL, lines)
            self._read_lines = len(lines)
        else:
            lines = _lines(self._logs[self._flushed :])
            with (local / JOURNAL).open("ab") as stream:
                stream.truncate(self._read_lines)
                stream.write(lines)
                stream.flush()
                os.fsync(stream.fileno())
            self._read_lines += len(lines)
        self._flushed = len(self._logs)


def _lines(logs: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(log) + "\n" for log in logs).encode()
