"""Reports for a cluster that refuses access, and the files sent to a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private.utils import check_version_info, compute_version_info

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import cluster, connect, refusal
from branchwise.orchestration.run_folder.code import project_files
from branchwise.orchestration.space import load_space
from branchwise.trainables.runtime.loading import resolve_folder

COMMAND = """\
name: script
trainable: command
command: {run: [python, train.py, "{ema}"], metric: {key: accuracy}, direction: maximize}
settings: {ema: --ema}
design: {components: {ema: {off: {ema: ""}}}}
"""
FUNCTION = """\
name: function
trainable: NAME:train
function: {metric: accuracy, direction: maximize}
design: {components: {ema: {off: {ema: false}}}}
"""


# The message of Ray 2.60 when a busy head does not start its server for clients in time.
NOT_SERVED = """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 772, in Datapath
    raise RuntimeError(
RuntimeError: Starting Ray client server failed. See ray_client_server_23001.err for detailed logs.
"""


def test_server_traceback_is_reduced_to_its_end() -> None:
    message = refusal("ray://head:10001", ConnectionAbortedError(NOT_SERVED))
    assert message == (
        "--address ray://head:10001: no Ray cluster answers there: "
        "RuntimeError: Starting Ray client server failed. See ray_client_server_23001.err for detailed logs."
    )


@pytest.mark.parametrize(("ray", "python"), [("2.48.0", "3.11.7"), (None, "3.9.1"), ("3.0.0.dev0", "3.12.3")])
def test_cluster_of_other_versions_names_both(ray: str | None, python: str) -> None:
    ours, our_python = compute_version_info()  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError) as mismatch:
        check_version_info({"ray_version": ray or ours, "python_version": python}, "node 10.0.0.7")
    assert refusal("10.0.0.1:6379", mismatch.value) == (
        f"--address 10.0.0.1:6379: the cluster runs Ray {ray or ours} on Python {python}, this program Ray {ours} on "
        f"Python {our_python}; install the cluster's versions here, or this program's on every node of the cluster"
    )


def test_dead_address_is_blamed_on_what_named_it(surface_space: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    for option, source in ((None, "RAY_ADDRESS"), ("127.0.0.1:1", "--address")):
        with (
            pytest.raises(UserError, match=f"^{source} 127.0.0.1:1: no Ray cluster answers there"),
            cluster(option, tmp_path / "log", load_space(surface_space)),
        ):
            pass


def test_python_without_docstrings_is_refused(root: Path) -> None:
    asked = "from branchwise.orchestration.planning.machine import without_docstrings; print(without_docstrings())"
    for options, refused in (([], False), (["-OO"], True)):
        run = subprocess.run(
            [sys.executable, *options, "-c", asked], cwd=root, capture_output=True, text=True, check=True
        )
        assert ("docstrings" in run.stdout) == refused


@pytest.mark.parametrize(("failures", "joined"), [(2, True), (3, False)])
def test_busy_head_is_retried(failures: int, joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[str] = []

    def init(address: str, **settings: Any) -> str:
        requested.append(address)
        if len(requested) <= failures:
            raise ConnectionAbortedError(NOT_SERVED)
        return "joined"

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("branchwise.orchestration.execution.cluster.JOIN_PAUSE_SECONDS", 0.0)
    if joined:
        assert connect("ray://head:10001", None) == "joined"
    else:
        with pytest.raises(ConnectionAbortedError):
            connect("ray://head:10001", None)
    assert len(requested) == 3


def test_cluster_is_sent_what_trainable_needs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, installed = tmp_path / "project/space.yaml", tmp_path / "installed/sent_package"
    installed.mkdir(parents=True)
    (tmp_path / "project").mkdir()
    module = "def train(seed: int, ema: bool = True): ...\n"
    (tmp_path / "project/sent_module.py").write_text(module)
    (installed / "__init__.py").write_text(module)
    monkeypatch.syspath_prepend(str(installed.parent))
    space.write_text(COMMAND)
    assert project_files(load_space(space)) == [tmp_path / "project"]
    space.write_text(FUNCTION.replace("NAME", "sent_module"))
    assert project_files(load_space(space)) == [tmp_path / "project"]
    space.write_text(FUNCTION.replace("NAME", "sent_package"))
    assert project_files(load_space(space)) == [installed]
    assert project_files(load_space(root / "search_spaces/ablation.yaml")) == []


def test_worker_finds_folder_or_copy_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, copy = tmp_path / "home/project", tmp_path / "sent/project"
    copy.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(copy.parent)])
    assert resolve_folder(str(remote)) == copy
    remote.mkdir(parents=True)
    assert resolve_folder(str(remote)) == remote
    assert resolve_folder("") is None
