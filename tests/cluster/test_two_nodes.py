"""A sweep submitted as a job to two nodes started by `ray start`, of which one has no checkout: watched while it runs,
in the browser, on the metrics port and by a Prometheus; then its results; then what is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chromium import needs_chromium, photograph

pytestmark = pytest.mark.slow(10)

SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def gauges(cluster: Any) -> dict[tuple[str, str, str], float]:
    """Our gauges on the head's metrics port: value by name, cell and block."""
    text = cluster.get(f"http://127.0.0.1:{cluster.ports['metrics']}/metrics").decode()
    results = {}
    for name, tags, value in SAMPLE.findall(text):
        if name.startswith("ray_branchwise_"):
            tag = dict(re.findall(r'(\w+)="([^"]*)"', tags))
            assert tag["sweep"] == "submitted"
            results[name, tag["cell"], tag["block"]] = float(value)
    return results


CELLS = ("full", "uncond_branch", "anchor", "base")


@pytest.mark.usefixtures("scraping")
def test_metrics_port_and_folder_tell_how_fast_and_how_far(job: Any) -> None:
    cluster = job.cluster
    rates = cluster.wait_for(
        lambda: {key: value for key, value in gauges(cluster).items() if "steps_per_second" in key[0] and value}
    )
    assert {key[1:] for key in rates} <= {(cell, block) for cell in CELLS for block in "01"}
    assert all(0 < value <= 2.2 for value in rates.values())  # a step sleeps half a second, and a busy machine longer
    # The gauges of a single trial are enough here; the other may not have reported twice yet.
    trials = ["t0000", "t0001"]
    progress = job.run / "progress"
    cluster.wait_for(lambda: all(b"steps_per_second" in (progress / f"{item}.json").read_bytes() for item in trials))
    code, message = cluster.run(
        cluster.python, job.script, "--status", "submitted", "--storage", job.run.parent, cwd=job.folder
    )
    assert code == 0
    assert re.search(r"state +running as process \d+", message)
    rates_seen = re.findall(r"(t000\d) +train \d+/60, (\d+\.\d) steps/s", message)
    assert [trial for trial, _ in rates_seen] == trials, message
    assert all(float(rate) <= 2.2 for _, rate in rates_seen)
    assert re.search(r"left +about \d+ s", message)


def contains_all(expected_texts: Sequence[str], text: str) -> bool:
    return all(expected in text for expected in expected_texts)


@needs_chromium
def test_dashboard_shows_job_train_runs_and_actors(job: Any, tmp_path: Path) -> None:
    # The runs of Ray Train have no page in Ray 2.60's dashboard, only an address.
    pages = {
        "jobs": ("/#/jobs", ("the-sweep", "RUNNING")),
        "actors": ("/#/actors", ("submitted t0000: ", "submitted t0001: ", "full-b0", "full-b1")),
        "train": ("/api/train/v2/runs/v1", ("submitted-t0000-", "submitted-t0001-", "RUNNING")),
    }
    out = Path(os.environ.get("BRANCHWISE_SCREENSHOTS", tmp_path))
    requested: dict[str, tuple[str, Callable[[str], bool]]] = {
        name: (f"{job.cluster.dashboard}{page}", partial(contains_all, expected_texts))
        for name, (page, expected_texts) in pages.items()
    }
    texts = photograph(job.cluster.environment["RAY_AUTH_TOKEN"], requested, out, seconds=60)
    for name, (_, expected_texts) in pages.items():
        assert [expected for expected in expected_texts if expected not in texts[name]] == [], texts[name]


def test_prometheus_has_scraped_what_grafana_shows(job: Any, prometheus: Any, root: Path) -> None:
    job.finish()
    arms = pd.read_parquet(job.run / "arms.parquet").set_index(["cell", "block"])

    def scraped(name: str, by: str = "last") -> dict[tuple[str, int], float]:
        result = prometheus(f"{by}_over_time({name}[10m])")
        return {(item["metric"]["cell"], int(item["metric"]["block"])): float(item["value"][1]) for item in result}

    assert scraped("ray_branchwise_value") == pytest.approx(arms["value"].to_dict())
    assert scraped("ray_branchwise_arms_done") == dict.fromkeys(arms.index, 1.0)
    assert scraped("ray_branchwise_arms_failed") == dict.fromkeys(arms.index, 0.0)
    fastest = scraped("ray_branchwise_steps_per_second", "max")
    assert fastest.keys() == set(arms.index)
    assert all(1.0 < rate <= 2.2 for rate in fastest.values())
    dashboard = json.loads((root / "docker/grafana/dashboards/branchwise.json").read_text())
    for query in (target["expr"] for panel in dashboard["panels"] for target in panel["targets"]):
        prometheus(query.replace("$sweep", ".*"))  # raises when it is no query
        for name in re.findall(r"ray_\w+", query):
            # The surface has no rho.
            assert name == "ray_branchwise_rho" or prometheus(f"last_over_time({name}[10m])"), name


