"""Is a file of a run folder what the sweep wrote? It is compared with the hash left of it, which older runs lack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"  # of a run's tables, with the SHA-256 of the list itself in a last line that is a comment


class RunFolderError(ValueError):
    """A run folder that cannot be read; the message is one sentence that names it."""


def whole_json(file: Path) -> Any:
    """The content of a JSON file, without the SHA-256 that seals it.

    Raises RunFolderError when it is not what was sealed, and ValueError when it is no JSON.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict) and (seal := content.pop("sha256", None)) is not None:
        text = json.dumps(content, indent=1).encode()
        if hashlib.sha256(text).hexdigest() != seal:
            raise RunFolderError(f"{file} is damaged: its SHA-256 is not the one it was written with; {_mend(file)}")
    return content


def sealed(content: Mapping[str, Any]) -> str:
    """The text of a JSON file with a SHA-256 of its content, as `whole_json` checks it."""
    text = json.dumps(content, indent=1).encode()
    return json.dumps({**content, "sha256": hashlib.sha256(text).hexdigest()}, indent=1)


def sums(folder: Path, names: Sequence[str]) -> str:
    """The text of the list of hashes for these files of `folder`."""
    lines = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return f"{lines}# {hashlib.sha256(lines.encode()).hexdigest()}\n"


def has_whole(folder: Path, name: str) -> bool:
    """Whether a run folder has the file `name`. Raises RunFolderError when it, or the list of hashes, is not what the
    sweep left."""
    file = folder / name
    expected = _sums(folder).get(name)
    if not file.is_file():
        if expected:
            raise RunFolderError(f"{file} is missing; {_mend(file)}")
        return False
    if expected:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise RunFolderError(f"{file} is damaged: its SHA-256 is not the one in {SUMS}; {_mend(file)}")
    return True


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each table by the name of its file."""
    file = folder / SUMS
    if not file.is_file():
        return {}
    lines, _, seal = file.read_bytes().rpartition(b"# ")
    if hashlib.sha256(lines).hexdigest().encode() + b"\n" != seal:
        raise RunFolderError(f"{file} is damaged; {_mend(file)}")
    pairs = [line.split("  ", 1) for line in lines.decode().splitlines()]
    return {name: expected for expected, name in pairs}


def _mend(file: Path) -> str:
    if file.name == "plan.json":
        return "take it from a backup"
    return f"run_sweep.py --resume {file.parent.name} makes it again"
