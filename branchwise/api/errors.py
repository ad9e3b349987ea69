"""Exceptions of the Python API, instead of the exit codes of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input; the message names the argument, file or key, and what is allowed.

    No file was written.
    """


class RunError(RuntimeError):
    """A run ended before all its arms were done; the message states why and how to resume it."""


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise InputError instead of the errors that the command line prints, with exit code 2."""
    from branchwise.analysis.console import single_line
    from branchwise.analysis.records.comparing import IncomparableError
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.orchestration.errors import UserError

    try:
        yield
    except (UserError, RunFolderError, IncomparableError) as error:
        raise InputError(single_line(error)) from error
