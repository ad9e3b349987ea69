"""Files are whole or absent, locally and at a URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.storage import Storage, storage_at


@pytest.fixture(params=["path", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_at(tmp_path if request.param == "path" else f"file://{tmp_path}")


def test_files_come_back(storage: Storage) -> None:
    folder = storage / "run"
    folder.write("arms/a.json", b"1")
    folder.write("arms/a.json", b"2")
    assert folder.read("arms/a.json") == b"2"
    assert folder.names("arms") == ["a.json"]
    assert folder.names("nothing") == []
    assert folder.exists("arms/a.json")
    folder.delete("arms/a.json")
    folder.delete("arms/a.json")
    assert not folder.exists("arms/a.json")
    with pytest.raises(FileNotFoundError):
        folder.read("arms/a.json")


def test_folders_replace_each_other(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    storage.put_folder(source, "student")
    storage.put_folder(source, "student")
    copy = storage.get_folder("student", tmp_path / "scratch")
    assert (copy / "config.json").read_text() == "{}"
    assert "student" in storage.names("")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_at(tmp_path)
    storage.write("table", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write("table", b"new")
    assert storage.read("table") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]
