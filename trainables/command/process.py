"""Run a program: its output line by line, a time limit, and the end of all that it started.

The program runs in a separate process group, which is stopped with it. If this process is killed, a reaper
stops all processes with its mark in the environment; it knows by the end of a pipe, which no kill can prevent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
POLL_SECONDS = 0.5  # how often a silent program is checked
MAX_DRAIN_SECONDS = 2.0  # for the output in the pipes of a finished program
MAX_LINE = 1 << 20  # bytes; of a longer line the last ones are read
PR_SET_CHILD_SUBREAPER = 36
MARK = "BRANCHWISE_OWNER"  # of all programs of a process
PROGRAM_MARK = "BRANCHWISE_PROGRAM"  # of a program and its children
_LINE_ENDS = re.compile(rb"[\r\n\x08]+")  # progress bars go back by \r, or by a \x08 for each character


class Log(Protocol):
    """A sink for output."""

    def write(self, content: bytes, /) -> Any: ...

    def flush(self) -> Any: ...


_REAPER = """
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
os.chdir("/")
mark = sys.argv[1].encode()
while os.read(0, 1024):
    pass
for _ in range(50):
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\\0"):
                        os.kill(int(name), signal.SIGKILL)
                        found += 1
            except OSError:
                pass
    if not found:
        break
    time.sleep(0.1)
"""


@lru_cache(maxsize=1)
def _mark(owner: int) -> str:
    """Start the reaper of the process `owner`; return the mark of its programs."""
    mark = uuid.uuid4().hex
    read, _write_end = os.pipe()  # open until this process ends, however it ends
    try:
        # It forks at once and lets its first half end, so it is nobody's child and outlives what ends our children.
        arguments = [sys.executable, "-I", "-S", "-c", _REAPER, f"{MARK}={mark}"]
        subprocess.run(arguments, stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    finally:
        os.close(read)
    return mark


def run_program(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Log,
    on_line: Callable[[str], None],
    on_error_line: Callable[[str], None] = lambda line: None,
    time_limit: float | None = None,
) -> int:
    """Run the program and return its exit code; minus the signal's number when it was killed.

    `on_line` is given each line of its standard output, `on_error_line` of its standard error; what they raise ends the
    program and is reraised. All output is written to `log` at once. Child processes are stopped with the program.

    Raises:
        FileNotFoundError, PermissionError: The program does not exist.
        TimeoutError: It ran for `time_limit` seconds.
    """
    mark, owner_mark = uuid.uuid4().hex, _mark(os.getpid())  # its reaper starts before this process adopts orphans
    before = _adopt_orphans()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**env, MARK: owner_mark, PROGRAM_MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = None if time_limit is None else time.monotonic() + time_limit
    try:
        _read(process, log, {process.stdout: on_line, process.stderr: on_error_line}, deadline)
        _wait(process, deadline)
    except BaseException:
        _end(process)
        raise
    finally:
        _kill_group(process)  # child processes still running
        _kill_marked(f"{PROGRAM_MARK}={mark}")  # and those outside its group
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        code = process.wait()
        _kill_adopted(before)  # and what has no mark in its environment any more
    return code


def _read(
    process: subprocess.Popen[bytes],
    log: Log,
    readers: Mapping[Any, Callable[[str], None]],
    deadline: float | None,
) -> None:
    """Read the output to its end, or to the program's; simultaneous errors are logged last."""
    unfinished = dict.fromkeys(readers, b"")  # by open pipe: its incomplete line
    last_poll, drained = time.monotonic(), float("inf")
    with selectors.DefaultSelector() as selector:
        for pipe in unfinished:
            selector.register(pipe, selectors.EVENT_READ)
        while unfinished and time.monotonic() < drained:
            _check(deadline)
            is_drained = drained < float("inf")
            ready = [key.fileobj for key, _ in selector.select(0.0 if is_drained else POLL_SECONDS)]
            if not ready and is_drained:
                break
            if not is_drained and (not ready or time.monotonic() - last_poll >= POLL_SECONDS):
                last_poll = time.monotonic()
                if _has_exited(process):  # its children may hold the pipes, and print for ever
                    _kill_group(process)
                    drained = last_poll + MAX_DRAIN_SECONDS
            for pipe in [pipe for pipe in readers if pipe in ready]:
                chunk = os.read(pipe.fileno(), 1 << 16)
                log.write(chunk)
                log.flush()
                if chunk:
                    unfinished[pipe] = _read_lines(unfinished[pipe], chunk, readers[pipe], deadline)
                else:
                    selector.unregister(pipe)
                    _read_lines(unfinished.pop(pipe), b"\n", readers[pipe], deadline)
    for pipe, rest in unfinished.items():
        _read_lines(rest, b"\n", readers[pipe], deadline)


def _read_lines(rest: bytes, chunk: bytes, read: Callable[[str], None], deadline: float | None) -> bytes:
    """Read the lines that `chunk` ends, the first begun by `rest`; return the incomplete rest."""
    first, *others = _LINE_ENDS.split(chunk)
    lines = [(rest + first)[-MAX_LINE:], *others]
    for line in lines[:-1]:
        if line:
            _check(deadline)
            read(line.decode(errors="replace"))
    return lines[-1]


def _wait(process: subprocess.Popen[bytes], deadline: float | None) -> None:
    """Wait for the end of a program that has closed its output, without forgetting its id."""
    if deadline is None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    while not _has_exited(process):
        _check(deadline)
        time.sleep(0.02)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminates the entire group, with a short grace period."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    patience = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < patience and not _has_exited(process):
        time.sleep(0.02)


def _kill_group(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _kill_marked(mark: str) -> None:
    """End the processes that have `mark` in their environment, in any process group."""
    for _ in range(10):
        matches = [process for process in map(int, filter(str.isdigit, _listed("/proc"))) if _has_mark(process, mark)]
        for process in matches:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not matches:
            return
        time.sleep(0.02)


def _adopt_orphans() -> set[int]:
    """Adopt the processes that a program leaves running; return the children so far.

    Only where the system allows it (Linux).
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return _children()


def _kill_adopted(before: set[int]) -> None:
    """Stop the new children, and theirs, which become children as they are orphaned."""
    for _ in range(50):
        result = _children() - before
        for process in result:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)
        if not result:
            return
        time.sleep(0.02)


def _children() -> set[int]:
    return {int(name) for name in _listed("/proc") if name.isdigit() and _parent(name) == os.getpid()}


def _parent(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # no Linux
        return []


def _has_mark(process: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
