"""Feature spaces and what is measured in them. Weights that are not on this machine are random ones of their shapes."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity.feature_extractor_clip as clip
import torchvision
from pydantic import ValidationError
from recorded_calls import RecordedCalls
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

import branchwise.trainables.dash as dash
from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.data import batches, datasets, decoded, image_folder
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.evaluation import features, metrics, neighbors
from branchwise.trainables.dash.evaluation import reference_set as reference_sets
from branchwise.trainables.dash.evaluation.feature_nets import classifier, dinov2, pretrained
from branchwise.trainables.dash.settings import fetching
from branchwise.trainables.dash.settings.data import Digits, ImageFolder
from branchwise.trainables.dash.settings.features import PRETRAINED, source_of


def changed(tiny: dict[str, Any], **evaluate: Any) -> dash.Spec:
    return dash.Spec.model_validate({**tiny, "evaluate": {**tiny["evaluate"], **evaluate}})


# Names, keys and least samples


@pytest.mark.parametrize(
    ("features_of", "samples", "minimum"),
    [("digits64", 640, 640), ("classifier", 640, 640), ("dinov2", 10240, 10240), ("clip", 5120, 5120),
     ("vgg16", 40960, 40960), ("inception", 10000, 10000), ("dinov2-vit-s-14", 3840, 3840)],
)  # fmt: skip
def test_spaces_request_enough_samples(tiny: dict[str, Any], features_of: str, samples: int, minimum: int) -> None:
    changed(tiny, features=features_of, samples=samples)
    with pytest.raises(ValidationError, match=f"{samples - 1} is too few .* at least {minimum}"):
        changed(tiny, features=features_of, samples=samples - 1)


def test_addresses_depend_only_on_features(tiny: dict[str, Any]) -> None:
    plain = dash.evaluation_key(changed(tiny))
    assert dash.evaluation_key(changed(tiny, features="digits64")) == plain
    assert dash.evaluation_key(changed(tiny, classifier={"steps": 5})) == plain
    first = changed(tiny, features="classifier")
    assert dash.evaluation_key(first) != plain
    assert dash.features_key(changed(tiny)) is None
    longer = changed(tiny, features="classifier", classifier={"steps": 5})
    assert dash.features_key(longer) != dash.features_key(first)
    assert dash.evaluation_key(longer) != dash.evaluation_key(first)
    requested = changed(tiny, features="classifier", classifier={"least_accuracy": 0.1})
    assert dash.features_key(requested) == dash.features_key(first)
    assert changed(tiny, features="dinov2", samples=10240).features == "dinov2-vit-l-14"


def test_addresses_without_choice_of_features_stay() -> None:
    net = {"channels": [8, 8], "norm_groups": 4}
    tree = {"teacher": {**net, "steps": 4}, "student": net, "train": {"steps": 4}, "evaluate": {"samples": 1000}}
    spec = dash.Spec.model_validate(tree)
    assert dash.evaluation_key(spec) == "e03b682502a875b2"
    assert dash.teacher_key(spec) == "96664d7338b68f0e"


# Pretrained nets


@pytest.fixture
def random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Path]:
    """Replace the weights of a net by a file, and accept its checksum."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name: str, state: Any) -> Path:
        file = tmp_path / "hub/checkpoints" / PRETRAINED[name].file
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, file)
        monkeypatch.setitem(PRETRAINED, name, replace(PRETRAINED[name], sha256=sha256_of(file)))
        return file

    return put


@pytest.mark.slow
def test_vgg16_of_random_weights(random_weights: Callable[[str, Any], Path]) -> None:
    random_weights("vgg16", torchvision.models.vgg16().state_dict())
    net, logits, _ = pretrained.load("vgg16", "cpu")
    with torch.inference_mode():
        result = net(torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8))
    assert (result.shape, logits) == ((2, 4096), 0)
    assert float(result.min()) >= 0


