"""Storage of runs and teachers: a folder, or a URI that pyarrow understands (s3://, gs://).

The folder may be local or shared. Each file appears atomically. On a file system that is write next to, fsync, rename;
an object store does it by itself when the upload is closed. What would do harm if it were modified afterwards carries a
SHA-256: JSON files and checkpoints in themselves, folders in a list that `sha256sum -c SHA256SUMS` reads too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, fs

from branchwise.run_files import schemas
from branchwise.run_files.layout import inside, remove, staged_file, staged_folder
from branchwise.run_files.sealing import (
    SUMS,
    DamagedError,
    read_sealed_json,
    read_sums,
    sealed_json,
    sha256,
    sha256_of,
    sums,
)

RETRY_SECONDS = 30  # for a storage that cannot be reached
UPLOAD_BYTES = 8 << 20  # of a file at a time
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")  # of URIs
_LIKE_A_URI = re.compile(rf"(?:{'|'.join(SCHEMES)}):|[A-Za-z][A-Za-z0-9+.-]*:/|[^/]*://")
_SEAL = b"branchwise-sealed-1 "  # then 64 hexadecimal digits and a line feed, then the content


def storage_at(location: str | Path) -> Storage:
    """Return the storage at a path, made absolute, or at a URI.

    Raises:
        OSError, ValueError: It cannot be used. The message does not repeat it: it may hold credentials.
    """
    text = str(location)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be UTF-8 text") from error
    if "\0" in text:
        raise ValueError("must not hold a NUL")
    if not _LIKE_A_URI.match(text):
        return Storage(str(Path(text).absolute()))
    _check_uri(text)
    try:
        system, path = _file_system(text)
    except ArrowException as error:  # of which not every one is an OSError or a ValueError
        raise ValueError(str(error)) from error
    return Storage((path or "/") if isinstance(system, fs.LocalFileSystem) else text.rstrip("/"))


def _check_uri(uri: str) -> None:
    scheme, slashes, rest = uri.partition("://")
    if not slashes:
        raise ValueError("a URI has two slashes after its scheme: s3://bucket/folder")
    host, _, folder = rest.partition("/")
    port = host.rpartition(":")[2] if ":" in host else "0"
    if "@" in host or not port.isdigit() or ("@" in folder and ":" in host) or "?" in rest or "#" in rest:
        raise ValueError("a URI must not hold credentials or options; give them by the environment")
    if scheme not in SCHEMES:
        raise ValueError(f"a URI must begin with one of {', '.join(SCHEMES)}")
    if not host and scheme != "file":
        raise ValueError(f"{scheme}:// must be followed by the name of a bucket")


@dataclass(frozen=True)
class Storage:
    """A folder, by path or URI. Names below it are relative and use '/'."""

    root: str

    @property
    def local(self) -> Path | None:
        """The folder's path, or None when it is not on a file system of this machine."""
        return None if "://" in self.root else Path(self.root)

    def __truediv__(self, name: str) -> Storage:
        return Storage(self.path(name))

    def path(self, name: str) -> str:
        """`name` as the user would write it: a path or a URI."""
        return f"{self.root.rstrip('/')}/{name}"

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Store a file atomically, making its parent folders; wait for the disk if `durable`.

        Raises OSError (disk full, read-only, ...).
        """
        if self.local is None:
            system, path = self._open()
            system.create_dir(f"{path}/{name}".rpartition("/")[0])
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)
            return
        target = self._replaceable(name)
        try:
            with staged_file(target, durable) as staging:
                staging.write_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: There is no such file.
            OutsideError: It is a link that leads out of the folder.
        """
        system, path = self._open()
        if self.local is not None:
            self._inside(name)
        with system.open_input_stream(f"{path}/{name}") as stream:
            return bytes(stream.read())

    def write_sealed(self, name: str, content: bytes) -> None:
        """Store `content` with its SHA-256 before it."""
        self.write(name, _SEAL + sha256(content).encode() + b"\n" + content)

    def read_sealed(self, name: str) -> bytes:
        """Return what `write_sealed` stored.

        Raises FileNotFoundError, and DamagedError when it is anything else.
        """
        head, _, content = self.read(name).partition(b"\n")
        if head != _SEAL + sha256(content).encode():
            raise DamagedError(f"{self.path(name)} is damaged: its SHA-256 is not the one it was written with")
        return content

    def write_json(self, name: str, content: Mapping[str, Any], *, durable: bool = True) -> None:
        """Store an object with the SHA-256 of its text as a further key."""
        self.write(name, sealed_json(content), durable=durable)

    def read_json(self, name: str) -> Any:
        """Return what `write_json` stored.

        Raises FileNotFoundError, and DamagedError when it is anything else.
        """
        return read_sealed_json(self.read(name), self.path(name))

    def read_checked(self, name: str, schema: type[schemas.Schema]) -> Any:
        """A JSON file that fits its schema. Raises FileNotFoundError and DamagedError."""
        return schemas.check(schema, self.read_json(name), self.path(name))

    def read_or_empty(self, name: str, schema: type[schemas.Schema]) -> Any:
        """A JSON file that fits its schema; empty where there is none that does."""
        try:
            return self.read_checked(name, schema)
        except (FileNotFoundError, DamagedError):
            return {}

    def exists(self, name: str) -> bool:
        system, path = self._open()
        return bool(system.get_file_info(f"{path}/{name}").type != fs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """Sorted names directly in `folder`, without unfinished files; empty if it does not exist."""
        system, path = self._open()
        selector = fs.FileSelector(f"{path}/{folder}".rstrip("/"), allow_not_found=True)
        return sorted(info.base_name for info in system.get_file_info(selector) if not info.base_name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove a file or a folder, if it exists."""
        if self.local is not None:
            remove(self._replaceable(name))
            return
        system, path = self._open()
        kind = system.get_file_info(f"{path}/{name}").type
        if kind == fs.FileType.Directory:
            system.delete_dir(f"{path}/{name}")
        elif kind == fs.FileType.File:
            system.delete_file(f"{path}/{name}")

    def delete_unfinished(self, folder: str) -> None:
        """Remove unfinished files directly in `folder`, left by processes killed while writing."""
        if self.local is None:
            return  # an upload that is not closed leaves nothing to see
        for leftover in inside(self.local, folder).glob(".*.tmp"):
            remove(leftover)

    def put_folder(self, source: Path, name: str) -> None:
        """Store a copy of the local folder `source` as `name`, replacing what was there."""
        files = sorted(file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file())
        listed = sums({file: sha256_of(source / file) for file in files if file != SUMS})
        if self.local is None:
            self.delete(f"{name}/{SUMS}")
            for file in files:
                self._upload(source / file, f"{name}/{file}")
            self.write(f"{name}/{SUMS}", listed)
            return
        target = self._replaceable(name)
        try:
            with staged_folder(target) as staging:
                shutil.copytree(source, staging, symlinks=True, dirs_exist_ok=True)
                (staging / SUMS).write_bytes(listed)
        except shutil.Error as error:  # of copytree: a list of what failed, and why
            _, _, reason = error.args[0][0]
            raise OSError(f"{target}: {reason}") from error
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error

    def _upload(self, source: Path, name: str) -> None:
        """Store a local file at a URI, in parts: a kept model may be larger than the memory."""
        system, path = self._open()
        system.create_dir(f"{path}/{name}".rpartition("/")[0])
        with source.open("rb") as content, system.open_output_stream(f"{path}/{name}") as stream:
            shutil.copyfileobj(content, stream, UPLOAD_BYTES)

    def has_folder(self, name: str) -> bool:
        """Whether `put_folder` has stored `name` to the end."""
        return self.exists(f"{name}/{SUMS}")

    def get_folder(self, name: str, scratch: Path) -> Path:
        """Return a local folder with the files of `name`: itself, or a copy below `scratch`.

        Raises FileNotFoundError when it was never stored, DamagedError when a file is not what was stored.
        """
        listed = read_sums(self.read(f"{name}/{SUMS}"), self.path(f"{name}/{SUMS}"))
        folder = self._inside(name) if self.local is not None else scratch / Path(name).name
        for file, expected in listed.items():
            if self.local is not None:
                inside(folder, file)
            else:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(self.read(f"{name}/{file}"))
            if not (folder / file).is_file() or sha256_of(folder / file) != expected:
                raise DamagedError(f"{self.path(f'{name}/{file}')} is damaged: its SHA-256 is not the one in {SUMS}")
        return folder

    def _inside(self, name: str) -> Path:
        """The local path of `name`. Raises OutsideError where a link leads out of this folder."""
        return inside(Path(self.root), name)

    def _replaceable(self, name: str) -> Path:
        """The local path of `name`, which may be a link itself: it is replaced, not followed."""
        self._inside(name.rpartition("/")[0])
        return Path(self.root) / name

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self.local is not None:
            return fs.LocalFileSystem(), str(self.local)
        return _file_system(self.root)


@lru_cache(maxsize=16)
def _file_system(uri: str) -> tuple[fs.FileSystem, str]:
    """Remembered, because a bucket's region is requested over the network each time."""
    # Left to itself, Google's client tries for a quarter of an hour before it states that it cannot be reached.
    patience = f"?retry_limit_seconds={RETRY_SECONDS}" if uri.startswith(("gs://", "gcs://")) else ""
    system, path = fs.FileSystem.from_uri(uri + patience)
    return system, path.rstrip("/")
