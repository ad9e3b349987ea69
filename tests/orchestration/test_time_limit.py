"""Calls that never return time out, and a signal is handled meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import patience

from branchwise.orchestration import interrupts, time_limit
from branchwise.orchestration.time_limit import IdleTimer, run_with_timeout

ROOT = Path(__file__).resolve().parents[2]


def test_result_or_error_passes_through() -> None:
    assert run_with_timeout(10, lambda: 7) == 7
    with pytest.raises(KeyError, match="missing"):
        run_with_timeout(10, lambda: dict[str, int]()["missing"])
    assert not time_limit.has_abandoned_threads()


def test_unresponsive_call_is_abandoned() -> None:
    answer = threading.Event()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        run_with_timeout(0.1, answer.wait)
    assert time_limit.has_abandoned_threads()
    answer.set()


def test_time_that_this_process_did_not_see_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    silence = IdleTimer()
    assert silence.of("a") == 0
    for _ in range(3):
        now[0] += 4
        heard = silence.of("a")
    assert heard == 12
    now[0] += 3600  # stopped, or asleep
    assert silence.of("a") == 12 + time_limit.LONGEST_GAP
    assert silence.of("b") == 0


def test_masked_signal_is_delivered_later() -> None:
    done = []

    @interrupts.deferred()
    def block_forever() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        done.append(True)

    with interrupts.coalesce_interrupts():
        with pytest.raises(KeyboardInterrupt):
            block_forever()
        assert done
        os.kill(os.getpid(), signal.SIGINT)  # the reply to the first is not interrupted
        time.sleep(0.05)
        interrupts.check()


STUCK = """
import ctypes
from branchwise.orchestration import interrupts
interrupts.STUCK_SECONDS = 0.5
never = ctypes.create_string_buffer(64)  # a lock, which the second to ask for it waits for in vain
libc = ctypes.CDLL(None)
with interrupts.coalesce_interrupts():
    print("stuck", flush=True)
    libc.pthread_mutex_lock(never) or libc.pthread_mutex_lock(never)  # a signal does not break this off
"""


def test_signal_ends_even_process_that_is_stuck_in_library() -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "stuck\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(patience(30)) == 130


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    from branchwise.commands import run_sweep
    from branchwise.orchestration import space
    from branchwise.orchestration.execution import cluster
    from branchwise.orchestration.input import command_line

    for module in (space, command_line):
        monkeypatch.setattr(module, "LIMIT_SECONDS", 1)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)

    def run(*arguments: str) -> str:
        started = time.monotonic()
        assert run_sweep.main([*arguments]) == 2
        assert time.monotonic() - started < patience(20)
        output = capsys.readouterr().err
        assert len(output.splitlines()) == 1, output
        return output

    return run


def test_idle_pipe_times_out(refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "space.yaml")
    output = refused("--space", str(tmp_path / "space.yaml"), "--storage", str(tmp_path / "storage"))
    assert "space.yaml: cannot be read: no answer within 1 s" in output


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silence", "HTTP"])
def test_address_of_something_else(
    refused: Callable[..., str], surface_space: Path, tmp_path: Path, answer: bytes
) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        connection.recv(100)
        if answer:
            connection.sendall(answer)
        time.sleep(3)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    address = f"127.0.0.1:{server.getsockname()[1]}"
    output = refused("--space", str(surface_space), "--storage", str(tmp_path / "runs"), "--address", address)
    assert f"--address {address}: no Ray cluster answers there: " in output
    assert ("no part of Ray" if answer else "timed out") in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow(40)
@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_storage_without_network(surface_space: Path, scheme: str) -> None:
    isolated = ["unshare", "--net"]
    if subprocess.run([*isolated, "true"], capture_output=True).returncode:
        pytest.skip("cutting off the network takes root")
    command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(surface_space)]
    started = time.monotonic()
    ran = subprocess.run(
        [*isolated, *command, "--storage", f"{scheme}://no-such-bucket/runs"], capture_output=True, text=True
    )
    assert ran.returncode == 2, ran.stderr
    assert f"--storage {scheme}://no-such-bucket/runs: " in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert time.monotonic() - started < patience(60)  # 30 s, and the start
