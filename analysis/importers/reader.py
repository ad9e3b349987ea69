"""Readers: how each recognizes its kind of source, and the table that it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from branchwise.analysis.importers.run_table import RunTable


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A kind of source.

    Attributes:
        name: Its name in the table of docs/runs-elsewhere.md.
        reads: What it reads, for messages.
        recognizes: Whether a file or folder is of this kind, by its content.
        read: The runs in it. Opens no file for writing; raises RunFolderError for refused content.
        folders: The folders of the runs in a folder; None where it reads only files.
    """

    name: str
    reads: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path], RunTable]
    folders: Callable[[Path], Iterable[Path]] | None = None
