"""Runs in an object store: a real S3 protocol against a local server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from moto.server import ThreadedMotoServer
from patience import start_ray
from pyarrow import fs

from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.storage import Storage, storage_at


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty bucket; the environment states where its server is, and with which key."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "the-key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # The name is new for each test: a file system is remembered by its URI.
    fs.S3FileSystem(endpoint_override=f"http://{host}:{port}", allow_bucket_creation=True).create_dir(f"bucket{port}")
    yield f"s3://bucket{port}/runs"
    server.stop()


def test_folders_are_checked_where_they_are_fetched(bucket: str, tmp_path: Path) -> None:
    storage = storage_at(bucket)
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"1234")
    storage.put_folder(model, "teachers/x")
    assert storage.has_folder("teachers/x")
    assert (storage.get_folder("teachers/x", tmp_path / "fetched") / "weights").read_bytes() == b"1234"
    storage.write("teachers/x/weights", b"1235")
    with pytest.raises(DamagedError, match="teachers/x/weights is damaged"):
        storage.get_folder("teachers/x", tmp_path / "again")
    storage.delete("teachers/x")
    assert not storage.has_folder("teachers/x")
    assert storage.names("teachers") == []


@pytest.fixture
def ray_of_bucket(bucket: str) -> Iterator[None]:
    """A Ray that this process has started, with workers that know the server of the bucket."""
    import ray

    start_ray()
    yield
    ray.shutdown()


@pytest.mark.slow(45)
@pytest.mark.usefixtures("ray_of_bucket")
def test_sweep_in_bucket(bucket: str, sweep_in_process: Callable[..., tuple[int, str]], surface_space: Path) -> None:
    code, output = sweep_in_process("--space", surface_space, "--storage", bucket, "--set", "design.blocks=2")
    assert code == 0, output
    assert f"{bucket}/surface-ablation/report/index.html" in output
    run = Storage(f"{bucket}/surface-ablation")
    assert len(pd.read_parquet(io.BytesIO(run.read("arms.parquet")))) == 18
    assert b"<html" in run.read("report/index.html")
    assert run.read_json("manifest.json")["status"] == "finished"
    assert not run.exists("lock.json")
    for name in ("manifest.json", "plan.json", "space.yaml", "logs/ray.log"):
        assert b"-of-the-test" not in run.read(name)

    run.write_json("arms/full-b0.json", {**run.read_json("arms/full-b0.json"), "status": "failed"})
    run.write("arms/base-b1.json", b"{")
    code, output = sweep_in_process("--resume", "surface-ablation", "--storage", bucket)
    assert code == 0, output
    assert "16 have a result already, 2 to run" in output
    assert "arms/base-b1.json; the arm runs again" in output
    assert len(pd.read_parquet(io.BytesIO(run.read("arms.parquet")))) == 18


@pytest.mark.long(30)
def test_search_in_bucket(bucket: str, sweep: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: searched\ntrainable: surface\n"
        "design: {kind: search, arms: 4, blocks: 2, knobs: {anchor_weight: {uniform: [0.2, 1.0]}}}\n"
    )
    code, output = sweep("--space", space, "--storage", bucket)
    assert code == 0, output
    run = Storage(f"{bucket}/searched")
    assert pd.read_parquet(io.BytesIO(run.read("arms.parquet")))["kind"].tolist() == ["search"] * 4 + ["confirm"] * 4
    code, output = sweep("--resume", "searched", "--storage", bucket)
    assert code == 0, output
    assert "Starting Ray" not in output, "there is nothing to do"
    assert len(run.names("arms")) == 8
