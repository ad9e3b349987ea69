"""Reading of run files: those damaged, against their schema or outside are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from branchwise.analysis.records.names import printable_tree
from branchwise.run_files import schemas
from branchwise.run_files.layout import PLAN, OutsideError, inside, regular_file
from branchwise.run_files.sealing import SUMS, DamagedError, read_sealed_json, read_sums, sha256_of


class RunFolderError(ValueError):
    """A run folder that cannot be read; the message names it."""


def path_in(folder: Path, name: str) -> Path:
    """Return the path of `name` in a run folder, or in what is next to it.

    Raises:
        RunFolderError: It leads outside.
    """
    try:
        return inside(folder, name)
    except OSError as error:
        raise RunFolderError(str(error)) from error


def file_in(folder: Path, name: str) -> Path | None:
    """Return the file `name` of a run folder, or None.

    Raises:
        RunFolderError: It is no file of the folder.
    """
    try:
        return regular_file(folder, name)
    except OutsideError as error:
        raise RunFolderError(str(error)) from error
    except OSError as error:
        raise RunFolderError(f"{folder / name}: {error.strerror or error}") from error


def read_bytes(folder: Path, name: str) -> bytes | None:
    """Return the content of the file `name`, or None. Raises RunFolderError."""
    file = file_in(folder, name)
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read: {error.strerror or error}") from error


def read_json(folder: Path, name: str, schema: type[schemas.Schema]) -> dict[str, Any] | None:
    """Return the content of a JSON file without its seal, or None.

    Raises:
        RunFolderError: It is not what was sealed, or does not fit its schema.
    """
    content = read_bytes(folder, name)
    if content is None:
        return None
    file = folder / name
    try:
        match = read_sealed_json(content, str(file), required=False)
        checked: dict[str, Any] = schemas.check(schema, match, str(file))
    except DamagedError as error:
        raise RunFolderError(f"{error}; {_mend(folder, name)}") from error
    return dict(printable_tree(checked))


def read_space(folder: Path, name: str) -> tuple[dict[str, Any], bytes] | None:
    """Return the mapping in a YAML file and the bytes of the file, or None.

    Raises:
        RunFolderError: The file is not valid.
    """
    content = read_bytes(folder, name)
    if content is None:
        return None
    try:
        result = yaml.safe_load(content.decode())
        checked: dict[str, Any] = schemas.check(schemas.SpaceTree, result, str(folder / name))
    except DamagedError as error:
        raise RunFolderError(str(error)) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # Not UTF-8, or not YAML; PyYAML has no specific error for `!!bool abc`, nor for what is nested too deeply.
        raise RunFolderError(f"{folder / name} is not valid YAML: {' '.join(str(error).split())}") from error
    return dict(printable_tree(checked)), content


def verify_checksum(folder: Path, name: str) -> bool:
    """Return whether a run folder has the file `name`.

    Raises:
        RunFolderError: The file, or the list of hashes, is not what the sweep wrote.
    """
    file, expected = file_in(folder, name), _sums(folder).get(name)
    if file is None:
        if expected:
            raise RunFolderError(f"{folder / name} is missing; {_mend(folder, name)}")
        return False
    if expected and sha256_of(file) != expected:
        # A sweep that collects just now replaces tables, then the list.
        expected = _sums(folder).get(name)
        if expected and sha256_of(file) != expected:
            raise RunFolderError(f"{file} is damaged: its SHA-256 is not the one in {SUMS}; {_mend(folder, name)}")
    return True


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each table by file name; empty without a list, as in runs of other programs."""
    content = read_bytes(folder, SUMS)
    try:
        return {} if content is None else read_sums(content, str(folder / SUMS))
    except DamagedError as error:
        raise RunFolderError(f"{error}; {_mend(folder, SUMS)}") from error


def _mend(folder: Path, name: str) -> str:
    if name == PLAN:
        return "take it from a backup"
    return f"`branchwise resume {folder.name}` makes it again"
