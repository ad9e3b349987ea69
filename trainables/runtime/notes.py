"""What a worker has to say besides its results: the warnings of our own loggers, kept among the run's logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from branchwise.trainables.runtime.run_folder import RunFolder

ROOT_LOGGER = "branchwise"  # the root of our loggers


@contextmanager
def capture_warnings(run: RunFolder, name: str) -> Iterator[None]:
    """Within it, a line for each warning is in `logs/<name>-notes.txt` of the run."""
    handler = _Notes(run, f"{name}-notes")
    logger = logging.getLogger(ROOT_LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, run: RunFolder, log: str) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._run, self._log = run, log
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        try:
            self._run.write_log(self._log, "\n".join(self._lines) + "\n")
        except OSError:
            self.handleError(record)  # a storage that fails is told by what must be written
