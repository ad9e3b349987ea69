"""Files are complete or absent, locally and at a URI; later modifications are detected."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from branchwise.run_files.layout import staged_folder
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import Storage, storage_at


@pytest.fixture(params=["path", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    # storage_at would make a path of the URI; like this, it is handled as every URI.
    return storage_at(tmp_path) if request.param == "path" else Storage(f"file://{tmp_path}")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a file, and a second file in a subfolder."""
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "below/weights").write_bytes(b"1234")
    return folder


def test_files_round_trip(storage: Storage) -> None:
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


def test_folders_replace_each_other(storage: Storage, model: Path, tmp_path: Path) -> None:
    assert not storage.has_folder("student")
    storage.put_folder(model, "student")
    (model / "config.json").write_text("{1}")
    storage.put_folder(model, "student")
    assert storage.has_folder("student")
    copy = storage.get_folder("student", tmp_path / "scratch")
    assert (copy / "config.json").read_text() == "{1}"
    assert (copy / "below/weights").read_bytes() == b"1234"
    assert "student" in storage.names("")
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_folder_that_cannot_be_copied_is_named(model: Path, tmp_path: Path) -> None:
    os.mkfifo(model / "pipe")
    with pytest.raises(OSError, match="named pipe") as failure:
        storage_at(tmp_path / "runs").put_folder(model, "student")
    assert str(failure.value) == f"{tmp_path}/runs/student: `{model}/pipe` is a named pipe"
    assert not list((tmp_path / "runs").iterdir())


def test_sha256sum_reads_checksum_list(model: Path, tmp_path: Path) -> None:
    storage_at(tmp_path).put_folder(model, "student")
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "student", capture_output=True, text=True
    )
    assert checked.stdout == "below/weights: OK\nconfig.json: OK\n"
    assert checked.returncode == 0


@pytest.mark.parametrize(
    "damage", ["altered", "cut off", "lost", "list cut off", "list lost", "list altered", "escape"]
)
def test_damaged_folder_is_reported_and_unused(storage: Storage, model: Path, tmp_path: Path, damage: str) -> None:
    storage.put_folder(model, "student")
    folder = tmp_path / "student"
    weights, sums = folder / "below/weights", folder / "SHA256SUMS"
    if damage == "altered":
        weights.write_bytes(b"1235")
    elif damage == "cut off":
        weights.write_bytes(b"123")
    elif damage == "lost":
        weights.unlink()
    elif damage == "list cut off":
        sums.write_text(sums.read_text().splitlines(keepends=True)[0])
    elif damage == "list lost":
        sums.unlink()
    elif damage == "list altered":
        sums.write_text(sums.read_text().replace("weights", "weighty"))
    else:
        lines = f"{'0' * 64}  ../../outside\n"
        sums.write_text(f"{lines}# {hashlib.sha256(lines.encode()).hexdigest()}\n")
    with pytest.raises((DamagedError, FileNotFoundError), match="student"):
        storage.get_folder("student", tmp_path / "scratch")


@pytest.mark.parametrize("position", [0, 7, -1])
def test_flipped_bit_is_detected(storage: Storage, position: int) -> None:
    storage.write_json("record.json", {"value": 1.25, "none": float("nan"), "rows": [[1, 2.5]]})
    storage.write_sealed("checkpoint", b"state")
    assert storage.read_json("record.json")["rows"] == [[1, 2.5]]
    assert storage.read_sealed("checkpoint") == b"state"
    for name in ("record.json", "checkpoint"):
        content = bytearray(storage.read(name))
        content[position] ^= 4
        storage.write(name, bytes(content))
    with pytest.raises(DamagedError, match=r"record\.json"):
        storage.read_json("record.json")
    with pytest.raises(DamagedError, match="checkpoint"):
        storage.read_sealed("checkpoint")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), st.floats() | st.integers() | st.text()))
def test_objects_round_trip_and_truncated_ones_fail(tmp_path: Path, content: dict[str, object]) -> None:
    storage = storage_at(tmp_path)
    storage.write_json("record.json", content)
    assert repr(storage.read_json("record.json")) == repr(content)  # NaN is equal in repr
    complete = storage.read("record.json")
    storage.write("record.json", complete[: len(complete) // 2])
    with pytest.raises(DamagedError):
        storage.read_json("record.json")


def test_interrupted_write_leaves_no_readable_file(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    storage.write("arms/a.json", b"1")
    (tmp_path / "arms/.b.json.12345678.tmp").write_bytes(b"ha")
    (tmp_path / "arms/.student.12345678.tmp").mkdir()
    assert storage.names("arms") == ["a.json"]
    storage.delete_unfinished("arms")
    assert [entry.name for entry in (tmp_path / "arms").iterdir()] == ["a.json"]


def test_failed_write_leaves_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_at(tmp_path)
    storage.write("table", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write("table", b"new")
    assert storage.read("table") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]


def test_progress_report_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    run = RunFolder(storage_at(tmp_path), "run")
    report = {"phase": "train", "step": 1, "steps": 2, "arms": [], "begun": 0.0, "time": 1.0}
    run.write_progress("t0000", report)
    assert synced == []
    assert run.read_progress("t0000") == report
    run.write_record("full-b0", {"status": "done"})
    assert len(synced) == 2, "the file, and the folder that names it"


def test_interrupt_between_renames_keeps_replaced_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "kept", Path.rename
    target.mkdir()
    (target / "old").touch()

    def interrupted(path: Path, other: Path) -> Path:
        if (path / "new").exists():
            raise KeyboardInterrupt
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), staged_folder(target) as staging:
        (staging / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["kept", "kept/old"]
