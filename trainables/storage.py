"""Where runs and teachers are kept: a local or shared folder, or a URI that pyarrow understands (s3://, gs://).

Every file appears whole or not at all. On a file system that is write beside, fsync, rename; an object store does it
by itself when the upload is closed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs


def storage_at(place: str | Path) -> Storage:
    """The storage at a path, made absolute, or at a URI."""
    text = str(place)
    return Storage(text.rstrip("/") if "://" in text else str(Path(text).absolute()))


@dataclass(frozen=True)
class Storage:
    """A folder, by path or URI. Names below it are relative and use '/'."""

    root: str

    @property
    def local(self) -> Path | None:
        """The folder's path, or None when it is not on a file system of this machine."""
        return None if "://" in self.root else Path(self.root)

    def __truediv__(self, name: str) -> Storage:
        return Storage(f"{self.root.rstrip('/')}/{name}")

    def path(self, name: str) -> str:
        """`name` as the user would write it: a path or a URI."""
        return f"{self.root.rstrip('/')}/{name}"

    def write(self, name: str, content: bytes) -> None:
        """Stores a file atomically, making its parent folders. Raises OSError (disk full, read-only, ...)."""
        if self.local is None:
            system, path = self._open()
            system.create_dir(f"{path}/{name}".rpartition("/")[0])
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)
            return
        target = self.local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with beside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        system, path = self._open()
        with system.open_input_stream(f"{path}/{name}") as stream:
            return bytes(stream.read())

    def write_json(self, name: str, content: Any) -> None:
        self.write(name, json.dumps(content, indent=1).encode())

    def read_json(self, name: str) -> Any:
        """Raises FileNotFoundError, and ValueError for a file that is not JSON."""
        return json.loads(self.read(name))

    def exists(self, name: str) -> bool:
        system, path = self._open()
        return bool(system.get_file_info(f"{path}/{name}").type != fs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """What lies directly in `folder`, sorted, unfinished files left out; empty when there is no such folder."""
        system, path = self._open()
        selector = fs.FileSelector(f"{path}/{folder}".rstrip("/"), allow_not_found=True)
        return sorted(info.base_name for info in system.get_file_info(selector) if not info.base_name.startswith("."))

    def delete(self, name: str) -> None:
        """Removes a file or a folder; nothing happens when it is not there."""
        system, path = self._open()
        kind = system.get_file_info(f"{path}/{name}").type
        if kind == fs.FileType.Directory:
            system.delete_dir(f"{path}/{name}")
        elif kind == fs.FileType.File:
            system.delete_file(f"{path}/{name}")

    def put_folder(self, source: Path, name: str) -> None:
        """Stores a copy of the local folder `source` as `name`, replacing what was there."""
        if self.local is None:
            system, path = self._open()
            system.create_dir(f"{path}/{name}")
            fs.copy_files(str(source), f"{path}/{name}", destination_filesystem=system)
            return
        target = self.local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(source, beside)
            shutil.rmtree(target, ignore_errors=True)
            beside.replace(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def get_folder(self, name: str, scratch: Path) -> Path:
        """A local folder with the files of `name`: the folder itself, or a copy of it below `scratch`."""
        if self.local is not None:
            return self.local / name
        system, path = self._open()
        copy = scratch / Path(name).name
        copy.mkdir(parents=True, exist_ok=True)
        fs.copy_files(f"{path}/{name}", str(copy), source_filesystem=system)
        return copy

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self.local is not None:
            return fs.LocalFileSystem(), str(self.local)
        system, path = fs.FileSystem.from_uri(self.root)
        return system, path.rstrip("/")
