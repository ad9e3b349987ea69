"""Optuna: a database or a journal, read by Optuna from a copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.content import first_bytes
from branchwise.analysis.importers.files.sqlite_file import is_database, private_copy, tables
from branchwise.analysis.importers.run_table import RunTable, as_settings, from_records
from branchwise.analysis.records.damage import RunFolderError


def recognizes_database(path: Path) -> bool:
    return is_database(path) and {"studies", "trials"} <= tables(path)


def recognizes_journal(path: Path) -> bool:
    return first_bytes(path, 256).lstrip().startswith(b'{"op_code"')


def read_database(path: Path) -> RunTable:
    with private_copy(path) as copy:
        return _read(path, f"sqlite:///{copy}")


def read_journal(path: Path) -> RunTable:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with _copy(path) as copy:
        return _read(path, lambda: JournalStorage(JournalFileBackend(str(copy))))


@contextmanager
def _copy(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="branchwise-") as folder:
        yield Path(shutil.copyfile(path, Path(folder) / "journal.log"))


def _read(path: Path, connection: Any) -> RunTable:
    """The trials of each study. A single objective is the column `value`."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        storage = optuna.storages.get_storage(connection() if callable(connection) else connection)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)]
        return table_of_studies([optuna.load_study(study_name=name, storage=storage) for name in names])
    except (RuntimeError, SQLAlchemyError) as error:
        reason = " ".join(str(error).split())
        if "upgrade" in reason or "version" in reason or "no such column" in reason:
            raise RunFolderError(
                f"{path}: another version of Optuna wrote this storage; upgrade it with "
                f"`optuna storage upgrade --storage sqlite:///{path}`, or read it where that version is installed"
            ) from error
        raise RunFolderError(f"{path} cannot be read by Optuna {optuna.__version__}: {reason[:200]}") from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def table_of_studies(studies: Iterable[Any]) -> RunTable:
    """The trials of Optuna studies, a row per trial."""
    rows = [_row(study.study_name, trial) for study in studies for trial in study.get_trials(deepcopy=False)]
    return from_records(
        rows, state="state", experiment="study", run_id="trial", kinds=dict.fromkeys(_values(rows), "metric")
    )


def _values(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name == "value" or name.startswith("value_")))


def _row(study: str, trial: Any) -> dict[str, Any]:
    values = {"value" if i == 0 else f"value_{i}": value for i, value in enumerate(trial.values or ())}
    facts = {"study": study, "trial": str(trial.number), "state": trial.state.name.lower(), **values}
    attributes = {f"user_attrs.{key}" if key in facts else key: value for key, value in trial.user_attrs.items()}
    return {**facts, **attributes, **as_settings(trial.params)}
