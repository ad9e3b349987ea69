"""Starting or joining a Ray cluster quietly: dashboard on loopback, messages in a log file."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shlex
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from branchwise.orchestration import interrupts
from branchwise.orchestration.checkout import ROOT
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.command_line import check_address
from branchwise.orchestration.planning.machine import Cluster, machine, without_docstrings
from branchwise.orchestration.run_folder.code import project_files
from branchwise.orchestration.space import Space
from branchwise.orchestration.time_limit import abandon_thread

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # fills the dashboard's Train tab
    # Ray Train polls its workers this often; at the default of 2 s a short run waits more than it works.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a space start where the command was given
    "RAY_ENABLE_AUTO_CONNECT": "0",  # after an interrupt, no stray call may start a second cluster
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",  # 60 s are too few on a machine with ten processes a core
    # At the default of 60 s Ray may end this process, with exit code 1, before the watchdog has reported the reason.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "180",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has all they would write
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # a submitted job's own environment is extended, not refused
}


# How each gRPC connection begins (RFC 9113, 3.4), and the type of the frame that a server replies with.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
HTTP2_SETTINGS = 4

TOKEN_HINT = "it asks for the token that `ray get-auth-token` prints"
CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.5
SHUTDOWN_SECONDS = 60.0
JOIN_TRIES, JOIN_PAUSE_SECONDS = 3, 2.0
# On a busy machine, the server that a head starts for each client, or the node, does not start in time.
NOT_IN_TIME = (
    "Starting Ray client server failed",
    "Proxy failed to Connect to backend",
    "node timed out during startup",
    "error message from the dashboard",
)
# What `ray.init` raises where the cluster runs other versions (`ray._private.utils.check_version_info`).
VERSIONS = re.compile(r"started with: Ray: (\S+) Python: (\S+) .*started with: Ray: (\S+) Python: (\S+)")


def address_of(option: str | None) -> str | None:
    """The address of the cluster to join; None for a new one on this machine.

    It is the named cluster, or within a Ray job the job's.

    Raises UserError for what names none.
    """
    address = option if option is not None else os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        check_address(address, source_of(option))
    return address


def source_of(option: str | None) -> str:
    """The source of the cluster's address: the option, or the environment."""
    return "--address" if option is not None else "RAY_ADDRESS"


@contextmanager
def cluster(address: str | None, log: Path, space: Space) -> Iterator[Cluster]:
    """A fresh local cluster, or that at `address`; disconnected or shut down at the end.

    Within a Ray job, or wherever else RAY_ADDRESS is set, that cluster is joined. The nodes of a
    joined cluster are sent our packages, and the trainable's or the folder of the `space`.
    Environment variables that it sets are as before at the end: the caller's Ray Tune code in the
    same process still writes its results.

    Raises UserError.
    """
    if stripped := without_docstrings():
        raise UserError(stripped)
    before = dict(os.environ)
    try:
        with _caller_cluster(address, log) if initialized() else _local_cluster(address, log, space) as described:
            yield described
    finally:
        for name in (*SETTINGS, "PYTHONPATH"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


@contextmanager
def _local_cluster(address: str | None, log: Path, space: Space) -> Iterator[Cluster]:
    """A cluster that is started or joined here, and disconnected or shut down at the end."""
    source, address = source_of(address), address_of(address)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    runtime_env = _runtime_env(space) if address else _quoted_python()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    _private_token()
    if address:
        _check_listening(address, source)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
        import ray  # noqa: F401  # its chatter while it is imported goes to the log, too

        _log_to(stream)
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            context = connect(address, runtime_env)
        except Exception as error:
            raise UserError(refusal(address, error, source)) from error
        except SystemExit as stop:  # Ray's answer to a SIGTERM while it starts
            interrupts.mark_handled()
            raise KeyboardInterrupt from stop
        except BaseException:
            _shut_down()  # what has been started by then
            raise
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has just put in a separate handler
        try:
            outside = address is not None and address.startswith("ray://")
            yield _described(context.dashboard_url, outside=outside, joined=address is not None)
        finally:
            _shut_down()


def initialized() -> bool:
    """Whether the caller of this package has started or joined a Ray cluster in this process."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@contextmanager
def _caller_cluster(address: str | None, log: Path) -> Iterator[Cluster]:
    """The cluster that this process is connected to already; it remains running."""
    import ray

    if address is not None:
        raise UserError(f"--address {address}: Ray is initialized in this process; omit the address, or ray.shutdown()")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", SETTINGS["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"])
    log.parent.mkdir(parents=True, exist_ok=True)
    outside = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
    with log.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
        _log_to(stream)
        yield _described("", outside=outside, joined=True)


def _described(dashboard: str, *, outside: bool, joined: bool) -> Cluster:
    """The resources of the cluster that this process is connected to."""
    import ray

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return Cluster(
        nodes=tuple(int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]),
        gpus=resources.get("GPU", 0),
        dashboard=f"http://{dashboard}" if dashboard else "",
        outside=outside,
        joined=joined,
    )


def connect(address: str | None, runtime_env: dict[str, Any] | None, tries: int = JOIN_TRIES) -> Any:
    """`ray.init`, retried where it times out on a busy machine."""
    import ray

    try:
        return ray.init(
            address=address or "local",
            num_cpus=None if address else machine().cpus,
            include_dashboard=None if address else True,
            dashboard_host="127.0.0.1",
            runtime_env=runtime_env,
            log_to_driver=False,
            configure_logging=False,
        )
    except Exception as error:  # Ray raises just that where a node does not start in time
        if tries == 1 or not any(phrase in str(error) for phrase in NOT_IN_TIME):
            raise
    ray.shutdown()
    time.sleep(JOIN_PAUSE_SECONDS)
    return connect(address, runtime_env, tries - 1)


def _shut_down() -> None:
    import ray

    # A lost cluster may not respond; the rest of a cluster that was started here ends with this process.
    def shut_down() -> None:
        with suppress(Exception):
            ray.shutdown()

    thread = threading.Thread(target=shut_down, daemon=True)
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    with interrupts.deferred():
        thread.start()
        abandon_thread(thread)
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(0.02)
            interrupts.reinstall_handlers()  # Ray's native part lets a SIGTERM end the process from now on


@contextmanager
def started(address: str | None, log: Path, space: Space, console: Console) -> Iterator[Cluster]:
    """`cluster`, with a message on the terminal while it starts."""
    with ExitStack() as stack:
        with console.status("Starting Ray, which takes about 10 s" if not address_of(address) else "Joining Ray"):
            if not console.is_terminal:
                console.print("Starting Ray" if not address_of(address) else "Joining Ray")
            on = stack.enter_context(cluster(address, log, space))
        yield on


def on_cluster(function: Callable[..., Any], *arguments: Any, stop: threading.Event) -> Any:
    """Call `function` in a task of the cluster; return its result, or None once `stop` is set.

    Raises what it raised.

    Over ray:// what Tune and Train do must be part of the cluster, and of a call of Ray Train one
    cannot let go.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0)(function)
    if node := local_node():
        remote = remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
    task = remote.remote(*arguments)
    while not ray.wait([task], timeout=POLL_SECONDS)[0]:
        if stop.is_set():
            return None
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None


