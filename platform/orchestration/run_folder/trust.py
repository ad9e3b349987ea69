"""The runs that this user has started, recorded in the user's state folder.

The record is never in the storage that others write. A run folder states what to run: a command, or
a module to import. A resume runs it only where the very same plan and space were started, or
trusted before, by this user.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from branchwise.analysis.console import printable, shortened, single_line
from branchwise.orchestration.errors import UserError
from branchwise.run_files.layout import PLAN, SPACE, staged_file
from branchwise.run_files.sealing import sha256
from branchwise.trainables import BUILT_IN, DEFAULT
from branchwise.trainables.runtime.run_folder import RunFolder

MAX_CHARACTERS = 300  # characters of a command in a message


def record(run: RunFolder, originals: Mapping[str, bytes]) -> None:
    """Note that this user started or trusts the run with these files.

    Where the note cannot be written, the next resume requests --trust.
    """
    with suppress(OSError, RuntimeError):
        file = _file(originals)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with staged_file(file) as staging:
            staging.write_text(json.dumps({"run": run.root, "time": time.time()}))


def is_trusted(originals: Mapping[str, bytes]) -> bool:
    """Return whether this user has started or trusted a run with these very files."""
    try:
        status = _file(originals).stat()
    except (OSError, RuntimeError):
        return False
    return status.st_uid == os.geteuid()


def refuse_untrusted(option: str, run: RunFolder, originals: Mapping[str, bytes]) -> None:
    """Refuse a run that this user neither started nor trusted.

    Raises UserError that shows what a resume would run.
    """
    if not is_trusted(originals):
        raise UserError(
            f"{option} {run.name}: {untrusted(run, originals)} Read {run.space_path()}; if you trust it, add --trust"
        )


def untrusted(run: RunFolder, originals: Mapping[str, bytes]) -> str:
    """Return sentences on a run that this user did not start: what resuming it would run."""
    return f"this user has not started {run.root} as it is now. Resuming it {_describe_code(originals)}."


def _file(originals: Mapping[str, bytes]) -> Path:
    """The note on a run, named by the content of its plan and its space.

    Raises RuntimeError without a home.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local/state"
    return base / "branchwise/started" / sha256(sha256(originals[PLAN]).encode() + sha256(originals[SPACE]).encode())


def _describe_code(originals: Mapping[str, bytes]) -> str:
    tree: Any = yaml.safe_load(originals[SPACE])
    folder = single_line(json.loads(originals[PLAN]).get("space_folder") or "its folder")
    name = tree.get("trainable", DEFAULT)
    if name == "command":
        command = tree.get("command") or {}
        program = " ".join(map(str, command.get("run") or ()))
        where = f" in {command['cwd']}" if command.get("cwd") else ""
        env = " ".join(f"{key}={value}" for key, value in (command.get("env") or {}).items())
        return f"runs `{_short(f'{env} {program}'.strip())}`{_short(where)}, with files of {folder}"
    if name not in BUILT_IN:
        return f"imports and runs {_short(str(name))}, from {folder} or Python's path"
    functions = [
        text for text in _texts(tree) if ":" in text and text.replace(":", ".").replace(".", "").isidentifier()
    ]
    imported = f" and imports {_short(', '.join(functions))} from {folder}" if functions else ""
    return f"trains {name}, a part of Branchwise, with its settings{imported}"


def _texts(tree: Any) -> list[str]:
    if isinstance(tree, Mapping):
        return [text for item in tree.values() for text in _texts(item)]
    if isinstance(tree, list):
        return [text for item in tree for text in _texts(item)]
    return [tree] if isinstance(tree, str) else []


def _short(text: str) -> str:
    return shortened(printable(text), MAX_CHARACTERS)
