"""The content of a file: compression and encoding removed, so that readers see UTF-8."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from branchwise.analysis.records.damage import RunFolderError

MAX_BYTES = 8 << 30  # of what a compressed file holds
_HEAD = 65_536
_COMPRESSED: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_MARKS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
          (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Content:
    """A file's text as UTF-8 bytes; `notes` describe a guessed encoding."""

    data: bytes
    notes: tuple[str, ...] = ()


def first_bytes(path: Path, size: int = _HEAD) -> bytes:
    """The first bytes of a file's content, as UTF-8 where its encoding shows in them."""
    with _open(path) as file:
        head = file.read(size)
    codec = _codec(head)
    return head if codec is None else head.decode(codec, errors="ignore").encode()


def read_content(path: Path) -> Content:
    """Return the complete content of a file.

    Raises:
        RunFolderError: It decompresses to more than 8 GiB.
    """
    with _open(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RunFolderError(f"{path} holds more than {MAX_BYTES >> 30} GiB; split it")
    codec = _codec(data[:_HEAD])
    if codec is not None:
        return Content(data=data.decode(codec).lstrip("\ufeff").encode())
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is not UTF-8"
        codec = "cp1252"
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            codec, text = "latin-1", data.decode("latin-1")
        named = "Windows-1252" if codec == "cp1252" else "Latin-1"
        return Content(data=text.encode(), notes=(f"{path.name} was read as {named}: {byte}.",))
    return Content(data=data)


def _codec(head: bytes) -> str | None:
    """Encoding by the first bytes; None for UTF-8 and what cannot be distinguished from it."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    if len(head) >= 4 and b"\x00" in head[:4]:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return None


def _open(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"PK\x03\x04"):
        return _only_member(path)
    for start, prefix in _COMPRESSED.items():
        if magic.startswith(start):
            return prefix(path)
    return path.open("rb")


def _only_member(path: Path) -> io.BufferedIOBase:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names:
        raise RunFolderError(f"{path} is a workbook; save the sheet as CSV")
    if len(names) != 1:
        raise RunFolderError(f"{path} holds {len(names)} files; it must hold one table")
    return archive.open(names[0])  # type: ignore[return-value]
