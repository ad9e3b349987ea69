"""Classes of different sizes: the labels of samples, the floor, the classifier; and plans' notes on data and steps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.diffusion import sampling
from branchwise.trainables.dash.evaluation import floor, measurement, metrics
from branchwise.trainables.dash.settings.data import Digits, ImageFolder
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.features import METADATA_FILE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """90 images of a class, 10 of another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for label, (name, count) in enumerate((("many", 90), ("rare", 10))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (8, 8), 2 * i + 40 * label).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def spec_of(folder: Path, tiny: dict[str, Any], classes: int = 2, **evaluate: Any) -> dash.Spec:
    data = {"name": "image_folder", "path": str(folder), "image_size": 8, "channels": 1, "classes": classes}
    evaluate = {**tiny["evaluate"], "features": "classifier", **evaluate}
    return dash.Spec.model_validate({**tiny, "data": data, "evaluate": evaluate})


@pytest.mark.parametrize("classes", [2, 3, 10, 37])
@pytest.mark.parametrize("samples", [1, 9, 640, 1001])
def test_classes_of_equal_size_alternate(classes: int, samples: int) -> None:
    for count in (1, 5, 1000):
        result = sampling.proportional_labels((count,) * classes, samples)
        assert torch.equal(result, sampling.balanced_labels(range(samples), classes, "cpu"))


def test_labels_have_shares_of_data() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        counts = tuple(int(n) for n in draw.integers(1, 2000, draw.integers(2, 30)))
        samples = int(draw.integers(len(counts), 3000))
        result = sampling.proportional_labels(counts, samples)
        expected = np.array(counts) / sum(counts)
        assert len(result) == samples
        assert np.abs(result.bincount(minlength=len(counts)).numpy() - samples * expected).max() < 1
        half = result[: samples // 2].bincount(minlength=len(counts)).numpy()
        assert np.abs(half - samples // 2 * expected).max() < 2


def test_samples_of_folder_follow_its_classes(folder: Path, tiny: dict[str, Any]) -> None:
    spec = spec_of(folder, tiny)
    dataset = datasets.load(spec.data, "cpu")
    labels = measurement.labels_of(dataset, spec.evaluate, range(640))
    assert labels.bincount().tolist() == [576, 64]
    assert torch.equal(labels[100:107], measurement.labels_of(dataset, spec.evaluate, range(100, 107)))
    even = measurement.labels_of(dataset, spec.evaluate.model_copy(update={"labels": "balanced"}), range(640))
    assert even.bincount().tolist() == [320, 320]
    digits = datasets.load(Digits(), "cpu")
    assert measurement.labels_of(digits, Evaluate(), range(640)).bincount().tolist() == [64] * 10
    tiles = datasets.in_turn(torch.arange(1, 6).view(5, 1, 1, 1), torch.tensor([0, 0, 1, 0, 0]), 2)
    assert tiles.flatten().tolist() == [1, 3, 2, 0, 4]


def test_floor_is_drawn_as_samples_are(folder: Path) -> None:
    rows = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(4000) % 10 == 0).long()
    rows += 3 * labels[:, None]
    against: Any = SimpleNamespace(
        features=rows, labels=labels, extractor=SimpleNamespace(min_samples=40), statistics=metrics.statistics(rows)
    )
    settings = ImageFolder(name="image_folder", path=str(folder), image_size=8, channels=1, classes=2)
    holdout: Any = SimpleNamespace(counts=(3600, 400), classes=2)
    as_data = floor.measure(settings, holdout, against)
    even = floor.measure(settings, holdout, against, "balanced")
    assert as_data["floor_halves"] < 0.1 < 1 < even["floor_halves"]
    assert as_data["floor_held_out"] < 1 < even["floor_held_out"]
    direct = torch.cat([rows[labels == label][:200] for label in (0, 1)])
    assert even["floor_halves"] == pytest.approx(
        metrics.frechet_distance(metrics.statistics(direct), metrics.statistics(rows)), rel=0.2
    )
    equal: Any = SimpleNamespace(counts=(2000, 2000), classes=2)
    assert floor.measure(settings, equal, against, "balanced") == as_data


def test_classifier_is_tested_per_class(
    folder: Path, tiny: dict[str, Any], calls: RecordedCalls, tmp_path: Path
) -> None:
    spec = spec_of(folder, tiny, classifier={"steps": 1, "width": 8, "lr": 1e-9})
    dash.train_features(spec, tmp_path / "net", calls.context(tmp_path))
    with pytest.raises(ValueError, match=r"right on 0\.500 of 20 images .*the largest has 90% of them"):
        dash.check_features(spec, tmp_path / "net")
    assert METADATA_FILE == "features.json"


def test_bad_class_counts_are_refused(folder: Path, tiny: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"classes\n.*greater than or equal to 2"):
        spec_of(folder, tiny, classes=1)
    with pytest.raises(ValidationError, match=r"evaluate.samples: 640 is below the 1,100 classes"):
        spec_of(folder, tiny, classes=1100)


def test_plan_notes_what_is_odd(folder: Path, tiny: dict[str, Any]) -> None:
    (folder / "rare/.hidden.png").write_bytes(b"x")
    tiny["train"] |= {"steps": 6, "ema": 0.9999, "warmup_steps": 6, "lr_min": 1.0}
    rows = list(dash.describe(spec_of(folder, tiny)))
    assert rows[0] == ("images", "100 in 2 classes: many (90), rare (10)")
    notes = " | ".join(text for _, text in rows[1:])
    for phrase in (
        "1 hidden files",
        "classes differ in size: samples have their shares",
        "train.ema: 0.9999 over 6 steps leaves 100%",
        "train.warmup_steps: 6 of 6 steps",
        "train.lr_min: 1 is not below lr 0.003",
    ):
        assert phrase in notes
    assert "dimensions" not in notes
    few = " ".join(text for _, text in dash.describe(spec_of(folder, tiny, samples=1280, classifier={"dims": 128})))
    assert "100 images are fewer than the 128 dimensions of classifier" in few
    default = dash.Spec.model_validate(dash.Spec.model_validate(tiny | {"train": {"steps": 600, "ema": 0.99}}))
    assert not [text for _, text in dash.describe(default) if text.startswith("train")]
