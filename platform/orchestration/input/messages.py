"""Messages for errors in a space, with the file, the key and what is allowed."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from branchwise.analysis.console import printable, shortened
from branchwise.orchestration.errors import UserError

MAX_VALUE = 120  # characters of what the user wrote, where a message repeats it


def brief(value: object, quoted: bool = True) -> str:
    """A value that the user wrote, for a message: its middle is omitted when it is long."""
    return shortened(printable(repr(value) if quoted else str(value)), MAX_VALUE)


def first_names(names: Sequence[str], limit: int = 4) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def validated(file: str, model: type[BaseModel], tree: dict[str, Any]) -> Any:
    """`tree` as a `model`. Raises UserError."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{file}: {'; '.join(sentences(error, model, tree))}") from error


def sentences(error: ValidationError, model: type[BaseModel], tree: Mapping[str, Any]) -> list[str]:
    """The errors, a message for each key.

    An unknown key explains an adjacent missing key, which is omitted.
    """
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    unknown = {item["loc"][:-1] for item in items if item["type"] == "extra_forbidden"}
    messages: dict[str, str] = {}
    for item in items:
        if item["type"] != "missing" or item["loc"][:-1] not in unknown:
            messages.setdefault(dotted(item["loc"], tree, item["type"] in ("missing", "extra_forbidden")),
                            describe_error(item, model, tree))  # fmt: skip
    return list(messages.values())


def describe_error(error: Any, model: type[BaseModel], tree: Mapping[str, Any]) -> str:
    """A pydantic error: the failing key, what is allowed, and the value unless it is a section."""
    where = dotted(error["loc"], tree, missing=error["type"] == "missing")
    if error["type"] == "extra_forbidden":
        return unknown_key(where, keys_at(model, where.split(".")[:-1]))
    if error["type"] == "missing":
        return f"{where}: missing; it has no default"
    if error["type"] == "union_tag_invalid":
        # pydantic names the key in quotes, or the function that reads it: `kind()`.
        key, tag = error["ctx"]["discriminator"].strip("'()_"), error["ctx"]["tag"]
        return f"{where}.{key}: {brief(tag)} is not allowed: it must be one of {error['ctx']['expected_tags']}"
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"] and error["type"] == "value_error":  # of the complete space: it names its keys
        return str(message)
    value = "" if isinstance(error["input"], dict) else f", not {brief(error['input'])}"
    return f"{where}: {message[0].lower()}{message[1:]}{value}"


def unknown_key(where: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(where.rpartition(".")[2], allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{brief(where, quoted=False)}: unknown key{hint} Allowed here: {', '.join(allowed)}"


def dotted(location: Sequence[str | int], tree: Any, missing: bool = False) -> str:
    """The dotted key of a pydantic location, without the tags it inserts for unions.

    The last part may be `missing`.
    """
    keys = []
    for part in location:
        valid_keys = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, Mapping) else ()
        if part in valid_keys:
            tree = tree[part]
            keys.append(str(part))
    return ".".join([*keys, str(location[-1])] if missing else keys) or "space"


def keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys allowed in the section at `path`."""
    models = [model]
    for part in path:
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if annotations:  # else a key of a mapping whose values are models
            models = [match for annotation in annotations for match in _models_in(annotation)]
    return list(dict.fromkeys(field.alias or name for m in models for name, field in m.model_fields.items()))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
