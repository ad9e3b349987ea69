"""Parts of all commands: refused arguments, and JSON on stdout for `--json`.

It imports only the standard library, so that help is quick.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TextIO

SCHEMA_VERSION: Final = 1  # of the documents of `--json`
JSON_HELP = "print one JSON document on stdout, and nothing else there (`branchwise schema` has its schema)"


class ArgumentsError(Exception):
    """The arguments are not allowed; the message states why."""


class CommandParser(argparse.ArgumentParser):
    """Parser that raises ArgumentsError instead of an exit; options are not abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise ArgumentsError(f"{message} (see --help)")


def wants_json(arguments: Sequence[str] | None) -> bool:
    """Return whether `--json` is among the arguments, also where they cannot be read otherwise."""
    return "--json" in (sys.argv[1:] if arguments is None else arguments)


def refuser(program: str | None, arguments: Sequence[str] | None) -> Callable[[str], int]:
    """Return a function that prints a message as this command's error and returns exit code 2."""

    def refuse(message: str) -> int:
        print_error(program or "error", message, 2, as_json=wants_json(arguments))
        return 2

    return refuse


def print_error(program: str, message: str, code: int, *, as_json: bool) -> None:
    """Print an error on stderr; with `--json` also as a document on stdout."""
    if sys.stderr is not None:  # where the caller has closed it, print would write to stdout
        print(f"{program}: {message}", file=sys.stderr)
    if as_json:
        print_document({"error": message, "exit_code": code})


def print_document(document: Mapping[str, Any]) -> None:
    """Print a document as JSON on stdout with its schema version; NaN and infinity become null."""
    write_json({"schema_version": SCHEMA_VERSION, **document}, sys.stdout, indent=1)


def write_json(document: Mapping[str, Any], stream: TextIO | None, indent: int | None = None) -> bool:
    """Write JSON and a line feed at once. A closed reader ends the output, not the command.

    Returns:
        Whether somebody still reads.
    """
    if stream is None:  # closed by the caller
        return False
    try:
        stream.write(f"{json.dumps(finite(document), allow_nan=False, indent=indent)}\n")
        stream.flush()
    except BrokenPipeError:
        with open(os.devnull, "wb") as null_file:
            os.dup2(null_file.fileno(), stream.fileno())
        return False
    return True


def finite(value: Any) -> Any:
    """Return JSON values in which NaN and infinity are None."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
