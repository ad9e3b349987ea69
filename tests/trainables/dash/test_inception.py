"""Inception features. The standard weights are not on this machine: random weights of the same shapes replace them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as inception
from torch import Tensor, nn

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.evaluation import features, measurement, metrics, neighbors, reference_set
from branchwise.trainables.dash.evaluation.feature_nets import pretrained
from branchwise.trainables.dash.settings import files
from branchwise.trainables.dash.settings.data import Digits, ImageFolder
from branchwise.trainables.dash.settings.evaluate import Evaluate
from branchwise.trainables.dash.settings.features import PRETRAINED


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of random weights that replaces the standard one."""
    with monkeypatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda url, progress: {})
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        net: nn.Module = inception.FeatureExtractorInceptionV3("random", ["2048"])
    file = tmp_path / "weights.pth"
    torch.save(net.state_dict(), file)
    monkeypatch.setitem(PRETRAINED, "inception", replace(PRETRAINED["inception"], sha256=sha256_of(file)))
    monkeypatch.setenv("BRANCHWISE_INCEPTION_WEIGHTS", str(file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


def test_missing_weights_name_paths_address_size_and_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BRANCHWISE_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert str(files.torch_hub()) == torch.hub.get_dir()
    with pytest.raises(FileNotFoundError) as raised:
        pretrained.load("inception", "cpu")
    net = PRETRAINED["inception"]
    for part in (str(tmp_path), net.url, "95,628,359 bytes", net.sha256, "branchwise fetch --space FILE"):
        assert part in str(raised.value)


def test_modified_weights_are_refused_before_loading(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"!")
    with pytest.raises(ValueError, match="would not compare"):
        pretrained.load("inception", "cpu")


@pytest.mark.slow
def test_features_and_logits_and_grey_images(weights: Path) -> None:
    net, logits, _ = pretrained.load("inception", "cpu")
    grey = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        result = net(grey)
        assert result.shape == (2, PRETRAINED["inception"].dims + logits) == (2, 2048 + 1008)
        torch.testing.assert_close(net(grey.repeat(1, 3, 1, 1)), result)


def test_only_50000_samples_are_called_fid() -> None:
    extractor = replace(features.digits("cpu"), name="inception")
    assert [extractor.metric(n) for n in (50_000, 10_000, 12_500)] == ["fid", "fid10k", "fid12.5k"]
    assert features.digits("cpu").metric(50_000) == "fd_digits64"


def test_keys_differ_for_incomparable_measurements() -> None:
    digits = datasets.load_holdout(Digits(), "cpu")
    extractor = features.digits("cpu")
    against = reference_set.ReferenceSet(
        extractor, torch.zeros(1797, 64), torch.zeros(1797), {}, "a", torch.device("cpu")
    )

    def key(against: reference_set.ReferenceSet = against, holdout: datasets.Dataset = digits, **settings: Any) -> str:
        return measurement.comparability_key(against, holdout, Evaluate.model_validate(settings))

    fields = json.loads(key(sampler_steps=20, guidance=2))
    assert {name: fields[name] for name in ("metric", "guidance", "sampler", "sampler_steps")} == {
        "metric": "fd_digits64",
        "guidance": 2.0,
        "sampler": "ddim",
        "sampler_steps": 20,
    }
    assert not any(isinstance(value, dict | list) for value in fields.values())
    assert key() == key(repeats=3, guidance_grid=[1.0])  # that changes no measure
    others = [
        key(replace(against, sha256="b")),
        key(replace(against, extractor=replace(extractor, weights_sha256="other"))),
        key(holdout=datasets.load(Digits(), "cpu")),
        key(samples=2000),
        key(precision="bf16"),
        key(gap_samples=9),
        key(guidance=2.0),
        key(guidance={"w_max": 3.0}),
        key(guidance={"scale": 1.5}),
        key(sampler="unipc"),
        key(sampler_steps=20),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_reference_features_are_cached_by_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def net(pixels: Tensor) -> Tensor:
        calls.append(len(pixels))
        return pixels.float().flatten(1)

    digits = datasets.load_reference_images(Digits(), "cpu")
    images = {"now": digits.images[:300]}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    extractor = features.Extractor("inception", net, 64, 0, "w", kid_subsets=2, kid_subset_size=10)
    now = lambda settings, device: replace(digits, images=images["now"])  # noqa: E731
    monkeypatch.setattr(reference_set, "load_reference_images", now)
    settings = ImageFolder(name="image_folder", path="x", image_size=8, channels=1, classes=10)
    first = reference_set.get(settings, extractor, "cpu")
    repeated = reference_set.get(settings, extractor, "cpu")
    assert calls == [250, 50]
    assert torch.equal(first.features, repeated.features)
    images["now"] = digits.images[1:301]
    other = reference_set.get(settings, extractor, "cpu")
    assert other.sha256 != first.sha256
    assert len(calls) == 4
    damages: tuple[Callable[[bytes], bytes], ...] = (
        lambda content: content[:1000],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    )
    for damaged in damages:
        for file in (tmp_path / "branchwise").glob("*/*.np[yz]"):
            content = damaged(file.read_bytes())  # torn or modified, it is recomputed
            file.unlink()  # the old file is mapped into memory
            file.write_bytes(content)
        calls.clear()
        assert torch.equal(reference_set.get(settings, extractor, "cpu").features, other.features)
        assert calls == [250, 50]


def test_inception_score_of_certain_and_of_blind_classifiers() -> None:
    certain = 100 * nn.functional.one_hot(torch.arange(1000) % 10).float()
    assert metrics.inception_score(certain) == pytest.approx(10, rel=0.05)
    assert metrics.inception_score(torch.zeros(1000, 10)) == pytest.approx(1)


def test_precision_and_recall_of_half_classes() -> None:
    torch.manual_seed(0)
    reference = torch.cat([torch.randn(200, 4), torch.randn(200, 4) + 50])
    result = neighbors.compare(torch.randn(200, 4), reference, neighbors.radii(reference, "cpu"))
    assert result["precision"] > 0.8
    assert result["recall"] == pytest.approx(0.45, abs=0.1)
