"""A folder of other images: inspected, proposed, trained, measured by a separate classifier, reported; no file from
outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pictures
import pytest
from PIL import Image

from branchwise.cli import main as branchwise
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import load_space, parse_space

QUICK = (
    "teacher={channels: [8, 16, 16], norm_groups: 4, steps: 6, batch_size: 16, workers: 1}",
    "student={channels: [8, 8, 8], norm_groups: 4}", "train.steps=4", "evaluate.sampler_steps=2",
    "evaluate.samples=640", "evaluate.gap_samples=2", "evaluate.classifier.steps=150", "evaluate.classifier.width=16",
    "design.blocks=1", "design.components={uncond_branch: {off: {uncond_weight: 0}}}", "design.claims=[]",
)  # fmt: skip


@pytest.mark.long(150)
@pytest.mark.parametrize(("side", "grey"), [(28, True), (32, False)])
def test_from_folder_to_report(
    sweep: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, grey: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    images = pictures.make_folder(tmp_path / "pictures", side, grey)
    space = tmp_path / "pictures.yaml"
    assert branchwise(["propose", "--images", str(images), "--out", str(space)]) == 0
    result = load_space(space).spec
    assert result.data.image_shape == (1 if grey else 3, side, side)
    assert (result.data.classes, result.features) == (6, "classifier")
    options = [expected for item in QUICK for expected in ("--set", item)]
    code, output = sweep("--space", space, "--storage", tmp_path / "runs", *options, timeout=500)
    assert code == 0, output
    arms = pd.read_parquet(tmp_path / "runs/pictures/arms.parquet")
    assert set(arms["metric"]) == {"fd_classifier64"}
    assert arms["value"].gt(0).all()
    assert arms["coverage"].between(0, 1).all()
    (net,) = (tmp_path / "runs/features").iterdir()
    description = json.loads((net / "features.json").read_text())
    assert description["accuracy"] >= 0.8
    assert (description["tested_on"], description["trained_on"]) == (72, 288)
    page = (tmp_path / "runs/pictures/report/index.html").read_text()
    assert "fd_classifier64" in page
    assert "Efficiency" in page


def test_all_problems_of_folder_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("cats", 6), ("dogs", 2)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (40, 30)).save(tmp_path / "images" / name / f"{i}.png")
    (tmp_path / "images/cats/5.png").write_bytes(b"no picture")
    assert branchwise(["propose", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "space.yaml")]) == 2
    output = capsys.readouterr().err
    assert "dogs has 2 images" in output
    assert "cannot be read as images" in output
    assert "5.png" in output
    assert not (tmp_path / "space.yaml").exists()


def test_sizes_and_colours_are_detected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (50 + i, 40 + i), (i, i, i)).save(tmp_path / "photos" / name / f"{i}.jpg")
    assert branchwise(["propose", "--images", str(tmp_path / "photos"), "--out", str(tmp_path / "a.yaml")]) == 0
    assert "2 classes, 10 images, 32x32 in grey" in capsys.readouterr().out
    assert branchwise(["propose", "--images", str(tmp_path / "photos"), "--out", str(tmp_path / "a.yaml")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_all_problems_of_space_are_listed(surface_space: Path) -> None:
    text = surface_space.read_text().replace("steps: 4", "steps: 0, seconds_per_step: fast, stesp: 1")
    with pytest.raises(UserError) as raised:
        parse_space("space.yaml", text.encode())
    for expected in ("train.steps", "train.seconds_per_step", "train.stesp: unknown key; did you mean steps?"):
        assert expected in str(raised.value)
    net = "{channels: [8, 8, 8, 8, 8], norm_groups: 4}"
    many = f"""
name: many
teacher: {{channels: [8, 8], norm_groups: 4, steps: 3, label_dropout: 0.0}}
student: {net}
train: {{steps: 3}}
evaluate: {{samples: 10, guidance: 2.0}}
design: {{components: {{anchor: {{off: {{anchor_weight: 0}}}}}}}}
"""
    with pytest.raises(UserError) as raised:
        parse_space("many.yaml", many.encode())
    for expected in ("cannot halve 8 pixels", "trains no unconditional branch", "10 is too few"):
        assert expected in str(raised.value)


def test_missing_data_is_fetched_only_on_request(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("BRANCHWISE_INCEPTION_WEIGHTS", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server responds
    given = ["--space", str(root / "search_spaces/cifar10_ablation.yaml"), "--set", f"data.path={tmp_path}/data"]
    assert branchwise(["fetch", *given, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "data set cifar10: torchvision ->" in output
    assert "weights of inception: https://" in output
    assert "95,628,359 bytes" in output
    assert list(tmp_path.iterdir()) == []
    assert branchwise(["fetch", *given]) == 3
    failed = capsys.readouterr().err.strip().splitlines()
    failed = [line for line in failed if line.startswith("fetch: ")]
    assert [line.split(" was not fetched")[0] for line in failed] == [
        "fetch: data set cifar10", "fetch: weights of inception",
    ]  # fmt: skip
    assert not list((tmp_path / "hub").rglob("*.pth"))
    assert branchwise(["fetch", "--space", str(root / "search_spaces/smoke.yaml")]) == 0
    assert "nothing is missing" in capsys.readouterr().out
