"""The layout of a run folder, and the resolution of names in it: no path leads outside."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

RESULTS = "results"  # the folder of runs, unless the user names another storage
FORMAT = 2  # of a run folder; other formats are refused
SPACE, PLAN, MANIFEST, LOCK = "space.yaml", "plan.json", "manifest.json", "lock.json"
BEST = "best.yaml"  # of a search: its best settings as a space that can be run
ARMS, STUDENTS, LOGS, REPORT = "arms", "students", "logs", "report"
ARMS_TABLE, BUDGETS_TABLE = "arms", "budgets"  # Parquet files without their suffix
MEASUREMENTS, MEASURE = "measurements", "measure.json"
TEACHERS, FEATURES = "teachers", "features"  # next to the runs of a storage
PICTURE = "samples.png"  # what a model drew, in its folder
MAX_NAME = 255  # characters of a name that becomes a file's


class OutsideError(OSError):
    """A folder refers to a path outside it; the message states the name and its target."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in `folder`; links on the way must stay within the folder.

    Args:
        folder: The folder that names it; may be a link.
        name: A relative path with `/`, as in a file of the folder.

    Returns:
        The path, whether it exists or not.

    Raises:
        OutsideError: `name` is absolute, has `..`, or a link leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if "\0" in name or ".." in parts or PurePosixPath(name).is_absolute():
        raise OutsideError(f"{folder}: names {name!r}, which is not a path inside it")
    path = str(folder)
    for part in parts:
        path = os.path.join(path, part)
        if os.path.islink(path):
            real, root = os.path.realpath(path), os.path.realpath(folder)
            if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
                raise OutsideError(f"{path}: a link that leads outside its folder, to {real}; replace it with a copy")
    return Path(path)


def regular_file(folder: Path, name: str) -> Path | None:
    """Return the path of the file `name` in `folder`, or None.

    Raises:
        OutsideError: It leads outside the folder, or is a pipe, a device or a folder, which would not end or not read.
    """
    path = inside(folder, name)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(mode):
        raise OutsideError(f"{path}: must be a regular file")
    return path


def is_file_name(text: str) -> bool:
    """Return whether `text` is a valid file name: no path, not hidden, no control characters."""
    return 0 < len(text) <= MAX_NAME and text[0] != "." and "/" not in text and "\\" not in text and text.isprintable()


def remove(path: Path) -> None:
    """Remove a file, a link (never its target) or a folder with its contents, where possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


@contextmanager
def staged_file(target: Path, durable: bool = True) -> Iterator[Path]:
    """Write a file that replaces `target` at once, only if the block ends without an error.

    Args:
        target: The file to create or replace.
        durable: Whether to wait until the file would survive a power loss.

    Yields:
        The path to write to, next to it.

    Raises:
        OSError: The file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _staging_path(target)
    try:
        yield staging
        if durable:
            _sync(staging)
        staging.replace(target)
        if durable:
            _sync(target.parent)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Fill a folder that replaces `target` at once, only if the block ends without an error.

    Args:
        target: The folder to create or replace.

    Yields:
        An empty folder next to it.

    Raises:
        OSError: A folder cannot be created, or a file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging, old = _staging_path(target), _staging_path(target)
    try:
        staging.mkdir()
        yield staging
        for path in [*staging.rglob("*"), staging]:
            _sync(path)
        if target.exists() or target.is_symlink():
            target.rename(old)
        try:
            staging.rename(target)
        except BaseException:  # an interrupt, too, must not cost the folder that was to be replaced
            if old.exists() or old.is_symlink():
                old.rename(target)
            raise
        _sync(target.parent)
    finally:
        remove(staging)
        remove(old)


def _staging_path(target: Path) -> Path:
    """Return a hidden name next to `target`, in the same file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system can do it for a folder
            raise
    finally:
        os.close(descriptor)
