"""Shared parts of the command lines: unusable storages and addresses become a UserError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.time_limit import LIMIT_SECONDS, run_with_timeout
from branchwise.run_files.layout import RESULTS
from branchwise.trainables.runtime.storage import Storage, storage_at

_ADDRESS = re.compile(r"auto|local|(?:ray://)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


@contextmanager
def open_storage(location: str | None) -> Iterator[Storage]:
    """The storage that --storage names, else ./results. Raises UserError."""
    # What may hold credentials is not repeated: the message may be logged.
    option = "--storage" if location is None or _may_hold_secrets(location) else f"--storage {location}"
    try:
        if location == "":
            raise ValueError("must not be empty")
        storage = run_with_timeout(LIMIT_SECONDS, lambda: _reachable_storage(RESULTS if location is None else location))
    except (OSError, ValueError) as error:
        raise UserError(f"{option}: {error}") from error
    try:
        yield storage
    except OSError as error:
        raise UserError(f"{option}: {error}") from error


def check_address(address: str, source: str = "--address") -> None:
    """Check that an address names a Ray cluster.

    Raises UserError otherwise, which does not repeat what may hold credentials.
    """
    if not _ADDRESS.fullmatch(address):
        text = "" if _may_hold_secrets(address) else f" {address}"
        raise UserError(f"{source}{text}: must be auto, HOST:PORT or ray://HOST:PORT, without user, path or options")


def _may_hold_secrets(location: str) -> bool:
    return ":" in location and any(sign in location for sign in "@?#")


def _reachable_storage(location: str | Path) -> Storage:
    storage = storage_at(location)
    storage.names("")
    return storage
