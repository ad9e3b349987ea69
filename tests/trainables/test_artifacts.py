"""What an arm's folder keeps: regular files and links inside it; everything else is named and omitted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from branchwise.trainables.runtime.artifacts import keep_artifacts
from branchwise.trainables.runtime.storage import storage_at


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    folder = tmp_path / "arm"
    (folder / "models/best").mkdir(parents=True)
    (folder / "models/best/weights.bin").write_bytes(b"w" * 1000)
    (folder / "result.json").write_text("{}")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_links_inside_stay_links(arm: Path, tmp_path: Path) -> None:
    (arm / "last").symlink_to("models/best")
    (arm / "models/last.bin").symlink_to(arm / "models/best/weights.bin")  # absolute
    assert keep_artifacts(arm, tmp_path / "kept") == []
    storage = storage_at(tmp_path / "storage")
    storage.put_folder(tmp_path / "kept", "students/arm")
    stored = tmp_path / "storage/students/arm"
    assert os.readlink(stored / "last") == "models/best"
    assert (stored / "models/last.bin").is_symlink()
    assert (stored / "models/last.bin").read_bytes() == b"w" * 1000
    storage.get_folder("students/arm", tmp_path)


def test_links_outside_are_dropped(arm: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("private")
    (arm / "root").symlink_to("/")
    (arm / "secret").symlink_to(secret)
    (arm / "up").symlink_to("..")
    (arm / "self").symlink_to("self")
    (arm / "gone").symlink_to("nowhere")
    (arm / "through").symlink_to("secret")
    os.mkfifo(arm / "pipe")
    (arm / "pipe2").symlink_to("pipe")
    os.mkfifo(arm / "models/pipe")
    Path(os.fsdecode(os.fsencode(arm) + b"/caf\xe9")).write_text("x")
    (arm / "two\nlines").write_text("x")
    notes = keep_artifacts(arm, tmp_path / "kept")
    assert names(tmp_path / "kept") == {"models/best/weights.bin", "result.json"}
    message = "\n".join(notes)
    for name in (
        "root",
        "secret",
        "up",
        "self",
        "gone",
        "through",
        "pipe",
        "pipe2",
        "models/pipe",
        "caf\\udce9",
        "two\\nlines",
    ):
        assert name in message
    assert "a link to outside the arm's folder: root, secret, through, up" in message
    storage_at(tmp_path / "storage").put_folder(tmp_path / "kept", "students/arm")


def test_largest_files_are_dropped_beyond_limit(arm: Path, tmp_path: Path) -> None:
    (arm / "link").symlink_to("models/best/weights.bin")
    with (arm / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    notes = keep_artifacts(arm, tmp_path / "kept", max_bytes=500)
    assert names(tmp_path / "kept") == {"result.json"}
    assert notes == ["not kept, more than 500 bytes or 100,000 files: models/best/weights.bin, sparse"]


def test_read_only_folder_costs_no_result(arm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of tools are read-only, and files may go while they are moved; root may do anything, so it is refused."""
    (arm / "models/best").chmod(0o555)
    rename = os.rename

    def refused(source: Path, target: Path) -> None:
        if not source.parent.stat().st_mode & 0o200:
            raise PermissionError(13, "Permission denied", str(source))
        if source.name == "gone":
            raise FileNotFoundError(2, "No such file or directory", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    (arm / "gone").write_text("x")
    assert keep_artifacts(arm, tmp_path / "kept") == ["not kept, could not be moved: gone"]
    assert names(tmp_path / "kept") == {"models/best/weights.bin", "result.json"}


def test_overlong_path_is_dropped(arm: Path, tmp_path: Path) -> None:
    folder = arm
    while len(str(folder)) < 3800:
        folder = folder / ("d" * min(200, 3999 - len(str(folder))))
        folder.mkdir()
    (arm / "result.json").write_text("{}")
    target = tmp_path / ("k" * 250) / ("k" * 50)
    target.parent.mkdir()
    notes = keep_artifacts(arm, target)
    assert "result.json" in names(target)
    assert [note.partition(":")[0] for note in notes] == ["not kept, could not be moved"]
