"""The data sets: what they hold, their splits, and the messages when they are missing.

CIFAR and MNIST are not on this machine: random images of their shapes replace them.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables.dash.data import batches, datasets
from branchwise.trainables.dash.diffusion import schedule
from branchwise.trainables.dash.settings.data import Data, Digits, ImageFolder


def settings_of(**tree: Any) -> Data:
    return TypeAdapter(Data).validate_python(tree)


def test_digits_are_complete_and_exact() -> None:
    digits = datasets.load_reference_images(Digits(), "cpu")
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.equal(datasets.to_pixels(datasets.to_float(digits.images)), digits.images)
    assert (int(digits.images.min()), int(digits.images.max())) == (0, 255)


def together(*parts: datasets.Dataset) -> list[bytes]:
    """The images of multiple sets, each as bytes, in another order."""
    return sorted(image.numpy().tobytes() for part in parts for image in part.images)


def test_digits_hold_thirty_images_of_each_class_out_of_training() -> None:
    trained, holdout = datasets.load(Digits(), "cpu"), datasets.load_holdout(Digits(), "cpu")
    assert holdout.labels.bincount().tolist() == [30] * 10
    assert len(trained.images) == 1497
    assert together(trained, holdout) == together(datasets.load_reference_images(Digits(), "cpu"))
    assert holdout.sha256 == datasets.load_holdout(Digits(), "cpu").sha256 != trained.sha256


def test_batches_never_contain_holdout_images(calls: RecordedCalls, tmp_path: Path) -> None:
    """Two epochs of the batches that teachers and students see, without noise, against the held-out images."""
    trained, holdout = datasets.load(Digits(), "cpu"), datasets.load_holdout(Digits(), "cpu")
    clean = torch.ones_like(schedule.cosine_alphas_cumprod())
    context = calls.context(tmp_path)
    images_drawn = set()
    for step in range(2 * 1497 // 64 + 1):
        batch = batches.draw(trained, clean, 64, 0, step, context)
        images_drawn |= {image.numpy().tobytes() for image in batch.noisy}
    assert len(images_drawn) == len(set(together(trained)))
    assert not images_drawn & {image.numpy().tobytes() for image in datasets.to_float(holdout.images)}


def test_epochs_are_permutations_laid_end_to_end() -> None:
    drawn = torch.cat([datasets.batch_indices(0, step, 32, 100) for step in range(25)])  # 8 epochs
    assert drawn.bincount(minlength=100).unique().tolist() == [8]
    assert not torch.equal(drawn[:100], drawn[100:200])
    assert not torch.equal(drawn[:100], torch.cat([datasets.batch_indices(1, s, 32, 100) for s in range(4)])[:100])


def test_batch_may_be_larger_than_set() -> None:
    assert datasets.batch_indices(0, 0, 250, 100).bincount(minlength=100).min() == 2


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """50,000 random images where torchvision would have CIFAR-10, and 10,000 where it would have its test set."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 32, 32, 3), dtype=np.uint8)

    def stand_in(root: Path, train: bool, download: bool) -> SimpleNamespace:
        rows = slice(0, 50_000) if train else slice(50_000, 60_000)
        return SimpleNamespace(data=images[rows], targets=[i % 10 for i in range(rows.start, rows.stop)])

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", stand_in)
    return images


def test_both_splits_of_cifar(cifar: np.ndarray) -> None:
    complete = datasets.load(settings_of(name="cifar10"), "cpu")
    part = datasets.load(settings_of(name="cifar10", split="train_45k"), "cpu")
    assert complete.images.shape == (50_000, 3, 32, 32)
    assert part.images.shape == (45_000, 3, 32, 32)
    assert np.array_equal(complete.images[7].permute(1, 2, 0).numpy(), cifar[7])
    assert torch.equal(part.images, datasets.load(settings_of(name="cifar10", split="train_45k"), "cpu").images)
    assert len(datasets.load_reference_images(settings_of(name="cifar10", split="train_45k"), "cpu").images) == 50_000


@pytest.mark.parametrize("split", ["train", "train_45k"])
def test_cifar_holdout_is_its_test_set(cifar: np.ndarray, split: str) -> None:
    holdout = datasets.load_holdout(settings_of(name="cifar10", split=split), "cpu")
    assert holdout.images.shape == (10_000, 3, 32, 32)
    assert np.array_equal(holdout.images[7].permute(1, 2, 0).numpy(), cifar[50_007])


def test_mnist_is_padded_to_32_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(data=torch.full((60, 28, 28), 9, dtype=torch.uint8), targets=torch.zeros(60).long())
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, train, download: stand_in)
    result = datasets.load(settings_of(name="mnist"), "cpu").images
    assert result.shape == (60, 1, 32, 32)
    assert int(result[0].sum()) == 9 * 28 * 28
    assert int(result[0, 0, 2:30, 2:30].min()) == 9


