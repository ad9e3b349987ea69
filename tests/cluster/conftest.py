"""A Ray cluster of two nodes, started by `ray start` as a user would, and a sweep submitted to it as a job."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from patience import patience

ROOT = Path(__file__).resolve().parents[2]

# A user module, which is only in the folder that the job is submitted from.
SURFACE_SOURCE = '''"""The surface, which also tells where its code lies."""

import dataclasses
from pathlib import Path

import branchwise.trainables as trainables
from branchwise.trainables.surface import *  # noqa: F403
from branchwise.trainables.surface import run_cohort as run_surface


def run_cohort(arms, context):
    def finish(arm, result, folder):
        told = {"code": trainables.__file__, "own": __file__, "checkout": Path(CHECKOUT).exists()}
        context.finish(arm, dataclasses.replace(result, values={**result.values, **told}), folder)

    run_surface(arms, dataclasses.replace(context, finish=finish))
'''

SPACE = """\
name: submitted
trainable: own_package.own_surface
train: {steps: 60, seconds_per_step: 0.5}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  blocks: 2
resources: {workers: 1, arms_per_trial: 4}
"""


def free_port() -> int:
    """A port that Ray does not take for its workers, which are those from 10002 on."""
    for port in range(6500, 9900, 7):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port + os.getpid() % 7))
            except OSError:
                continue
            return port + os.getpid() % 7
    raise RuntimeError("no free port")


@dataclass(frozen=True)
class TwoNodes:
    """How to reach the cluster."""

    python: Path
    ports: dict[str, int]
    environment: dict[str, str]
    temp: Path  # Ray's files of the head
    hidden: Path  # a folder that the second node does not see

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['gcs']}"

    @property
    def ray(self) -> list[str]:
        """The command `ray`."""
        return [str(self.python), "-m", "ray.scripts.scripts"]

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['dashboard']}"

    def get(self, url: str) -> bytes:
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=token), timeout=patience(10)) as answer:
            return bytes(answer.read())

    def run(self, *command: object, cwd: Path, timeout: float = 300, **environment: str) -> tuple[int, str]:
        """Runs a command with the cluster's environment: (exit code, everything it printed)."""
        ran = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience(timeout),
        )
        return ran.returncode, ran.stdout

    @staticmethod
    def wait_for(what: Callable[[], Any], seconds: float = 180) -> Any:
        """The first true result of `what`; an OSError counts as none."""
        deadline, last = time.monotonic() + patience(seconds), None
        while time.monotonic() < deadline:
            try:
                last = what()
            except OSError as error:
                last = error
            if last and not isinstance(last, OSError):
                return last
            time.sleep(0.25)
        raise TimeoutError(f"nothing within {seconds} s; the last answer: {last!r}")

    def sweep(self, *arguments: object, cwd: Path, **environment: str) -> tuple[int, str]:
        command = [self.python, ROOT / "platform/run_sweep.py", *arguments]
        return self.run(*command, cwd=cwd, timeout=300, **environment)


