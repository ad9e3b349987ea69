"""The readers, and the reader of a source: each kind is recognized by its content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from branchwise.analysis.importers.files import csv_file, json_file, parquet
from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.sqlite_file import is_database, tables
from branchwise.analysis.importers.reader import Reader
from branchwise.analysis.importers.run_table import RunTable, listed
from branchwise.analysis.importers.trackers import (
    hydra,
    lightning,
    mlflow,
    neptune,
    optuna,
    ray_tune,
    sacred,
    tensorboard,
    trackio,
    wandb,
)
from branchwise.analysis.records.damage import RunFolderError

# In this order: the first that recognizes a source reads it.
READERS: tuple[Reader, ...] = (
    ray_tune.READER,
    mlflow.FOLDER,
    mlflow.DATABASE,
    optuna.DATABASE,
    optuna.JOURNAL,
    trackio.READER,
    wandb.READER,
    sacred.READER,
    hydra.READER,
    lightning.READER,
    tensorboard.READER,
    neptune.READER,
    parquet.READER,
    json_file.READER,
    csv_file.READER,
)
_SQLITE = "sqlite:///"


def read_runs(source: str) -> RunTable:
    """The runs in a file or folder, which is not modified.

    Raises:
        RunFolderError: It is of an unknown kind, holds no run, or cannot be read.
    """
    path = Path(source.removeprefix(_SQLITE).partition("?")[0] if source.startswith(_SQLITE) else source)
    if not path.exists():
        raise RunFolderError(f"{source}: no such file or folder; runs are read from {_kinds()}")
    try:
        reader, notes = _reader_of(path)
        runs = reader.read(path)
    except RunFolderError:
        raise
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{source} is not UTF-8 text (byte {error.start})") from error
    except ImportError as error:
        raise RunFolderError(f"{source}: reading it takes {error.name}; install it") from error
    except (pa.ArrowException, Exception) as error:  # what a damaged file makes a parser raise has no common type
        message = " ".join(str(error).split())[:200]
        raise RunFolderError(f"{source} cannot be read: {type(error).__name__}: {message}") from error
    if not len(runs):
        raise RunFolderError(f"{source} holds no runs")
    return replace(runs, notes=(*runs.notes, *notes))


def _reader_of(path: Path) -> tuple[Reader, tuple[str, ...]]:
    """The reader of a source, with a note where it holds files of others, too.

    Raises:
        RunFolderError: No reader matches, or a folder holds runs of two tools, none of which are in those of the other.
    """
    if not path.is_dir():
        reader = next((item for item in READERS if item.recognizes(path)), None)
        if reader is None:
            raise RunFolderError(_unknown(path))
        return reader, ()
    roots = {reader.name: list(reader.folders(path)) for reader in READERS if reader.folders}
    able = [reader for reader in READERS if roots.get(reader.name)]
    if not able:
        raise RunFolderError(_unknown(path))
    first, *others = able
    for other in others:
        first_root, other_root = roots[first.name], roots[other.name]
        outside = _outside(first_root, other_root)
        if outside and _outside(other_root, first_root):
            inside = relative(_outside(other_root, first_root)[0], path)
            raise RunFolderError(
                f"{path} holds runs of {first.name} ({inside}) and of {other.name} "
                f"({relative(outside[0], path)}); name one of the folders"
            )
    names = listed([other.name for other in others])
    return first, (f"Read as {first.name}; files of {names} in it are left out.",) if others else ()


def _outside(outer: list[Path], inner: list[Path]) -> list[Path]:
    """The folders of `inner` that are in none of `outer`."""
    roots = set(outer)
    return [folder for folder in inner if not roots & {folder, *folder.parents}]


def _kinds() -> str:
    return "; ".join(reader.reads for reader in READERS)


def _unknown(path: Path) -> str:
    if is_database(path):
        names = listed(sorted(tables(path)))
        return f"{path} is a database of neither MLflow nor Optuna nor Trackio; its tables are {names}"
    if path.is_dir():
        links = [name for folder, names, _ in walk(path) for name in names if (folder / name).is_symlink()]
        if links:
            return (
                f"{path} holds no runs; links to folders, such as {links[0]}, are not followed: name what they lead to"
            )
        return f"{path} holds no runs of a known kind; runs are read from {_kinds()}"
    return f"{path} is of an unknown kind; runs are read from {_kinds()}"
