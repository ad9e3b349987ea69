"""docker/ holds: each path, command and option it names exists, and its files are what their readers expect.

No container engine is needed, and none is run.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from packaging.utils import canonicalize_name
from patience import patience

from branchwise.orchestration.monitoring.gauges import gauge_texts
from branchwise.trainables import dash

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


@pytest.fixture
def docker(root: Path) -> Path:
    return root / "docker"


@pytest.fixture
def compose(docker: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((docker / "compose.yaml").read_text())
    return content


def sources(root: Path) -> list[Path]:
    candidates = [*(root / "docker").rglob("*"), *(root / "docs").glob("*.md"), root / "README.md"]
    return [
        file
        for file in candidates
        if file.suffix in (".md", ".yaml", ".yml", ".sbatch", ".sh") or file.stem == "Dockerfile"
    ]


def test_named_paths_exist(root: Path) -> None:
    for file in sources(root):
        for path in re.findall(
            r"(?<![\w./~-])(?:platform|search_spaces|docker|docs|analysis|benchmarks|trainables|tests)/[\w./-]+",
            file.read_text().replace("# syntax=docker/dockerfile:1", ""),
        ):
            path = path.rstrip("./")
            if "/secrets/" not in path:
                assert (root / path).exists(), f"{file.relative_to(root)} names {path}"


def test_named_branchwise_options_exist(root: Path) -> None:
    options = subprocess.run(
        [sys.executable, root / "platform/run_sweep.py", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for file in sources(root):
        text = file.read_text().replace("\\\n", " ")
        for command in re.findall(r"(?:run_sweep\.py|start_or_resume\.sh|run --rm sweep)([^\n|`]*)", text):
            for option in OPTION.findall(command.partition(" -- ")[0]):
                if option not in ("--tmux", "--kill"):
                    assert option in options, f"{file.name}: {option}"


@pytest.mark.parametrize("command", ["start", "symmetric-run", "job submit", "up", "exec", "rsync-up"])
def test_named_ray_options_exist(root: Path, command: str) -> None:
    from ray.scripts.scripts import cli as ray_commands

    help_page = CliRunner().invoke(ray_commands, [*command.split(), "--help"])
    assert help_page.exit_code == 0, help_page.output
    options = help_page.output
    options += "--num-cpus" if command == "symmetric-run" else ""  # it passes the arguments of `ray start`
    for file in sources(root):
        text = re.sub(r"\\?\n\s*(?=--)", " ", file.read_text()).replace("\\\n", " ")
        text = re.sub(r"\[ray, (\w+), (.*)\]", lambda result: f"ray {result[1]} {result[2].replace(',', '')}", text)
        for arguments in re.findall(rf"(?:bin/|\b)ray {command}\b([^\n`#]*)", text):
            for option in OPTION.findall(arguments.partition(" -- ")[0].partition('"')[0]):
                assert option in options, f"{file.name}: ray {command} {option}"


def test_shell_files_parse(docker: Path) -> None:
    subprocess.run(["bash", "-n", docker / "slurm.sbatch"], check=True)
    subprocess.run(["sh", "-n", docker / "start_or_resume.sh"], check=True)
    assert os.access(docker / "start_or_resume.sh", os.X_OK)


def test_compose_binds_loopback_and_hides_secrets(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not any("TOKEN" in key and "PATH" not in key for key in service.get("environment", {})), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        for volume in service.get("volumes", []):
            location = volume.partition(":")[0]
            assert location in compose["volumes"] or location.startswith("./"), name
    for service in ("head", "worker", "prometheus", "grafana"):
        assert "healthcheck" in compose["services"][service]
    assert {"optuna-dashboard", "sweep"} <= set(compose["services"])


def test_containers_drop_capabilities(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service.get("cap_drop") == ["ALL"], name
        assert service.get("security_opt") == ["no-new-privileges:true"], name


def test_hashed_requirements_are_tested_versions(root: Path) -> None:
    locked = {}
    for entry in re.split(r"\n(?=\S)", (root / "requirements.lock").read_text().strip()):
        match = re.match(r"([\w.-]+)==([^ ;\\]+)", entry)
        assert match is not None, entry
        name, version = match.groups()
        locked[canonicalize_name(name)] = version
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{name} has no hash"
    pins = dict(line.split("==") for line in (root / "constraints.txt").read_text().split())
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    assert {name: version for name, version in locked.items() if name != "pip"}.items() <= pinned.items()
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (root / file).read_text().splitlines():
            if name := re.match(r"[\w-]+", line):
                assert canonicalize_name(name[0]) in locked, f"{file}: {name[0]}"


def test_mounted_files_exist(docker: Path, compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (docker / volume.split(":")[0]).exists(), volume
    for service in ("head", "worker"):
        assert (docker.parent / compose["services"][service]["build"]["dockerfile"]).exists()


def test_image_holds_what_it_runs_and_not_as_root(docker: Path) -> None:
    lines = (docker / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    allowed = (docker / "Dockerfile.dockerignore").read_text().splitlines()
    for file in (file for files in copied for file in files):
        assert (docker.parent / file).exists()
        assert f"!{file}" in allowed
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER branchwise"]
    requirements = next(index for index, line in enumerate(lines) if "-r requirements.txt" in line)
    assert requirements < lines.index("COPY trainables trainables"), "a change of the code must not install anew"


def test_ray_up_reads_cluster_file(docker: Path) -> None:
    schema = json.loads((importlib.resources.files("ray.autoscaler") / "ray-schema.json").read_text())
    cluster = yaml.safe_load((docker / "ray-cluster.yaml").read_text())
    jsonschema.validate(cluster, schema)
    assert cluster["provider"]["type"] == "local"


def _entry_point(spec: dict[str, Any]) -> list[str]:
    """The arguments of a job's command; pods have separate homes, so each try trusts the storage."""
    script, trust, *arguments = spec["entrypoint"].split()
    assert trust == "--trust"
    return [script, *arguments]


