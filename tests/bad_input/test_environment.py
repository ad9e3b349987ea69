"""Streams that are closed or know few letters, and limits that are too tight for Ray: no traceback, a fitting code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import patience

from branchwise.analysis.console import make_console, printable, single_line

GIB = 1 << 30


def command(root: Path, space: Path, *more: str) -> list[str]:
    storage = str(space.parent / "runs")
    return [sys.executable, str(root / "platform/run_sweep.py"), "--space", str(space), "--storage", storage, *more]


def close_all() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def test_plan_without_any_stream(root: Path, surface_space: Path) -> None:
    ran = subprocess.run(command(root, surface_space, "--dry-run"), preexec_fn=close_all)
    assert ran.returncode == 0
    ran = subprocess.run(command(root, surface_space, "--dry-run", "--set", "train=3"), preexec_fn=close_all)
    assert ran.returncode == 2


def test_files_do_not_reuse_closed_stream_numbers(root: Path) -> None:
    code = (
        "import sys; sys.path[:0] = ['.']; from branchwise.analysis.console import make_console; make_console(); "
        "import os; sys.exit(open('README.md').fileno() < 3 or not os.path.samefile('/dev/fd/1', os.devnull))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root, preexec_fn=close_all).returncode == 0


def test_plan_survives_closed_pipe(root: Path, surface_space: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed_pipe:
        ran = subprocess.run(
            command(root, surface_space, "--dry-run"), stdout=closed_pipe, stderr=subprocess.PIPE, text=True
        )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_plan_in_ascii(root: Path, surface_space: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    folder = surface_space.parent / "ablación"
    folder.mkdir()
    space = surface_space.rename(folder / "space.yaml")
    ran = subprocess.run(command(root, space, "--dry-run"), env=environment, capture_output=True, timeout=patience(60))
    assert ran.returncode == 0, ran.stderr
    assert rb"ablaci\xf3n" in ran.stdout


@pytest.mark.parametrize(
    ("limit", "value", "expected_texts"),
    [
        (resource.RLIMIT_NOFILE, 64, "ulimit -n allows 64"),
        (resource.RLIMIT_AS, 4 * GIB, "ulimit -v allows 4,194,304 kB"),
    ],
)
def test_limits_too_tight_for_ray(root: Path, surface_space: Path, limit: int, value: int, expected_texts: str) -> None:
    def tighten() -> None:
        resource.setrlimit(limit, (value, value))

    run: Callable[..., Any] = subprocess.run
    ran = run(command(root, surface_space), capture_output=True, text=True, preexec_fn=tighten, timeout=patience(60))
    assert ran.returncode == 2
    assert expected_texts in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert not (surface_space.parent / "runs").exists()


def test_console_shows_markup_and_escapes_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("/tmp/[/]/[red]x[/red]/:smile:/\x1b[31m", highlight=False)
    assert capsys.readouterr().out.rstrip() == "/tmp/[/]/[red]x[/red]/:smile:/\\x1b[31m"


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("s3://key:secret@bucket/x failed", "s3://... failed"),
        ("at s3://bucket/x?secret=1: no", "at s3://bucket/x?... no"),
        ("at s3://bucket/x#secret", "at s3://bucket/x?..."),
        ("s3://b?p@ss=1&secret", "s3://..."),
        ("me:secret@head:6379 is silent", "... is silent"),
        ("me:secret@x://y", "..."),
        ("https://host:8265/page stays", "https://host:8265/page stays"),
        ("a\nb\x1b[31m\ud800", "a b\\x1b[31m\\ud800"),
    ],
)
def test_message_has_no_escapes_or_secrets(text: str, visible: str) -> None:
    assert single_line(text) == visible


def test_long_message_keeps_both_ends() -> None:
    message = single_line("begin " + "x" * 100_000 + " end")
    assert len(message) <= 600
    assert message.startswith("begin ")
    assert message.endswith(" end")
    assert printable("a\tb\n", keep="\n") == "a\\tb\n"
