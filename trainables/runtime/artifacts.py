"""Files kept from an arm's folder: regular files and links inside it, up to a limit.

The rest is named and omitted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 10 << 30  # of an arm's files
MAX_FILES = 100_000
MAX_NAMED = 5  # files that a note names
UNMOVABLE = "could not be moved"


def keep_artifacts(source: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> list[str]:
    """Move the files to keep from `source` into a new folder `target` on the same file system.

    Returns:
        A sentence for each kind of file that was skipped.
    """
    target.mkdir()
    skipped: dict[str, list[str]] = {}
    files: list[tuple[int, str]] = []
    links: list[Path] = []
    for entry, name in _entries(source):
        reason = _obstacle(entry, name, source)
        try:
            if reason:
                skipped.setdefault(reason, []).append(name)
            elif entry.is_symlink():
                (target / name).symlink_to(_relative(Path(entry.path)))
                links.append(target / name)
            elif entry.is_dir(follow_symlinks=False):
                (target / name).mkdir()
            else:
                files.append((entry.stat(follow_symlinks=False).st_size, name))
        except OSError:  # gone meanwhile, or its new path is too long
            skipped.setdefault(UNMOVABLE, []).append(name)
    total = 0
    for number, (size, name) in enumerate(sorted(files)):  # the smallest first, so that results outlive models
        total += size
        if number >= max_files or total > max_bytes:
            skipped.setdefault(_limit(max_bytes, max_files), []).append(name)
        elif not _move(source / name, target / name):
            skipped.setdefault(UNMOVABLE, []).append(name)
    for link in links:
        if not link.exists():  # to a file that was skipped
            link.unlink()
    return [f"not kept, {reason}: {_listed(names)}" for reason, names in skipped.items()]


def _move(file: Path, target: Path) -> bool:
    """Move a file, even out of a folder that its program made read-only; return success."""
    try:
        try:
            os.rename(file, target)
        except PermissionError:
            file.parent.chmod(0o700)
            os.rename(file, target)
    except OSError:
        return False
    return True


def _relative(link: Path) -> str:
    return os.path.relpath(link.resolve(strict=True), link.parent.resolve())


def _limit(max_bytes: int, max_files: int) -> str:
    size = f"{max_bytes / (1 << 30):g} GiB" if max_bytes >= 1 << 30 else f"{max_bytes:,} bytes"
    return f"more than {size} or {max_files:,} files"


def _listed(names: list[str]) -> str:
    visible = ", ".join(ascii(name)[1:-1] for name in names[:MAX_NAMED])
    return visible + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _entries(root: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield what is below `root`, folders before what is in them; links are not followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError:  # not readable, or nested too deeply for a path
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            yield entry, name
            if entry.is_dir(follow_symlinks=False) and not _bad_name(name):
                waiting.append(name)


def _bad_name(name: str) -> bool:
    try:
        return not name.isprintable() or not name.encode()
    except UnicodeEncodeError:
        return True


def _obstacle(entry: os.DirEntry[str], name: str, root: Path) -> str:
    """Why an entry cannot be kept; empty where it can."""
    if _bad_name(name):
        return "its name is not printable UTF-8"
    if entry.is_symlink():
        try:
            path = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return "a link to nothing, or to itself"
        if not path.is_relative_to(root.resolve()) or path == root.resolve():
            return "a link to outside the arm's folder"
        if not _is_file_or_folder(path):
            return "neither a regular file nor a folder"
        return ""
    if entry.is_dir(follow_symlinks=False):
        return "" if os.access(entry.path, os.R_OK | os.X_OK) else "could not be read"
    if not _is_file_or_folder(Path(entry.path)):
        return "neither a regular file nor a folder"
    return "" if os.access(entry.path, os.R_OK) else "could not be read"


def _is_file_or_folder(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