def test_pods_of_rayjob_find_what_was_fetched(docker: Path, root: Path) -> None:
    claim, account, fetch = yaml.safe_load_all((docker / "kuberay-storage.yaml").read_text())
    job = yaml.safe_load((docker / "kuberay-rayjob.yaml").read_text())["spec"]
    cluster = job["rayClusterSpec"]
    fetching = fetch["spec"]["template"]["spec"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    (container,) = fetching["containers"]
    assert container["command"][:4] == ["python", "-m", "branchwise.cli", "fetch"]
    _, _, space, *_ = _entry_point(job)
    assert container["command"][-1] == space, "another space than the one that runs"
    workdir = next(
        line.split()[1] for line in (docker / "Dockerfile").read_text().splitlines() if line.startswith("WORKDIR")
    )
    for pod in (fetching, *pods):
        (first,) = pod["containers"]
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert first["image"] == container["image"]
        assert {"name": "TORCH_HOME", "value": "/storage/torch"} in first["env"]
        mounts = {mount["mountPath"]: mount.get("subPath") for mount in first["volumeMounts"]}
        assert mounts["/storage"] is None
        assert mounts[f"{workdir}/data"] == "data"
        volume = next(volume for volume in pod["volumes"] if volume["name"] == "storage")
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert yaml.safe_load((root / space).read_text())["data"]["path"] == "data"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_alerts_fire_when_they_should(root: Path) -> None:
    ran = subprocess.run(
        ["promtool", "test", "rules", root / "tests/data/alerts_test.yml"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_alerts_name_metrics_that_exist(docker: Path) -> None:
    options = {f"ray_{name}" for name in gauge_texts(dash.COLUMNS)}
    rules = yaml.safe_load((docker / "alerts.yml").read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"\bray_\w+", rule["expr"])}
    assert named
    assert named <= options
    assert yaml.safe_load((docker / "prometheus.yml").read_text())["rule_files"] == ["alerts.yml"]


def test_rayjob_resumes(docker: Path, root: Path) -> None:
    import ray

    job = yaml.safe_load((docker / "kuberay-rayjob.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    script, _name, space, *_ = _entry_point(spec)
    assert (root / script).exists()
    assert (root / space).exists()
    assert spec["backoffLimit"] > 0
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == volumes


@dataclass(frozen=True, kw_only=True)
class StartedRun:
    """A run that start_or_resume.sh has started, without a network where this machine allows cutting it off."""

    call: Callable[[], subprocess.CompletedProcess[str]]  # calls it once more
    first: subprocess.CompletedProcess[str]
    run: Path
    isolated: bool


@pytest.fixture(scope="module")
def started_run(root: Path, surface_text: str, tmp_path_factory: pytest.TempPathFactory) -> StartedRun:
    folder = tmp_path_factory.mktemp("started")
    (folder / "space.yaml").write_text(surface_text.replace("blocks: 3", "blocks: 1") + "tracking: [mlflow, wandb]\n")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "WANDB_MODE": "offline",
    }
    environment.pop("RAY_ADDRESS", None)
    cut_off = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    isolated = (
        shutil.which("unshare") is not None and not subprocess.run([*cut_off, "true"], capture_output=True).returncode
    )
    given = [root / "docker/start_or_resume.sh", "again", folder / "space.yaml", "--storage", folder / "runs"]
    command = [*cut_off * isolated, *map(str, given)]

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience(200))

    return StartedRun(call=call, first=call(), run=folder / "runs/again", isolated=isolated)


@pytest.mark.slow(20)
def test_sweep_without_any_network(started_run: StartedRun) -> None:
    assert started_run.first.returncode == 0, started_run.first.stdout + started_run.first.stderr
    assert "9 of 9 arms done" in started_run.first.stdout
    assert "logging failed" not in started_run.first.stdout
    assert len(list((started_run.run / "tracking/wandb").iterdir())) == 9
    if not started_run.isolated:
        pytest.skip("cutting off the network takes root and unshare")


@pytest.mark.slow(15)
def test_start_or_resume_starts_then_resumes(started_run: StartedRun) -> None:
    assert started_run.first.returncode == 0, started_run.first.stdout + started_run.first.stderr
    (started_run.run / "arms/full-b0.json").unlink()
    second = started_run.call()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "8 have a result already, 1 to run" in second.stdout
    assert "9 of 9 arms done" in second.stdout


def test_unreachable_storage_is_not_empty(docker: Path, surface_space: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    (tmp_path / "runs").write_text("a file, where the folder of the storage was mounted")
    command = [str(docker / "start_or_resume.sh"), "again", str(surface_space), "--storage", str(tmp_path / "runs")]
    called = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience(200))
    assert called.returncode == 2
    assert f"--storage {tmp_path / 'runs'}: " in called.stderr, "the outage is told"
    assert called.stdout == "", "no new run was planned"


def test_grafana_names_only_metrics_that_exist(docker: Path) -> None:
    dashboard = (docker / "grafana/dashboards/branchwise.json").read_text()
    # Of Ray's metrics, tests/cluster fetches these from a real cluster.
    gauges = {f"ray_{name}" for name in gauge_texts(dash.COLUMNS)}
    named = set(re.findall(r"\bray_\w+", dashboard))
    assert gauges <= named <= gauges | {"ray_node_cpu_utilization", "ray_node_mem_used"}
    for file in (docker / "grafana/provisioning").rglob("*.yaml"):
        assert yaml.safe_load(file.read_text())["apiVersion"] == 1
