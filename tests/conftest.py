"""What each test may use: the repository's root, and the command line as a user runs it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from patience import patience, ray_is_idle, start_ray, stop_ray

ROOT = Path(__file__).resolve().parents[1]

# For NumPy, here and in the processes that tests start: `make test` keeps a core busy with each of its processes, and
# further threads only wait for one. Before anything imports NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Variables that affect this project's code. Libraries set others when they are imported or fail.
VARIABLES = ("BRANCHWISE_", "HOME", "PATH", "PYTHONPATH", "RAY_ADDRESS", "RAY_TRAIN_", "TUNE_", "XDG_")

# The same examples every time, regardless of load.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def shares_ray(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "ray_session" in item.fixturenames


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that share a Ray first, then the slowest, so that no process runs a slow one at the end."""
    seconds: Counter[Path] = Counter()
    for item in items:
        slow = item.get_closest_marker("slow")
        seconds[item.path] += 0 if slow is None else int(slow.args[0]) if slow.args else 20
    sharing = {item.path for item in items if shares_ray(item)}
    items.sort(key=lambda item: (item.path not in sharing, -seconds[item.path]))


def pytest_collection_finish() -> None:
    """What was imported for collection lives to the end: no garbage collection need traverse it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def isolated_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The record of started runs is in a separate folder of the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.getbasetemp() / "state")


@pytest.fixture(scope="module", autouse=True)
def _same_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module restores the environment and the folder of the process, for the modules after it. One that shares no
    Ray finds none."""
    if not any(shares_ray(item) for item in request.session.items if item.path == request.path):
        stop_ray()
    environment, folder = dict(os.environ), Path.cwd()
    yield
    changed = sorted(
        name for name, _ in set(environment.items()) ^ set(os.environ.items()) if name.startswith(VARIABLES)
    )
    moved = Path.cwd() != folder
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    assert not changed, f"the environment was left changed: {', '.join(changed)}"
    assert not moved, "the working directory was left changed"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def start_sweep() -> Callable[..., subprocess.Popen[str]]:
    """Starts platform/run_sweep.py with these arguments; the caller waits for it."""

    def start(*arguments: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "platform/run_sweep.py"), *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": ""},  # the script locates its packages
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that runs tests in the background may have Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return start


@pytest.fixture
def sweep(start_sweep: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str]]:
    """Runs platform/run_sweep.py to its end: (exit code, everything it printed)."""

    def run(*arguments: object, cwd: Path = ROOT, timeout: float = 280) -> tuple[int, str]:
        process = start_sweep(*arguments, cwd=cwd)
        try:
            output, _ = process.communicate(timeout=patience(timeout))
        finally:
            process.kill()
        return process.returncode, output

    return run


@pytest.fixture
def sweep_in_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """As `sweep`, in this process, which saves the imports: for what ends before Ray starts, or shares a Ray."""
    from branchwise.commands import run_sweep

    monkeypatch.setenv("COLUMNS", "80")  # as where the output is no terminal

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run_sweep.main([*map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def ray_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Ray that this process has started: one start for all sweeps of the modules that share it, one after another.
    After each module it must be there as it was, with the same environment and nothing running; after a failure, the
    next module starts another."""
    import ray

    start_ray()
    before = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    failed = request.session.testsfailed
    yield
    left = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    running, idle = ray.is_initialized(), ray.is_initialized() and ray_is_idle()
    if not idle or request.session.testsfailed > failed:
        stop_ray()
    assert running
    assert idle, "something still runs on the Ray that modules share"
    assert left == before


SURFACE = """\
name: surface-ablation
trainable: surface
train: {steps: 4}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
    curriculum_transfer: {off: {curriculum: learned}}
  baselines: [scratch]
  blocks: 3
  claims: [uncond_branch.share > 0.60]
"""


@pytest.fixture(scope="session")
def surface_text() -> str:
    """A space with a known truth and arms without cost."""
    return SURFACE


@pytest.fixture
def surface_space(surface_text: str, tmp_path: Path) -> Path:
    """The file of `surface_text`."""
    file = tmp_path / "surface.yaml"
    file.write_text(surface_text)
    return file