@pytest.mark.slow
def test_clip_of_random_weights(random_weights: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    state = clip.CLIPVisual(512, 224, 1, 768, 32).state_dict() | {"text_projection": torch.zeros(512, 512)}
    random_weights("clip-vit-b-32", state)
    # The published file is a TorchScript archive, of which only its state is used.
    archive = SimpleNamespace(state_dict=lambda: dict(state))
    monkeypatch.setattr(torch.jit, "load", lambda file, map_location: archive)
    net, logits, _ = pretrained.load("clip-vit-b-32", "cpu")
    with torch.inference_mode():
        result = net(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert (result.shape, logits) == ((2, 512), 0)


def by_name(net: torch.nn.Module) -> torch.nn.Module:
    """The net with weights that its parameters' names determine."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(0.1 * drawn).float())
    return net.eval()


@pytest.mark.parametrize(
    ("gated", "first", "total"),
    [
        (False, [-0.1829221, -0.0360124, -0.2250989, -0.1616711], 13.2249534),
        (True, [-0.1840241, -0.0458544, -0.2238667, -0.1604434], 13.0764932),
    ],
)
def test_dinov2_matches_published(gated: bool, first: list[float], total: float) -> None:
    """Golden values of the authors' code (facebookresearch/dinov2) with the same weights, 2 blocks of 128."""
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 224, 224))).float()
    with torch.inference_mode():
        result = by_name(dinov2.DinoV2(2, 128, gated))(images)[0]
    assert result[:4].tolist() == pytest.approx(first, rel=1e-4, abs=1e-5)
    assert float(result.double().abs().sum()) == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_dinov2_accepts_only_local_weights(
    random_weights: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "load", None)  # access to the network fails
    file = random_weights("dinov2-vit-s-14", dinov2.DinoV2(*dinov2.SIZES["dinov2-vit-s-14"]).state_dict())
    net, logits, digest = pretrained.load("dinov2-vit-s-14", "cpu")
    with torch.inference_mode():
        result = net(torch.randint(0, 256, (1, 1, 28, 28), dtype=torch.uint8))
    assert (result.shape, logits, digest) == ((1, 384), 0, sha256_of(file))
    extractor = features.Extractor("dinov2-vit-s-14", net, 384, 0, digest, kid_subsets=1, kid_subset_size=1)
    assert extractor.metric(50_000) == "fd_dinov2_vit_s_14"


# What is measured


def test_precision_and_recall_agree_with_torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "TILE", 64)
    samples, reference = torch.randn(300, 8), 1.3 * torch.randn(421, 8) + 0.2
    expected = prc_features_to_metric(samples, reference, prc_neighborhood=3, save_cpu_ram=True, verbose=False)
    result = neighbors.compare(samples, reference, neighbors.radii(reference, "cpu"))
    assert result["precision"] == pytest.approx(expected["precision"], abs=1e-6)
    assert result["recall"] == pytest.approx(expected["recall"], abs=1e-6)


def test_density_and_coverage_agree_with_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Naeem et al. 2020, equations 3 and 4, with k = 5, pair by pair."""
    monkeypatch.setattr(neighbors, "TILE", 50)
    samples, reference = torch.randn(120, 4, dtype=torch.float64), 0.7 * torch.randn(90, 4, dtype=torch.float64)
    real, fake = reference.numpy(), samples.numpy()
    radius = [np.sort(np.linalg.norm(real - item, axis=1))[5] for item in real]
    inside = [[np.linalg.norm(x - y) < r for y, r in zip(real, radius, strict=True)] for x in fake]
    result = neighbors.compare(samples, reference, neighbors.radii(reference, "cpu"))
    assert result["density"] == pytest.approx(np.sum(inside) / (5 * len(fake)))
    assert result["coverage"] == pytest.approx(np.any(inside, axis=0).mean())
    same = neighbors.compare(reference, reference, neighbors.radii(reference, "cpu"))
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)


def test_cmmd_agrees_with_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jayasumana et al. 2024, equation 3 with diagonals, sigma 10 and factor 1000, pair by pair."""
    monkeypatch.setattr(neighbors, "TILE", 16)
    first, second = (
        np.random.default_rng(1).standard_normal((40, 6)),
        np.random.default_rng(2).standard_normal((50, 6)) + 1,
    )

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return float(np.mean([[np.exp(-((x - y) ** 2).sum() / 200) for y in b] for x in a]))

    expected = 1000 * (kernel(first, first) + kernel(second, second) - 2 * kernel(first, second))
    assert neighbors.cmmd(torch.from_numpy(first), torch.from_numpy(second), "cpu") == pytest.approx(expected, rel=1e-9)


