"""Images as people see them, and damaged, hidden and odd files of a folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from branchwise.cli import main as branchwise
from branchwise.orchestration.space import load_space, parse_space
from branchwise.trainables import dash
from branchwise.trainables.dash.data import datasets, image_decoder, image_folder
from branchwise.trainables.dash.settings.data import ImageFolder
from branchwise.trainables.dash.settings.listing import list_images


def settings_of(channels: int = 3, side: int = 8, **more: object) -> ImageFolder:
    given = {"name": "image_folder", "path": "x", "image_size": side, "channels": channels, "classes": 2, **more}
    return ImageFolder.model_validate(given)


def decoded(image: Image.Image, kind: str, settings: ImageFolder, **options: object) -> np.ndarray:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return image_decoder.decode(content.getvalue(), settings)


def make_classes(folder: Path, count: int = 5) -> Path:
    for label in ("discs", "squares"):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (16, 16), (10 * i, 80, len(label))).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def isolated_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(kind: str, orientation: int) -> None:
    corners = np.zeros((16, 16, 3), np.uint8)
    corners[:8, :8], corners[:8, 8:], corners[8:, :8] = 250, 160, 80
    exif = Image.Exif()
    exif[0x0112] = orientation
    # The first row and column of the stored pixels are these sides of the scene (EXIF 2.32, table 6).
    stored = {
        1: corners, 2: corners[:, ::-1], 3: corners[::-1, ::-1], 4: corners[::-1],
        5: corners.transpose(1, 0, 2), 6: np.rot90(corners), 7: np.rot90(corners, 2).transpose(1, 0, 2),
        8: np.rot90(corners, -1),
    }[orientation]  # fmt: skip
    qualities: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
    options = qualities.get(kind, {})
    result = decoded(Image.fromarray(np.ascontiguousarray(stored)), kind, settings_of(side=16), exif=exif, **options)
    assert np.abs(result.transpose(1, 2, 0).astype(int) - corners).mean() < 3


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0)])
def test_transparent_pixels_show_background(background: str, expected: int) -> None:
    hidden = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    hidden[..., 3] = 0
    for channels in (1, 3):
        for mode in ("RGBA", "LA"):
            image = Image.fromarray(hidden, "RGBA").convert(mode)
            result = decoded(image, "PNG", settings_of(channels, background=background))
            assert set(result.flatten().tolist()) == {expected}
        palette = Image.new("P", (8, 8), 3)
        palette.putpalette(range(30))
        result = decoded(palette, "PNG", settings_of(channels, background=background), transparency=3)
        assert set(result.flatten().tolist()) == {expected}
    half = Image.new("RGBA", (8, 8), (200, 100, 0, 128))
    red, green, blue = decoded(half, "PNG", settings_of(background=background))[:, 0, 0]
    for value, color in ((red, 200), (green, 100), (blue, 0)):
        assert abs(int(value) - (color * 128 + expected * 127) / 255) <= 1


def test_deep_images_are_scaled_to_eight_bits() -> None:
    values = np.tile(np.linspace(0, 65535, 8), (8, 1))
    for kind in ("PNG", "TIFF"):
        result = decoded(Image.fromarray(values.astype(np.uint16)), kind, settings_of(1))
        assert np.abs(result[0] - values / 257).max() <= 1
    twelve = decoded(Image.fromarray((values / 16).astype(np.uint16)), "PNG", settings_of(1, white_level=4095))
    assert np.abs(twelve[0] - values / 257).max() <= 1
    floats = decoded(Image.fromarray((values / 65535).astype(np.float32)), "TIFF", settings_of(3))
    assert np.abs(floats - values / 257).max() <= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 8), np.nan, np.float32), "not finite"),
        (np.full((8, 8), np.inf, np.float32), "not finite"),
        (np.full((8, 8), 200, np.float32), "an image of floats holds 0 to 1"),
        (np.full((8, 8), -1, np.int32), "data.white_level is 65535"),
        (np.full((8, 8), 70_000, np.int32), "data.white_level is 65535"),
    ],
)
def test_values_without_meaning_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoded(Image.fromarray(values), "TIFF", settings_of(1))


def damage(folder: Path) -> list[str]:
    """Damages files of many kinds in `folder`; returns their names."""
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "ppm": "PPM"}
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for suffix, kind in kinds.items():
        noise.save(folder / f"cut.{suffix}", kind)
        complete = (folder / f"cut.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(complete[: len(complete) * 2 // 3])
        (folder / f"empty.{suffix}").write_bytes(b"")
    raw = bytearray((folder / "../squares/0.png").read_bytes())
    raw[50] ^= 1
    (folder / "flipped.png").write_bytes(raw)
    Image.new("1", (14_000, 14_000)).save(folder / "scan.png")
    Image.new("1", (10_000, 9_000)).save(folder / "large.png")
    text = PngInfo()
    text.add_text("workflow", "x" * 2_000_000, zip=True)
    noise.save(folder / "text.png", pnginfo=text)
    names = [f"{what}.{suffix}" for what in ("cut", "empty") for suffix in kinds]
    return [*names, "flipped.png", "scan.png", "large.png", "text.png"]


def test_all_damaged_files_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, space = make_classes(tmp_path / "images"), tmp_path / "space.yaml"
    assert branchwise(["propose", "--images", str(images), "--out", str(space)]) == 0
    names = damage(images / "discs")
    with pytest.raises(ValueError, match="cannot be read as images") as raised:
        dash.check_inputs(load_space(space).spec)
    (tmp_path / "again.yaml").unlink(missing_ok=True)
    assert branchwise(["propose", "--images", str(images), "--out", str(tmp_path / "again.yaml")]) == 2
    error = capsys.readouterr().err
    for name in names:
        assert f"/discs/{name} (" in str(raised.value)
        assert f"/discs/{name} (" in error
    assert "squares" not in error
    assert not (tmp_path / "again.yaml").exists()


def test_dry_run_decodes_without_torch(tmp_path: Path) -> None:
    images, space = make_classes(tmp_path / "images"), tmp_path / "space.yaml"
    assert branchwise(["propose", "--images", str(images), "--out", str(space)]) == 0
    (images / "discs/3.png").write_bytes(b"no image")
    command = (
        "import sys; from branchwise.commands import run_sweep; "
        f"code = run_sweep.main(['--space', {str(space)!r}, '--storage', {str(tmp_path / 'runs')!r}, '--dry-run']); "
        "print(code, sorted({'torch', 'ray', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "2 []"
    assert "3.png cannot be read as an image" in " ".join(result.stdout.split())


def test_what_is_not_image_of_data_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = make_classes(tmp_path / "images")
    for name in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (images / name).mkdir()
        Image.new("L", (9, 9)).save(images / name / "a.png")
    (images / "discs/.hidden").mkdir()
    Image.new("L", (9, 9)).save(images / "discs/.hidden/a.png")
    for name in ("._0.png", "Thumbs.db", "a.gif", "b.heic", "c.HEIC", "readme"):
        (images / "discs" / name).write_bytes(b"x")
    Image.new("L", (9, 9)).save(images / "beside.png")
    assert branchwise(["propose", "--images", str(images), "--out", str(tmp_path / "space.yaml")]) == 0
    output = capsys.readouterr().out
    for line in (
        "2 classes, 10 images",
        "Classes: discs (5), squares (5)",
        "6 hidden files or folders skipped",
        "4 files of other formats skipped (1 .gif, 2 .heic, 1 without a suffix)",
        "1 images beside the class folders skipped",
    ):
        assert line in output
    result = load_space(tmp_path / "space.yaml").spec.data
    assert result.class_names == ("discs", "squares")
    assert len(datasets.load_reference_images(result, "cpu")) == 10


def test_links_are_followed_once(tmp_path: Path) -> None:
    store = make_classes(tmp_path / "store")
    (tmp_path / "images/all").mkdir(parents=True)
    (tmp_path / "images/discs").symlink_to(store / "discs")
    (tmp_path / "images/all/squares").symlink_to(store / "squares")
    (tmp_path / "images/all/up").symlink_to("..")
    listing = list_images(str(tmp_path / "images"))
    assert listing.classes == ("all", "discs")
    assert [len(files) for files in listing.files] == [5, 5]
    assert (listing.links, listing.loops, listing.problems) == (2, 1, ())
    (tmp_path / "images/all/same").symlink_to(store / "discs")
    (tmp_path / "images/all/gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "images/all/pipe.png")
    problems = " ".join(list_images(str(tmp_path / "images")).problems)
    assert "are the same folder" in problems
    assert "links that lead nowhere: " in problems
    assert "gone.png" in problems
    assert "no regular files: " in problems


@pytest.mark.parametrize("name", ["it's: #1, {a} & *b", 'quo"te \\ back', "naïve 猫 🐈", "yes", "12e3", "- x"])
def test_any_name_makes_valid_space(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = make_classes(tmp_path / name / "images")
    (images / "discs").rename(images / name)
    assert branchwise(["propose", "--images", str(images), "--out", str(tmp_path / "space.yaml")]) == 0
    space = load_space(tmp_path / "space.yaml")
    data = space.spec.data
    assert data.class_names == tuple(sorted((name, "squares")))
    assert parse_space("resolved", space.resolved().encode()).spec.data == data
    assert len(datasets.load_reference_images(data, "cpu")) == 10


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (b"line\nbreak", b"\x1b[31m", b"latin-\xe9"):
        images = make_classes(tmp_path / f"images-{len(name)}")
        os.rename(images / "discs", os.path.join(os.fsencode(images), name))
        assert branchwise(["propose", "--images", str(images), "--out", str(tmp_path / "space.yaml")]) == 2
        error = capsys.readouterr().err
        assert "characters that cannot be printed" in error
        assert "\x1b" not in error


def test_colour_image_makes_colour_space(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(300):
            color = (40, 40, 41) if (label, i) == ("b", 217) else (i % 250,) * 3
            Image.new("RGB", (8, 8), color).save(tmp_path / "images" / label / f"{i:03}.png")
    assert branchwise(["propose", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "space.yaml")]) == 0
    assert "8x8 in color" in capsys.readouterr().out


def test_fill_names_file_that_was_changed_meanwhile(tmp_path: Path) -> None:
    images = make_classes(tmp_path / "images")
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="was changed while it was read"):
        image_folder.fill(pixels, [images / "discs/0.png"], settings_of(), ["0" * 64])
