"""The code of an arm as a hash: arms are functions of code, settings and seed."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from branchwise.orchestration.checkout import ROOT
from branchwise.orchestration.space import Space
from branchwise.trainables import BUILT_IN
from branchwise.trainables.runtime import session

MAX_FILES = 5000
SCRIPTS = (".py", ".sh")
NOT_CODE = ("results", "build", "node_modules", "__pycache__")


def project_files(space: Space) -> list[Path]:
    """The space's folder if the trainable is in it, as a command's script is; else its package."""
    folder, package = Path(space.folder), space.trainable.partition(":")[0].partition(".")[0]
    if space.trainable == "command":
        return [folder]
    if space.trainable in BUILT_IN or space.trainable.startswith(session.PREFIX):
        return []
    match = importlib.util.find_spec(package)
    files = [Path(file) for file in (match.submodule_search_locations or [match.origin or ""])] if match else []
    return [folder] if any(file.is_relative_to(folder) for file in files) else files


def code_sha256(space: Space) -> str | None:
    """Hash the platform's trainables and the user's files.

    None where those are unknown, or are too many to be read.
    """
    digest, number = hashlib.sha256(), 0
    if space.trainable.startswith(session.PREFIX):  # a function of a session: its code is in no file
        source = space.spec.function.source
        if not source:
            return None
        digest.update(source.encode())
    for top in (ROOT / "branchwise/trainables", *project_files(space)):
        for file in _scripts(top):
            number += 1
            if number > MAX_FILES:
                return None
            name = file.name if file == top else file.relative_to(top).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _scripts(top: Path) -> Iterator[Path]:
    """The scripts in a folder by name, without hidden folders, environments and results."""
    if top.is_file():
        yield top
        return
    for path in sorted(top.iterdir()):
        if path.name.startswith(".") or path.name in NOT_CODE:
            continue
        if path.is_dir():
            if not path.is_symlink() and not (path / "pyvenv.cfg").exists():
                yield from _scripts(path)
        elif path.suffix in SCRIPTS:
            yield path
