"""Telling a process apart from all that had or will have its number, and scratch folders that go by it."""

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

PREFIX = "branchwise"  # of scratch folders: <prefix>-<place>-<pid>-<born>-<random>


@cache
def host_id() -> str:
    """Where process numbers mean what they mean here: this machine since its start, and its container."""
    parts = [platform.node()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(os.readlink(source) if source.is_symlink() else source.read_text())
        except OSError:  # no Linux: the host's name must do
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def process_start(pid: int) -> str:
    """When the process of this number was started, in the machine's count; empty when none lives, or none tells."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]  # a zombie does nothing any more


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in TMPDIR, removed afterwards; first those are removed whose processes were killed."""
    _remove_abandoned()
    process_prefix = f"{PREFIX}-{host_id()}-{os.getpid()}-{process_start(os.getpid())}-"
    folder = Path(tempfile.mkdtemp(prefix=process_prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-{host_id()}-*-*-*"):
        pid, when = folder.name.split("-")[2:4]
        if pid.isdigit() and when and process_start(int(pid)) != when:
            shutil.rmtree(folder, ignore_errors=True)