def test_kid_is_torch_fidelitys_to_bit() -> None:
    samples, reference = torch.randn(300, 8), torch.randn(400, 8) + 0.1
    expected = kid_features_to_metric(
        samples.double(), reference.double(), kid_subsets=7, kid_subset_size=200, verbose=False
    )
    assert metrics.kernel_distance(samples, reference, 7, 200) == expected["kernel_inception_distance_mean"]


def test_moments_of_many_rows_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(1000, 5) @ torch.randn(5, 5) + 3
    at_once = metrics.statistics(rows)
    monkeypatch.setattr(metrics, "CHUNK", 64)
    streamed = metrics.statistics(rows)
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(streamed[name], at_once[name], rtol=1e-12, atol=1e-12)


def test_damaged_radii_are_recomputed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, computed = torch.randn(300, 8), []

    def count(*given: Any) -> torch.Tensor:
        computed.append(given)
        return real(*given)

    real = neighbors.radii
    monkeypatch.setattr(neighbors, "radii", count)

    def radii() -> torch.Tensor:
        labels = torch.zeros(300, dtype=torch.int64)
        folder = tmp_path / "features"
        return reference_sets.ReferenceSet(None, rows, labels, {}, "", torch.device("cpu"), folder).radii  # type: ignore[arg-type]

    first = radii()  # the folder is missing: computed all the same
    (tmp_path / "features").mkdir()
    assert torch.equal(radii(), first)
    assert len(computed) == 2
    assert torch.equal(radii(), first)
    assert len(computed) == 2
    file = tmp_path / "features" / reference_sets.RADII
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert torch.equal(radii(), first)
    assert len(computed) == 3


def test_large_reference_sets_are_subsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_REFERENCES", 100)
    chosen, repeated = neighbors.chosen(1000), neighbors.chosen(1000)
    assert isinstance(chosen, Tensor)
    assert isinstance(repeated, Tensor)
    assert len(chosen.unique()) == 100
    assert torch.equal(chosen, repeated)
    assert neighbors.chosen(100) == slice(None)


# The classifier


@pytest.mark.slow
def test_classifier_of_digits_is_trained_tested_and_refused(
    tiny: dict[str, Any], calls: RecordedCalls, tmp_path: Path
) -> None:
    spec = changed(tiny, features="classifier", classifier={"steps": 80, "least_accuracy": 0.7})
    dash.train_features(spec, tmp_path / "net", calls.context(tmp_path))
    description = dash.check_features(spec, tmp_path / "net")
    assert 0.7 <= description["accuracy"] <= 1
    assert (description["tested_on"], description["tested_on"] + description["trained_on"]) == (355, 1797)
    extractor = features.extractor_of(spec, "cpu", tmp_path / "net")
    digits = datasets.load_reference_images(Digits(), "cpu")
    result = reference_sets.extract(extractor, digits.images)
    assert result.shape == (1797, 64 + 10)
    assert float(result[:, :64].square().mean()) == pytest.approx(1, rel=1e-3)
    assert extractor.metric(640) == "fd_classifier64"
    dash.train_features(spec, tmp_path / "again", calls.context(tmp_path))
    repeated, first = (tmp_path / name / "features.safetensors" for name in ("again", "net"))
    assert repeated.read_bytes() == first.read_bytes()
    asking = changed(tiny, features="classifier", classifier={"steps": 80, "least_accuracy": 1.0})
    with pytest.raises(ValueError, match=r"right on 0\.\d+ of 355 images .* below 1\.0"):
        features.extractor_of(asking, "cpu", tmp_path / "net")


def test_class_with_too_few_images_is_reported() -> None:
    images = torch.zeros(9, 1, 8, 8, dtype=torch.uint8)
    few = datasets.Dataset(images, torch.tensor([0] * 5 + [1] * 4), classes=2)
    with pytest.raises(ValueError, match="needs 5 images a class; class 1 has 4"):
        classifier.split(few, 0)


