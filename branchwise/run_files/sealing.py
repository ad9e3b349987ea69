"""Seals, checksums: SHA-256 of a JSON file's content in it, of a folder's files in a list.

They detect accidents. Anyone who edits a file can write the matching hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

SUMS = "SHA256SUMS"  # of a folder's files, as `sha256sum -c` reads it; its last line, a comment, seals the list
SEAL = "sha256"  # the key that holds the hash of a JSON file's other content


class DamagedError(ValueError):
    """A stored file is not what was once written; the message names it."""


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Return the text of a JSON file with the SHA-256 of its content as a further key."""
    return _text({**content, SEAL: hashlib.sha256(_text(content)).hexdigest()})


def read_sealed_json(text: bytes, where: str, required: bool = True) -> Any:
    """Return the content of a sealed JSON file without its seal.

    Args:
        text: The bytes of the file.
        where: How messages call the file.
        required: Whether a file without a seal is refused; runs of other programs have none.

    Raises:
        DamagedError: It is no JSON, or not what was sealed.
    """
    try:
        content = json.loads(text)
        seal = content.pop(SEAL) if required or (isinstance(content, dict) and SEAL in content) else None
        complete = seal is None or hashlib.sha256(_text(content)).hexdigest() == seal
    except RecursionError as error:
        raise DamagedError(f"{where} is damaged: its JSON is nested too deeply") from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedError(f"{where} is damaged: it is cut off or not of this program") from error
    if not complete:
        raise DamagedError(f"{where} is damaged: its SHA-256 is not the one it was written with")
    return content


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sums(files: Mapping[str, str]) -> bytes:
    """Return the list of files, each with its SHA-256, and a comment with that of these lines."""
    lines = "".join(f"{digest}  {file}\n" for file, digest in files.items()).encode()
    return lines + f"# {sha256(lines)}\n".encode()


def read_sums(text: bytes, where: str) -> dict[str, str]:
    """Return the SHA-256 of each file in the list from `sums`.

    Raises:
        DamagedError: It is not the list that was written, or names files outside its folder.
    """
    lines, _, seal = text.rpartition(b"# ")
    try:
        pairs = [line.split("  ", 1) for line in lines.decode().splitlines()]
        listed = {file: digest for digest, file in pairs}
    except ValueError as error:
        raise DamagedError(f"{where} is damaged: it is cut off or not of this program") from error
    outside = any(PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts for file in listed)
    if outside or sha256(lines).encode() + b"\n" != seal:
        raise DamagedError(f"{where} is damaged")
    return listed
