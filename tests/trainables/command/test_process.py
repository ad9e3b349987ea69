"""A program ends with all that it started, even if it or this process is killed: checked in the table of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import patience

from branchwise.trainables.command.process import run_program

# Starts a child that starts a child in a separate session, and prints when all are running.
FAMILY = """
import subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]]
subprocess.Popen(sleeper)
subprocess.Popen(sleeper, start_new_session=True)
print("ready", flush=True)
"""
OWNER = """
import os, sys
from pathlib import Path
from branchwise.trainables.command.process import run_program
run_program(sys.argv[1:], cwd=Path("."), env=os.environ, log=sys.stdout.buffer, on_line=lambda line: None)
"""


def alive(mark: str) -> list[int]:
    """The processes with `mark` among their arguments."""
    matches = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            argv = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in argv and state != "Z" and int(folder.name) != os.getpid():
            matches.append(int(folder.name))
    return matches


def within(seconds: float, condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + patience(seconds)
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return bool(condition())


def run(tmp_path: Path, text: str, mark: str, **options: Any) -> tuple[int, list[str]]:
    lines: list[str] = []
    options = {"on_line": lines.append, **options}
    with (tmp_path / "log").open("ab") as log:
        code = run_program([sys.executable, "-c", text, mark], cwd=tmp_path, env=os.environ, log=log, **options)
    return code, lines


def test_what_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    text = FAMILY.replace(", start_new_session=True", "")
    assert run(tmp_path, text, "left-running") == (0, ["ready"])
    assert within(10, lambda: not alive("left-running"))


def test_time_limit_kills_program_that_ignores_sigterm(tmp_path: Path) -> None:
    text = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    has_started = time.monotonic()
    with pytest.raises(TimeoutError):
        run(tmp_path, text, "too-long", time_limit=1.0)
    assert time.monotonic() - has_started < patience(60)
    assert within(10, lambda: not alive("too-long"))


def test_program_gets_sigterm_before_sigkill(tmp_path: Path) -> None:
    text = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'w'), sys.exit())); "
        "print('on', flush=True); time.sleep(600)"
    )

    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="on"):
        run(tmp_path, text, "asked", on_line=refuse)
    assert (tmp_path / "asked").exists()


def test_output_that_closes_early_and_line_without_end(tmp_path: Path) -> None:
    text = "import os, sys, time; print('half', end='', flush=True); os.close(1); time.sleep(0.5); os._exit(3)"
    assert run(tmp_path, text, "closes") == (3, ["half"])


def test_killed_parent_leaves_no_processes(root: Path, tmp_path: Path) -> None:
    text = FAMILY + "time.sleep(600)"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, sys.executable, "-c", text, "orphaned"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
    )
    assert within(60, lambda: len(alive("orphaned")) == 4)  # the owner, the program and both of its children
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert within(30, lambda: not alive("orphaned"))


PRINTS_FOR_EVER = """
import subprocess, sys
child = "import sys, time\\nwhile True: print('still here', flush=True); time.sleep(0.01)"
for session in (False, True):
    subprocess.Popen([sys.executable, "-c", child, sys.argv[1]], start_new_session=session)
print("done", flush=True)
"""


def test_printing_child_does_not_prolong_run(tmp_path: Path) -> None:
    code, lines = run(tmp_path, PRINTS_FOR_EVER, "prints-on", time_limit=60.0)
    assert code == 0
    assert "done" in lines
    assert not alive("prints-on")


def test_detached_children_exit_with_program(tmp_path: Path) -> None:
    assert run(tmp_path, FAMILY, "left-session") == (0, ["ready"])
    assert not alive("left-session")


def test_flood_is_read_to_its_end(tmp_path: Path) -> None:
    text = "import sys; sys.stdout.write('x' * (30 << 20) + '\\n' + 'short\\n' * 1_000_000 + 'loss 0.5')"
    last: list[str] = []
    code, _ = run(tmp_path, text, "flood", on_line=lambda line: last.__setitem__(slice(None), [line]))
    assert (code, last) == (0, ["loss 0.5"])


def test_time_limit_holds_while_lines_are_slow_to_read(tmp_path: Path) -> None:
    text = "import sys; sys.stdout.write('line\\n' * 10_000)"
    with pytest.raises(TimeoutError):
        run(tmp_path, text, "slow-lines", on_line=lambda line: time.sleep(0.01), time_limit=1.0)


def test_child_with_cleared_environment_ends_too(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        code = 'import time; time.sleep(600)'\n"
        "        os.execve(sys.executable, [sys.executable, '-c', code, sys.argv[1]], {})\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    mark = str(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with (tmp_path / "log").open("wb") as log:
            argv = [sys.executable, "-c", script, mark]
            assert run_program(argv, cwd=tmp_path, env=os.environ, log=log, on_line=lambda line: None) == 0
        assert not alive(mark)
        assert other.poll() is None, "what was there before is left alone"
    finally:
        other.kill()
        other.wait()