# Data at size


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageFolder:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (9, 9), 20 * i).save(tmp_path / "images" / label / f"{i}.png")
    path = str(tmp_path / "images")
    return ImageFolder(name="image_folder", path=path, image_size=8, channels=1, classes=2)


def test_changed_folder_is_decoded_anew(pictures: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    decodings: list[int] = []
    fill = image_folder.fill

    def counted(*given: Any) -> None:
        decodings.append(1)
        fill(*given)

    monkeypatch.setattr(image_folder, "fill", counted)
    first = datasets.load_reference_images(pictures, "cpu")
    repeated = datasets.load_reference_images(pictures, "cpu")
    assert torch.equal(first.images, repeated.images)
    assert first.sha256 == repeated.sha256 == decoded.pixels_sha256(first.images.numpy())
    assert len(decodings) == 1
    first.images.zero_()  # a copy on write: the file stays as it is
    assert torch.equal(datasets.load_reference_images(pictures, "cpu").images, repeated.images)
    (Path(pictures.path) / "a" / "0.png").unlink()
    assert len(datasets.load_reference_images(pictures, "cpu")) == 11
    assert len(decodings) == 2


def test_file_that_is_no_image_is_named(pictures: ImageFolder) -> None:
    (Path(pictures.path) / "b" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        datasets.load_reference_images(pictures, "cpu")


def test_batches_are_equal_on_all_devices(
    calls: RecordedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = datasets.load(Digits(), "cpu")
    far = replace(digits, target_device=torch.device("meta"))
    assert far.device == torch.device("meta")
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(Tensor, "to", lambda self, *given, **options: self)  # as if the copy existed
    images, labels = far.pick(torch.tensor([3, 5]))
    assert torch.equal(images, digits.images[[3, 5]])
    assert torch.equal(labels, digits.labels[[3, 5]])
    monkeypatch.undo()
    abar = schedule.cosine_alphas_cumprod()
    first = batches.draw(digits, abar, 16, 0, 3, calls.context(tmp_path))
    assert first.noisy.shape == (16, 1, 8, 8)


# Fetching


class Weights(BaseHTTPRequestHandler):
    content = b"weights" * 1000

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content if "cut" not in self.path else self.content[:100])

    def log_message(self, *given: object) -> None:
        """No-op."""


@pytest.fixture
def server() -> Any:
    http = HTTPServer(("127.0.0.1", 0), Weights)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def test_weights_are_fetched_atomically_and_verified(server: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(Weights.content).hexdigest()
    net = replace(PRETRAINED["vgg16"], url=f"{server}/file", sha256=digest[:8], size=7000)
    arrived: list[int] = []
    fetching.download(net, tmp_path / "weights.pth", arrived.append)
    assert (tmp_path / "weights.pth").read_bytes() == Weights.content
    assert sum(arrived) == 7000
    for wrong, message in (
        (replace(net, sha256="0" * 64), "has SHA-256"),
        (replace(net, size=6999), "gave 7,000 bytes, not 6,999"),
        (replace(net, url=f"{server}/cut"), "gave 100 bytes, not 7,000"),
    ):
        with pytest.raises((OSError, ValueError), match=message):
            fetching.download(wrong, tmp_path / "other.pth", arrived.append)
    with pytest.raises(OSError, match="refused"):
        fetching.download(replace(net, url="http://127.0.0.1:9/x"), tmp_path / "other.pth", arrived.append)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("def embed(p): return p\n", False),
        ("import torch\nif True:\n    embed = torch.nn.Identity()\n", False),
        ("from torch import abs as embed\n", False),
        ("from torch import *\n", False),
        ("def __getattr__(name): return abs\n", False),
        ("globals()['embed'] = abs\n", False),
        ("def embed(:\n", False),  # the start of the run reports its error
        ("def embeds(p): return p\n", True),
        ("", True),
    ],
)
def test_mistyped_function_is_refused_unimported(
    text: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "typed_features.py"
    file.write_text(f"{text}raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    if is_refused:
        with pytest.raises(ValueError, match=r"typed_features:embed: .*typed_features\.py defines no embed"):
            source_of("typed_features:embed")
    else:
        assert source_of("typed_features:embed") == file
