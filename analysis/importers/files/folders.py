"""Folders of runs: walked in a fixed order, without links to folders (cycles, duplicates)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_PARTS = re.compile(r"[0-9]{1,300}|[^0-9]+")


def walk(path: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below `path`, its folders' names, which callers may shorten, its files."""
    for folder, folders, files in os.walk(path):
        folders.sort(key=_natural_key)
        yield Path(folder), folders, sorted(files, key=_natural_key)


def _natural_key(name: str) -> list[tuple[int, str]]:
    """A key by which `2` precedes `10`, and `version_2` before `version_10`."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in _PARTS.findall(name)]


def relative(folder: Path, path: Path) -> str:
    """Return the name of a folder below `path` in messages."""
    name = folder.relative_to(path).as_posix()
    return path.resolve().name if name == "." else name
