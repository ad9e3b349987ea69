"""Running one program: its output line by line, a time limit, and an end of everything it started.

The program runs in a process group of its own, which is ended with it. Should this process be killed instead, a reaper
ends whatever bears its mark in the environment; it knows by the end of a pipe, which no kill can prevent.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

GRACE_SECONDS = 5.0  # between asking a program to end and ending it
LOOK_SECONDS = 0.5  # how often a program that says nothing is looked at
LONGEST_LINE = 1 << 20  # bytes; what is longer is not read as a line
MARK = "BRANCHWISE_OWNER"

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
    """Starts the reaper of this process, whose id is `owner`; returns the mark that its programs bear."""
    mark = uuid.uuid4().hex
    read, _held = os.pipe()  # open until this process ends, however it ends
    try:
        # It forks at once and lets its first half end, so it is nobody's child and outlives what ends our children.
        arguments = [sys.executable, "-I", "-S", "-c", _REAPER, f"{MARK}={mark}"]
        subprocess.run(arguments, stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    finally:
        os.close(read)
    return mark


def run_program(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: BinaryIO,
    on_line: Callable[[str], None],
    time_limit: float | None = None,
) -> int:
    """Runs the program and returns its exit code; minus the signal's number when it was killed.

    `on_line` is given each line of its standard output; what it raises ends the program and is raised again. All output
    goes to `log` as it comes. Raises FileNotFoundError or PermissionError when there is no such program, and
    TimeoutError after `time_limit` seconds.
    """
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env={**env, MARK: _mark(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = None if time_limit is None else time.monotonic() + time_limit
    try:
        _read(process, log, on_line, deadline)
        _wait(process, deadline)
    except BaseException:
        _end(process)
        raise
    finally:
        _kill_group(process)  # what the program has left running
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    return process.wait()


def _read(
    process: subprocess.Popen[bytes], log: BinaryIO, on_line: Callable[[str], None], deadline: float | None
) -> None:
    """Reads the output to its end, or to the program's. Of what is there at once, errors are logged last."""
    rest = b""
    open_pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
    with selectors.DefaultSelector() as selector:
        for pipe in open_pipes:
            selector.register(pipe, selectors.EVENT_READ)
        ended = False
        while open_pipes:
            _check(deadline)
            ready = [key.fileobj for key, _ in selector.select(0.0 if ended else LOOK_SECONDS)]
            if not ready:
                if ended:
                    break
                if ended := _has_ended(process):
                    _kill_group(process)  # only what the program left behind holds the pipes
            for pipe in [pipe for pipe in open_pipes if pipe in ready]:
                chunk = os.read(pipe.fileno(), 1 << 16)
                log.write(chunk)
                log.flush()
                if not chunk:
                    selector.unregister(pipe)
                    open_pipes.remove(pipe)
                elif pipe is process.stdout:
                    *lines, rest = (rest + chunk.replace(b"\r", b"\n")).split(b"\n")
                    for line in lines:
                        on_line(line.decode(errors="replace"))
                    rest = rest[-LONGEST_LINE:]
    if rest:
        on_line(rest.decode(errors="replace"))


def _wait(process: subprocess.Popen[bytes], deadline: float | None) -> None:
    """Waits for the end of a program that has closed its output, without forgetting its id."""
    if deadline is None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    while not _has_ended(process):
        _check(deadline)
        time.sleep(0.02)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the whole group to end, and waits a little."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    patience = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < patience and not _has_ended(process):
        time.sleep(0.02)


def _kill_group(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