def refuse_unshared(folder: Path) -> None:
    """Check that each node of the cluster sees a file that is written to `folder` here.

    Raises UserError otherwise.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = folder / f".{uuid.uuid4().hex[:8]}.tmp"
    probe.touch()
    try:
        sees = ray.remote(num_cpus=0)(os.path.exists)
        driver_node = local_node()
        nodes = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] != driver_node]  # type: ignore[no-untyped-call]
        requested = [
            sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(probe)
            )
            for node in nodes
        ]
        blind = [
            node["NodeManagerAddress"] for node, has_file in zip(nodes, ray.get(requested), strict=True) if not has_file
        ]
    finally:
        probe.unlink(missing_ok=True)
    if blind:
        raise UserError(
            f"--storage {folder}: {', '.join(sorted(set(blind)))} of the cluster's nodes do not see it; name a folder "
            "that every node has mounted at the same path, or a URI (s3://...)"
        )


def local_node() -> str | None:
    """The node that this process is part of; None over ray://, where it is outside the cluster."""
    import ray

    outside = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
    return None if outside else ray.get_runtime_context().get_node_id()


def _check_listening(address: str, source: str) -> None:
    """Refuse HOST:PORT where nothing listens: Ray would retry for long and then abort."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local") or not host or not port.isdigit():
        return  # Ray finds the address, or refuses it at once
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                connection.sendall(HTTP2_GREETING)
                answer = connection.recv(9)
                if len(answer) < 9 or answer[3] != HTTP2_SETTINGS:
                    raise OSError("what listens there is no part of Ray; a cluster's port is 6379 unless it was set")
    except (OSError, OverflowError) as error:
        raise UserError(f"{source} {address}: no Ray cluster answers there: {error}") from error


def refusal(address: str | None, error: Exception, source: str = "--address") -> str:
    text, line = str(error).strip(), " ".join(str(error).split())
    if "ersion mismatch" in line:
        return f"{source} {address}: {_mismatch(line)}"
    text = text.splitlines()[-1] if "Traceback" in text else line
    if "Failed to connect to Ray cluster" in text:
        text += ", which is what a wrong token leads to as well: RAY_AUTH_TOKEN must be that of the cluster"
    return f"{source} {address}: no Ray cluster answers there: {text}" if address else f"Ray does not start: {text}"


def _mismatch(text: str) -> str:
    """The versions on both sides, parsed from Ray's message if possible."""
    match = VERSIONS.search(text)
    if match is None:
        return f"versions must be the same on both sides: {text}"
    return (
        f"the cluster runs Ray {match[1]} on Python {match[2]}, this program Ray {match[3]} on Python {match[4]}; "
        "install the cluster's versions here, or this program's on every node of the cluster"
    )


def _quoted_python() -> dict[str, Any] | None:
    """Ray hands the interpreter's path to a shell as it is; a path with a space must be quoted."""
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


def _runtime_env(space: Space) -> dict[str, Any]:
    """The packages and settings that the workers of a cluster started by others need.

    The packages are ours and the trainable's.
    """
    packages = [ROOT / "branchwise", *project_files(space)]
    names = ("PYTHONPATH", *(name for name in SETTINGS if name != "RAY_AUTH_MODE"))
    return {
        "py_modules": [str(package) for package in packages],
        "excludes": ["__pycache__", "*.ipynb", ".git", ".venv", "results"],
        "env_vars": {name: os.environ[name] for name in names if name in os.environ},
    }


def _private_token() -> None:
    """Create the token that local clusters require, readable only by its owner, unlike Ray's."""
    file = Path.home() / ".ray" / "auth_token"
    if os.environ["RAY_AUTH_MODE"] != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
    except FileExistsError:
        file.chmod(0o600)
    except OSError as error:
        raise UserError(
            f"{file}: the token of Ray's clusters cannot be written: {error.strerror}; set HOME to a folder that can "
            "be written, or RAY_AUTH_TOKEN"
        ) from error


def _log_to(stream: TextIO) -> None:
    """Redirect the log of Ray and its libraries in this process from the terminal to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().handlers = [handler]
    ray_logger = logging.getLogger("ray")
    ray_logger.handlers = []  # importing ray adds one that writes to the terminal
    ray_logger.propagate = True
    logging.captureWarnings(True)