@contextmanager
def process(*command: object, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a separate session; it and all it started have finished afterwards."""
    with log.open("wb") as stream:
        started = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield started
    finally:
        started.terminate()  # `ray start --block` ends what it started
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        if os.getsid(int(entry.name)) == started.pid:
                            os.kill(int(entry.name), signal.SIGKILL)
                    except ProcessLookupError:
                        continue


@pytest.fixture(scope="package")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    folder = tmp_path_factory.mktemp("cluster")
    # Ray hands its interpreter's path to shells as it is: by this link it has no space, for any checkout path.
    (folder / "venv").symlink_to(sys.prefix)
    python = folder / "venv/bin" / Path(sys.executable).name
    temp = Path(os.environ.get("TMPDIR", "/tmp")) / f"bw-{os.getpid()}"  # short: sockets are in it
    ports: dict[str, int] = {}
    with ExitStack() as stack:  # so that no two of them are the same
        for name in ("gcs", "dashboard", "client", "metrics", "metrics2", "agent", "agent2"):
            ports[name] = free_port()
            taken = stack.enter_context(socket.socket())
            taken.bind(("0.0.0.0", ports[name]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",  # as in an activated environment
        "PYTHONPATH": "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_TMPDIR": str(temp),  # so that `--address auto` means this cluster, regardless of others on the machine
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180",  # in 30 s a busy machine may not have started it
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    }
    # The second node sees neither our code nor Ray's files of the first.
    temp.mkdir()
    (folder / "hidden").mkdir()
    places = [*(ROOT / name for name in ("branchwise", "trainables", "analysis", "platform")), temp, folder / "hidden"]
    hide = " && ".join(f"mount -t tmpfs none '{item}'" for item in places)
    if subprocess.run(["unshare", "-m", "sh", "-c", hide], capture_output=True).returncode:
        pytest.skip("a node that shares no files with the other one takes root, for its own mounts")
    unshared = ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh"]
    head = ["--head", f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}"]
    head += [f"--ray-client-server-port={ports['client']}", f"--metrics-export-port={ports['metrics']}"]
    head += [f"--dashboard-agent-listen-port={ports['agent']}"]
    second = [f"--address=127.0.0.1:{ports['gcs']}", f"--metrics-export-port={ports['metrics2']}"]
    second += [f"--dashboard-agent-listen-port={ports['agent2']}"]
    cluster = TwoNodes(python=python, ports=ports, environment=environment, temp=temp / "ray", hidden=folder / "hidden")
    start = [*cluster.ray, "start", "--num-cpus=1", "--block"]

    with ExitStack() as running:
        running.enter_context(process(*start, *head, log=folder / "head.log", environment=environment))
        cluster.wait_for(lambda: b"runtime started" in (folder / "head.log").read_bytes())
        running.enter_context(process(*unshared, *start, *second, log=folder / "node.log", environment=environment))
        cluster.wait_for(lambda: b"runtime started" in (folder / "node.log").read_bytes())
        yield cluster
    subprocess.run(["rm", "-rf", temp], check=False)


@dataclass
class Submitted:
    """A sweep that runs as a job; `finish` waits for its end."""

    id: str
    run: Path
    script: Path
    folder: Path
    cluster: TwoNodes
    output: str = field(default="")

    def finish(self) -> str:
        code, self.output = self.cluster.run(
            *self.cluster.ray,
            *("job", "logs", "--follow", "--address", self.cluster.dashboard, self.id),
            cwd=self.folder,
        )
        assert code == 0, self.output
        return self.output


@pytest.fixture(scope="package")
def job(two_nodes: TwoNodes, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """The sweep, running: both of its trials have reported progress."""
    folder = tmp_path_factory.mktemp("folder")
    storage = tmp_path_factory.mktemp("storage")
    (folder / "own_package").mkdir()
    (folder / "own_package/__init__.py").touch()
    (folder / "own_package/own_surface.py").write_text(
        SURFACE_SOURCE.replace("CHECKOUT", repr(str(ROOT / "trainables/surface.py")))
    )
    (folder / "space.yaml").write_text(SPACE)
    submit = ["job", "submit", "--address", two_nodes.dashboard, "--no-wait", "--submission-id", "the-sweep"]
    command = ["python", ROOT / "platform/run_sweep.py", "--space", "space.yaml", "--storage", storage]
    code, output = two_nodes.run(*two_nodes.ray, *submit, "--working-dir", ".", "--", *command, cwd=folder)
    assert code == 0, output
    running = Submitted(
        id="the-sweep",
        script=ROOT / "platform/run_sweep.py",
        run=storage / "submitted",
        folder=folder,
        cluster=two_nodes,
    )
    try:
        two_nodes.wait_for(lambda: len(list((running.run / "progress").glob("t*.json"))) == 2)
    except TimeoutError:
        pytest.fail(running.finish())
    return running


@pytest.fixture(scope="package")
def prometheus(two_nodes: TwoNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], list[Any]]]:
    """A Prometheus with the scrape configuration of docker/, of this cluster: runs a query."""
    tmp_path = tmp_path_factory.mktemp("prometheus")
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus here")
    config = (ROOT / "docker/prometheus.yml").read_text()
    targets = two_nodes.temp / "prom_metrics_service_discovery.json"
    config = config.replace("/tmp/ray/prom_metrics_service_discovery.json", str(targets)).replace("10s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    options += [f"--web.listen-address={address}"]

    def ask(query: str) -> list[Any]:
        url = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=patience(10)) as answer:
            return list(json.loads(answer.read())["data"]["result"])

    with process(program, *options, log=tmp_path / "prometheus.log", environment=dict(os.environ)):
        yield ask


@pytest.fixture
def scraping(request: pytest.FixtureRequest) -> None:
    """Start a Prometheus, if installed."""
    if shutil.which("prometheus"):
        request.getfixturevalue("prometheus")