def test_at_16_pixels_each_is_mean_of_four(cifar: np.ndarray) -> None:
    result = datasets.load_holdout(settings_of(name="cifar10", image_size=16), "cpu").images
    assert result.shape == (10_000, 3, 16, 16)
    four = cifar[50_007].reshape(16, 2, 16, 2, 3).astype(float).mean((1, 3))
    assert np.array_equal(result[7].permute(1, 2, 0).numpy(), np.floor(four + 0.5))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_missing_data_message_names_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{name} is not in .* set data\.download: true"):
        datasets.load(settings_of(name=name, path=str(tmp_path)), "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of colored images of multiple sizes and kinds."""
    for label, color in (("apples", (200, 0, 0)), ("pears", (0, 180, 0))):
        (tmp_path / label).mkdir()
        for i, size in enumerate([(40, 30), (16, 16), (20, 90)]):
            Image.new("RGB", size, color).save(tmp_path / label / f"{i}.png")
    Image.new("L", (10, 10), 77).save(tmp_path / "pears" / "grey.png")
    return tmp_path


def test_image_folder_reads_subfolders_as_classes(folder: Path) -> None:
    settings = ImageFolder(name="image_folder", path=str(folder), image_size=16, classes=2)
    result = datasets.load_reference_images(settings, "cpu")
    assert result.images.shape == (7, 3, 16, 16)
    assert result.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert result.images[0, :, 8, 8].tolist() == [200, 0, 0]
    assert result.images[6, :, 3, 3].tolist() == [77, 77, 77]
    grey = ImageFolder(name="image_folder", path=str(folder), image_size=8, channels=1, classes=2)
    assert datasets.load_reference_images(grey, "cpu").images.shape == (7, 1, 8, 8)


def test_image_folder_holdout_covers_all_classes(tmp_path: Path) -> None:
    for label, count in enumerate((40, 15, 2)):
        (tmp_path / str(label)).mkdir()
        for i in range(count):
            Image.new("L", (8, 8), 80 * label + i).save(tmp_path / str(label) / f"{i}.png")
    settings = ImageFolder(name="image_folder", path=str(tmp_path), image_size=8, channels=1, classes=3)
    trained, holdout = datasets.load(settings, "cpu"), datasets.load_holdout(settings, "cpu")
    assert holdout.labels.bincount().tolist() == [4, 2, 1]
    assert trained.labels.bincount().tolist() == [36, 13, 1]
    assert together(trained, holdout) == together(datasets.load_reference_images(settings, "cpu"))


def test_large_image_folders_hold_out_ten_thousand() -> None:
    imagenet = ImageFolder(name="image_folder", path="x", image_size=64, classes=1000)
    assert [imagenet.holdout(images, 1_281_167) for images in (1300, 732)] == [10, 6]


def test_classes_of_single_images_have_no_holdout(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / label / "0.png")
    settings = ImageFolder(name="image_folder", path=str(tmp_path), image_size=8, channels=1, classes=2)
    with pytest.raises(ValueError, match="no class has two images, so none can be held out"):
        datasets.load_holdout(settings, "cpu")


def test_image_folder_must_be_as_stated(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"classes: 3, but .* has 2 sub-folders"):
        datasets.load(ImageFolder(name="image_folder", path=str(folder), image_size=16, classes=3), "cpu")
    (folder / "plums").mkdir()
    with pytest.raises(ValueError, match="plums holds no images"):
        datasets.load(ImageFolder(name="image_folder", path=str(folder), image_size=16, classes=3), "cpu")
    with pytest.raises(FileNotFoundError, match="not a folder"):
        datasets.load(ImageFolder(name="image_folder", path=str(folder / "x"), image_size=16, classes=3), "cpu")


def test_flips_mirror_half_of_images(calls: RecordedCalls, tmp_path: Path) -> None:
    padding = torch.zeros(512, 1, 4, 4, dtype=torch.uint8)
    padding[..., 0] = 255
    flipping = datasets.Dataset(padding, torch.zeros(512, dtype=torch.int64), classes=1, flip=True)
    abar = torch.ones_like(schedule.cosine_alphas_cumprod())  # no noise
    drawn = batches.draw(flipping, abar, 512, 0, 0, calls.context(tmp_path)).noisy
    mirrored = (drawn[:, 0, 0, 0] < 0).float().mean()
    assert 0.4 < float(mirrored) < 0.6
    assert torch.equal(drawn, batches.draw(flipping, abar, 512, 0, 0, calls.context(tmp_path)).noisy)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"name": "mnist", "split": "train_45k"}, "split train_45k is of the 50,000 CIFAR images"),
        ({"name": "svhn"}, "Input tag 'svhn'"),
        ({"name": "mnist", "image_size": 28}, "Input should be 16 or 32"),
        ({"name": "digits", "flip": True}, "Extra inputs"),
        ({"name": "image_folder", "path": "x", "image_size": 64}, "classes"),
    ],
)
def test_refused(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings_of(**tree)


def test_inception_distances_need_many_samples(tiny: dict[str, Any]) -> None:
    tiny["data"] = {"name": "cifar10"}
    tiny["teacher"]["attention_at"] = [16]
    with pytest.raises(ValidationError, match="at least 10000"):
        dash.Spec.model_validate(tiny)
