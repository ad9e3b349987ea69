"""The address of data is their content: the address changes if and only if the content does."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from branchwise.trainables import dash
from branchwise.trainables.dash.data import datasets, decoded
from branchwise.trainables.dash.settings import content
from branchwise.trainables.dash.settings.addresses import evaluation_key, features_key, teacher_key
from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.listing import list_images


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of small images, one of them larger than the limit of complete reads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for label in ("cats", "dogs"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (9, 9), 20 * i + len(label)).save(tmp_path / "images" / label / f"{i}.png")
    noise = random.Random(0).randbytes(200 * 200)
    Image.frombytes("L", (200, 200), noise).save(tmp_path / "images/dogs/large.bmp")
    return tmp_path / "images"


def spec_of(folder: Path) -> dash.Spec:
    return dash.Spec.model_validate(
        {
            "data": {"name": "image_folder", "path": str(folder), "image_size": 8, "channels": 1, "classes": 2},
            "teacher": {"channels": [8, 8], "norm_groups": 4, "steps": 3},
            "student": {"channels": [8, 8], "norm_groups": 4},
            "train": {"steps": 3},
            "evaluate": {"samples": 640, "features": "classifier"},
        }
    )


def keys_of(folder: Path) -> tuple[str | None, ...]:
    """All that is addressed by the data."""
    spec = spec_of(folder)
    return teacher_key(spec), evaluation_key(spec), features_key(spec), dash.data_sha256(spec)


def settle(folder: Path) -> None:
    """Give all files old times, as in a folder created yesterday."""
    for file in folder.rglob("*"):
        os.utime(file, ns=(10**18, 10**18))


def change_byte(folder: Path, draw: random.Random) -> None:
    """In place, with the size and the time of modification unchanged."""
    file = draw.choice([file for file in folder.rglob("*") if file.is_file()])
    status, raw = file.stat(), bytearray(file.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    with file.open("r+b") as stream:
        stream.write(raw)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_label(folder: Path, draw: random.Random) -> None:
    shutil.move(folder / "cats" / f"{draw.randrange(6)}.png", folder / "dogs" / "moved.png")


def rename_class(folder: Path, draw: random.Random) -> None:
    (folder / "cats").rename(folder / draw.choice(["bats", "zebras"]))


def swap_classes(folder: Path, draw: random.Random) -> None:
    (folder / "cats").rename(folder / "third")
    (folder / "dogs").rename(folder / "cats")
    (folder / "third").rename(folder / "dogs")


def change_order(folder: Path, draw: random.Random) -> None:
    (folder / "cats" / f"{draw.randrange(5)}.png").rename(folder / "cats" / "9.png")


def change_count(folder: Path, draw: random.Random) -> None:
    if draw.random() < 0.5:
        (folder / "dogs" / f"{draw.randrange(6)}.png").unlink()
    else:
        shutil.copy2(folder / "dogs/1.png", folder / "dogs/1b.png")


@pytest.mark.parametrize("change", [change_byte, change_label, rename_class, swap_classes, change_order, change_count])
def test_any_change_of_content_is_another_address(folder: Path, change: Callable[[Path, random.Random], None]) -> None:
    for seed in range(8):
        copy = folder.parent / f"copy-{seed}"
        shutil.copytree(folder, copy)
        before = keys_of(copy)
        change(copy, random.Random(seed))
        after = keys_of(copy)
        assert not set(before) & set(after), f"{change} by seed {seed}"


def test_times_and_places_are_no_content(folder: Path) -> None:
    before = keys_of(folder)
    settle(folder)
    assert keys_of(folder) == before
    for file in folder.rglob("*"):
        file.touch()
    assert keys_of(folder) == before
    shutil.copytree(folder, folder.parent / "elsewhere")
    assert keys_of(folder.parent / "elsewhere") == before
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "cats" / "notes.txt").write_text("x")
    assert keys_of(folder) == before


def test_equal_names_sizes_and_times_share_no_pixels(folder: Path) -> None:
    other = folder.parent / "other"
    for i, file in enumerate(sorted((folder / "dogs").glob("?.png"))):
        Image.new("L", (9, 9), i).save(file.with_suffix(".bmp"))
        file.unlink()
    shutil.copytree(folder, other)
    for i, file in enumerate(sorted((other / "dogs").glob("?.bmp"))):
        Image.new("L", (9, 9), 255 - i).save(file)
    for item in (folder, other):
        settle(item)
    assert len({(other / "dogs/0.bmp").stat().st_size, (folder / "dogs/0.bmp").stat().st_size}) == 1
    loaded = [datasets.load_reference_images(spec_of(entry).data, "cpu") for entry in (folder, other)]
    assert loaded[0].sha256 != loaded[1].sha256
    assert loaded[1].images[6, 0, 0, 0] == 255


def test_large_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SETTLED_NS", 0)
    first = content.file_digests(list_images(str(folder)))
    read: list[object] = []
    real = hashlib.file_digest

    def counted(file: Any, digest: Any) -> Any:
        read.append(file)
        return real(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    assert content.file_digests(list_images(str(folder))) == first
    assert not read
    (folder / "dogs/large.bmp").touch()
    assert content.file_digests(list_images(str(folder))) == first
    assert len(read) == 1


def test_damaged_cache_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = spec_of(folder).data
    first = datasets.load_reference_images(data, "cpu").images.clone()
    (pixels,) = (folder.parent / "cache/branchwise").glob("images-*/pixels.npy")
    raw = bytearray(pixels.read_bytes())
    raw[-1] ^= 1
    pixels.write_bytes(raw)
    assert datasets.load_reference_images(data, "cpu").sha256 == decoded.pixels_sha256(first.numpy())
    for memory in (folder.parent / "cache/branchwise").glob("digests-*.json"):
        memory.write_text("[1]")
    assert dash.data_sha256(spec_of(folder))


def test_names_of_classes_must_be_those_of_space(folder: Path) -> None:
    settings = partial(ImageFolder, name="image_folder", path=str(folder), image_size=8, channels=1, classes=2)
    datasets.load(settings(class_names=("cats", "dogs")), "cpu")
    (folder / "cats").rename(folder / "zebras")
    with pytest.raises(ValueError, match=r"class 0 is 'cats', but sub-folder 0 of .* is 'dogs'"):
        datasets.load(settings(class_names=("cats", "dogs")), "cpu")
    with pytest.raises(ValueError, match="has 1 names, but classes is 2"):
        settings(class_names=("cats",))


def test_digits_and_torchvision_have_content(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    digits = spec.model_copy(update={"data": dash.Spec.model_fields["data"].default})
    assert len(str(dash.data_sha256(digits))) == 64
    from branchwise.trainables.dash.settings.data import TorchvisionData

    mnist = TorchvisionData(name="mnist", path=str(tmp_path))
    assert content.data_sha256(mnist) is None
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"one")
    first = content.data_sha256(mnist)
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"two")
    assert None is not first != content.data_sha256(mnist)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        dash.data_sha256(spec_of(tmp_path / "nowhere"))


def test_run_resumes_only_on_same_data(folder: Path, tmp_path: Path) -> None:
    from branchwise.orchestration.errors import UserError
    from branchwise.orchestration.planning.plan import plan_new, plan_resumed
    from branchwise.orchestration.run_folder.manifest import write_manifest
    from branchwise.orchestration.run_folder.plan_file import write_plan
    from branchwise.orchestration.space import parse_space
    from branchwise.trainables.runtime.storage import Storage

    data = f"{{name: image_folder, path: {folder}, image_size: 8, channels: 1, classes: 2}}"
    text = f"""
name: images
data: {data}
teacher: {{channels: [8, 8], norm_groups: 4, steps: 3}}
student: {{channels: [8, 8], norm_groups: 4}}
train: {{steps: 3}}
evaluate: {{samples: 640, features: classifier}}
design: {{components: {{anchor: {{off: {{anchor_weight: 0}}}}}}}}
"""
    space, storage = parse_space("images.yaml", text.encode()), Storage(str(tmp_path / "runs"))
    plan = plan_new(space, storage, "r")
    write_plan(plan.run, space, plan.cohorts)
    write_manifest(plan.run, space, status="running")
    sealed = dash.data_sha256(space.spec)
    assert plan.run.read_plan()["data_sha256"] == plan.run.read_manifest()["data_sha256"] == sealed
    settle(folder)
    assert [teacher.key for teacher in plan_resumed(storage, "r").teachers] == [item.key for item in plan.teachers]
    change_byte(folder, random.Random(1))
    with pytest.raises(UserError, match="the data are not those that this run started with"):
        plan_resumed(storage, "r")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="is not a folder"):
        plan_resumed(storage, "r")
