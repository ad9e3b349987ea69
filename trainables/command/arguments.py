"""Placeholders in the arguments of a command: `{lr}`, a setting; `{seed}`, the block's."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from typing import Any

# Filled in by Branchwise.
BUILT_IN = {
    "seed": "the seed of the arm's block",
    "folder": "an empty folder of the arm's own",
    "checkpoints": "a folder that outlives retries and --resume",
    "config": "the config file with all settings",
}


def placeholders(text: str) -> list[str]:
    """The names that `text` has in braces. Raises ValueError for anything else in braces."""
    return [name for _, name in _parts(text) if name is not None]


def filled(text: str, values: Mapping[str, Any]) -> str:
    """`text` with each placeholder replaced by its value."""
    return "".join(literal + ("" if name is None else as_argument(values[name])) for literal, name in _parts(text))


def filled_arguments(texts: tuple[str, ...], values: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a command; empty ones are dropped.

    A placeholder that is a whole argument expands a list to its items.
    """
    arguments: list[str] = []
    for text in texts:
        parts = list(_parts(text))
        single = values[parts[0][1]] if len(parts) == 1 and parts[0][0] == "" and parts[0][1] is not None else None
        if isinstance(single, list | tuple):
            arguments += map(as_argument, single)
        else:
            arguments.append(filled(text, values))
    return [argument for argument in arguments if argument]


def as_argument(value: Any) -> str:
    """Return a value as an argument: as YAML and Hydra write it."""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    """Pieces of literal text, each with the placeholder behind it, if any."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write {{{{ and }}}} for braces themselves") from error
    for literal, name, form, conversion in parsed:
        if name is not None and (form or conversion or not all(part.isidentifier() for part in name.split("."))):
            raise ValueError(
                f"{text!r}: {{{name}}} is no placeholder: a name stands in braces; write {{{{ and }}}} for braces"
            )
        yield literal, name
