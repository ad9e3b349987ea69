"""SQLite databases of other programs, opened read-only."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_MAGIC = b"SQLite format 3\x00"
_SIDES = ("-wal", "-journal")


def is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == _MAGIC


def tables(path: Path) -> set[str]:
    """The names of the tables of a database."""
    with open_copy(path) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def open_copy(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write to the database.

    A database with a log or journal next to it is read from a copy: reading would write the log into the database.
    """
    if _is_quiet(path):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            yield database
        return
    with private_copy(path) as copy, closing(sqlite3.connect(copy)) as database:
        yield database


@contextmanager
def private_copy(path: Path) -> Iterator[Path]:
    """A copy of a database, with its log or journal, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="branchwise-") as folder:
        copy = Path(folder) / "copy.db"
        for side in ("", *_SIDES):
            source = path.with_name(path.name + side)
            if source.is_file():
                shutil.copyfile(source, copy.with_name(copy.name + side))
        yield copy


def _is_quiet(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(20)
    in_wal_mode = len(header) == 20 and header[18] == 2
    return not in_wal_mode and not any(path.with_name(path.name + side).exists() for side in _SIDES)