def test_job_finishes_with_all_arms(job: Any) -> None:
    output = job.finish()
    assert "Dashboard: http://" in output
    assert "8 of 8 arms done" in output
    arms = pd.read_parquet(job.run / "arms.parquet").set_index(["cell", "block"])
    assert set(arms["status"]) == {"done"}
    # Code is from packages that Ray sent; the node without a checkout ran one of the two trials.
    assert arms["code"].str.contains("py_modules_files").all()
    assert arms["own"].str.contains("_ray_pkg_").all()
    assert set(arms["checkout"]) == {True, False}


def test_over_client_connection(two_nodes: Any, surface_space: Path, tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{two_nodes.ports['client']}"
    given = ["--space", surface_space, "--storage", tmp_path / "runs", "--address", address]
    code, output = two_nodes.sweep(*given, "--set", "design.blocks=1", cwd=tmp_path)
    logs = sorted(two_nodes.temp.glob("session_*/logs/ray_client_server*"))
    assert code == 0, "\n".join([output, *(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)])
    assert "9 of 9 arms done" in output


def test_search_is_not_steered_from_outside(two_nodes: Any, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    knobs = "{kind: search, arms: 4, knobs: {anchor_weight: {log_uniform: [0.01, 1.0]}}}"
    space.write_text(f"name: search\ntrainable: surface\ndesign: {knobs}\n")
    address = f"ray://127.0.0.1:{two_nodes.ports['client']}"
    code, output = two_nodes.sweep("--space", space, "--storage", tmp_path / "runs", "--address", address, cwd=tmp_path)
    assert code == 2, output
    assert "use `ray job submit`" in output.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("named", [True, False])
def test_storage_that_node_does_not_see_is_refused(two_nodes: Any, surface_space: Path, named: bool) -> None:
    storage, address = two_nodes.hidden / "runs", two_nodes.address if named else "auto"
    code, output = two_nodes.sweep(
        "--space", surface_space, "--storage", storage, "--address", address, cwd=surface_space.parent
    )
    assert code == 2, output
    assert re.search(r"run_sweep: --storage .* do not see it; name a folder that every node has", output)
    assert not storage.exists()


@pytest.mark.parametrize(
    ("address", "environment", "expected_texts"),
    [
        ("127.0.0.1:1", {}, "no Ray cluster answers there"),
        (
            "{address}",
            {"RAY_AUTH_TOKEN": "0" * 32, "RAY_NUM_REDIS_GET_RETRIES": "2"},
            "RAY_AUTH_TOKEN must be that of the cluster",
        ),
    ],
)
def test_unresponsive_cluster(
    two_nodes: Any, surface_space: Path, tmp_path: Path, address: str, environment: dict[str, str], expected_texts: str
) -> None:
    given = [
        "--space",
        surface_space,
        "--storage",
        tmp_path / "runs",
        "--address",
        address.format(address=two_nodes.address),
    ]
    code, output = two_nodes.sweep(*given, cwd=tmp_path, **environment)
    assert code == 2, output
    assert expected_texts in output.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_other_versions_are_refused(two_nodes: Any, surface_space: Path, tmp_path: Path) -> None:
    """Last of all: afterwards the cluster states that its Python is another."""
    text = """
import json, os
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
import ray
from ray._private import ray_constants
from ray.experimental import internal_kv
ray.init(address="{address}", configure_logging=False)
about = json.loads(internal_kv._internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster"))
about["python_version"] = "3.10.1"
internal_kv._internal_kv_put(b"CLUSTER_METADATA", json.dumps(about), overwrite=True, namespace=b"cluster")
"""
    code, output = two_nodes.run(two_nodes.python, "-c", text.replace("{address}", two_nodes.address), cwd=tmp_path)
    assert code == 0, output
    given = ["--space", surface_space, "--storage", tmp_path / "runs", "--address", two_nodes.address]
    code, output = two_nodes.sweep(*given, cwd=tmp_path)
    assert code == 2, output
    assert "on Python 3.10.1, this program Ray " in " ".join(output.split())
    assert not (tmp_path / "runs").exists()
