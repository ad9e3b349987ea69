"""The readers, and the reader of a source: each kind is recognized by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from branchwise.analysis.importers.files import csv_file, json_file, parquet
from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.sqlite_file import is_database, tables
from branchwise.analysis.importers.run_table import RunTable, from_frame, listed
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


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A kind of source.

    Attributes:
        name: Its name in the table of docs/runs-elsewhere.md.
        reads: What it reads, for messages.
        read: The runs in it. Opens no file for writing; raises RunFolderError for refused content.
        recognizes: Whether a file is of this kind, by its content; None where it reads only folders.
        folders: The folders of the runs in a folder; None where it reads only files.
    """

    name: str
    reads: str
    read: Callable[[Path], RunTable]
    recognizes: Callable[[Path], bool] | None = None
    folders: Callable[[Path], Iterable[Path]] | None = None


# In this order: the first that recognizes a source reads it.
READERS: tuple[Reader, ...] = (
    Reader(name="Ray Tune", reads="a results folder of Ray Tune", read=ray_tune.read, folders=ray_tune.folders),
    Reader(
        name="MLflow folder", reads="an MLflow tracking folder", read=mlflow.read_folder, folders=mlflow.run_folders
    ),
    Reader(
        name="MLflow database",
        reads="an MLflow database (.db or sqlite:///FILE)",
        read=mlflow.read_database,
        recognizes=mlflow.recognizes_database,
    ),
    Reader(
        name="Optuna database",
        reads="an Optuna storage (.db or sqlite:///FILE)",
        read=optuna.read_database,
        recognizes=optuna.recognizes_database,
    ),
    Reader(
        name="Optuna journal",
        reads="an Optuna journal (.log)",
        read=optuna.read_journal,
        recognizes=optuna.recognizes_journal,
    ),
    Reader(
        name="Trackio",
        reads="a database of Trackio (.db), or the folder of several",
        read=trackio.read,
        recognizes=trackio.recognizes,
        folders=trackio.folders,
    ),
    Reader(
        name="W&B folder",
        reads="a `wandb` folder, or a .wandb file in it",
        read=wandb.read,
        recognizes=wandb.recognizes,
        folders=wandb.folders,
    ),
    Reader(name="Sacred", reads="a folder of Sacred's FileStorageObserver", read=sacred.read, folders=sacred.folders),
    Reader(name="Hydra", reads="a folder of Hydra's jobs, such as `multirun`", read=hydra.read, folders=hydra.folders),
    Reader(
        name="Lightning CSVLogger",
        reads="a folder of Lightning's CSVLogger",
        read=lightning.read,
        folders=lightning.folders,
    ),
    Reader(
        name="TensorBoard",
        reads="a folder of TensorBoard's event files",
        read=tensorboard.read,
        recognizes=tensorboard.recognizes,
        folders=tensorboard.folders,
    ),
    Reader(
        name="Neptune exporter",
        reads="the Parquet files of Neptune's exporter, or their folder",
        read=neptune.read,
        recognizes=neptune.recognizes,
        folders=neptune.folders,
    ),
    Reader(name="Parquet", reads="a Parquet table", read=parquet.read, recognizes=parquet.recognizes),
    Reader(
        name="JSON",
        reads="a JSON list or JSON Lines of records, or of runs of W&B's API",
        read=json_file.read,
        recognizes=json_file.recognizes,
    ),
    Reader(
        name="CSV",
        reads="a CSV table (.csv, .tsv, .txt; also .gz, .bz2, .xz, .zip)",
        read=csv_file.read,
        recognizes=csv_file.recognizes,
    ),
)
_SQLITE = "sqlite:///"


def table_of(runs: pd.DataFrame | RunTable | str | Path) -> tuple[RunTable, str]:
    """The table of runs, which may be in a file or folder, and what messages call it."""
    if isinstance(runs, str | Path):
        return read_runs(str(runs)), str(runs)
    return from_frame(runs) if isinstance(runs, pd.DataFrame) else runs, "the table"


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
        raise RunFolderError(f"{source}: not UTF-8 text (byte {error.start})") from error
    except ImportError as error:
        raise RunFolderError(f"{source}: reading it takes {error.name}; install it") from error
    except (pa.ArrowException, Exception) as error:  # what a damaged file makes a parser raise has no common type
        message = " ".join(str(error).split())[:200]
        raise RunFolderError(f"{source}: cannot be read: {type(error).__name__}: {message}") from error
    if not len(runs):
        raise RunFolderError(f"{source}: no runs")
    return replace(runs, notes=(*runs.notes, *notes))


def _reader_of(path: Path) -> tuple[Reader, tuple[str, ...]]:
    """The reader of a source, with a note where it holds files of others, too.

    Raises:
        RunFolderError: No reader matches, or a folder holds runs of two tools, none of which are in those of the other.
    """
    if not path.is_dir():
        for reader in READERS if path.is_file() else ():
            if reader.recognizes and reader.recognizes(path):
                return reader, ()
        raise RunFolderError(_unknown(path))
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
        return f"{path}: a database of neither MLflow nor Optuna nor Trackio; its tables are {names}"
    if path.is_dir():
        links = [name for folder, names, _ in walk(path) for name in names if (folder / name).is_symlink()]
        if links:
            return f"{path}: no runs; links to folders, such as {links[0]}, are not followed: pass the link's target"
        return f"{path}: no runs of a known kind; runs are read from {_kinds()}"
    return f"{path}: unknown kind of file; runs are read from {_kinds()}"
