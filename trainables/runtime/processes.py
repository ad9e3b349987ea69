"""Identify a process even if its number is reused; keep scratch folders named after it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PREFIX = "branchwise"  # of scratch folders: <prefix>-<host_namespace_id>-<pid>-<process_start_time>-<random>


@cache
def host_namespace_id() -> str:
    """Return an id of this boot of the machine and of its container.

    Within it a process number is unique at a time.
    """
    parts = [platform.node()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(os.readlink(source) if source.is_symlink() else source.read_text())
        except OSError:  # not Linux: the host's name alone
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def process_start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot; empty if unknown.

    It is unknown without such a process, or without /proc.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]  # of a zombie


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in TMPDIR, removed afterwards; first removes folders of killed processes."""
    _remove_abandoned()
    process_prefix = f"{PREFIX}-{host_namespace_id()}-{os.getpid()}-{process_start_time(os.getpid())}-"
    folder = Path(tempfile.mkdtemp(prefix=process_prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-{host_namespace_id()}-*-*-*"):
        pid, when = folder.name.split("-")[2:4]
        if pid.isdigit() and when and process_start_time(int(pid)) != when:
            shutil.rmtree(folder, ignore_errors=True)
