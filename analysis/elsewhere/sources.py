"""The readers, and the one that a source needs: every kind is recognized by its content."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from branchwise.analysis.elsewhere.files import csv_file, json_file, parquet
from branchwise.analysis.elsewhere.files.sqlite_file import is_database, tables
from branchwise.analysis.elsewhere.reader import Reader
from branchwise.analysis.elsewhere.run_table import RunTable, listed
from branchwise.analysis.elsewhere.trackers import mlflow, optuna, ray_tune, tensorboard, wandb
from branchwise.analysis.records.damage import RunFolderError

# In this order: the first that recognizes a source reads it.
READERS: tuple[Reader, ...] = (
    ray_tune.READER,
    mlflow.FOLDER,
    mlflow.DATABASE,
    optuna.DATABASE,
    optuna.JOURNAL,
    wandb.READER,
    tensorboard.READER,
    parquet.READER,
    json_file.READER,
    csv_file.READER,
)
_SQLITE = "sqlite:///"


def read_runs(source: str) -> RunTable:
    """The runs in a file or folder, which is left as it is.

    Raises:
        RunFolderError: It is of no known kind, holds no run, or cannot be read.
    """
    path = Path(source.removeprefix(_SQLITE).partition("?")[0] if source.startswith(_SQLITE) else source)
    if not path.exists():
        raise RunFolderError(f"{source}: no such file or folder; runs are read from {_kinds()}")
    try:
        reader = next((one for one in READERS if one.recognizes(path)), None)
        if reader is None:
            raise RunFolderError(_unknown(path))
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
    return runs


def _kinds() -> str:
    return "; ".join(reader.reads for reader in READERS)


def _unknown(path: Path) -> str:
    if is_database(path):
        return f"{path} is a database of neither MLflow nor Optuna; its tables are {listed(sorted(tables(path)))}"
    return f"{path} is of an unknown kind; runs are read from {_kinds()}"
