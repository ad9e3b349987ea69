"""Functions defined in a notebook, a script that runs as `__main__`, or another function.

A worker cannot import them. They are registered by name, travel to the workers by value, and leave their source as
text.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PREFIX = "session:"  # of a trainable's name
MAX_REPR = 200  # characters of a value that are written out; a longer value is hashed

_functions: dict[str, Callable[..., Any]] = {}


def register(function: Callable[..., Any], name: str) -> str:
    """Register a function as `session:NAME` in this process, replacing one of the same name."""
    key = f"{PREFIX}{name}"
    _functions[key] = function
    return key


def is_registered(key: str) -> bool:
    """Whether this process knows a function under `session:NAME`."""
    return key in _functions


def lookup(key: str) -> Callable[..., Any]:
    """Return the function registered under `session:NAME`.

    Raises:
        ModuleNotFoundError: No function is registered; the message states how to continue its run.
    """
    if key not in _functions:
        raise ModuleNotFoundError(
            f"{key} was defined in a Python session, which has ended; call branchwise.ablate or branchwise.resume with "
            "the function, or move it into a file and name it as module:function",
            name=key,
        )
    return _functions[key]


def source_text(function: Callable[..., Any]) -> str:
    """Return a function's source, with the functions and values it uses from its own module.

    Two functions with equal text do the same, as far as Python can tell: imported modules are not followed.

    Example:
        >>> def scale(x, factor=2): return factor * x
        >>> "factor=2" in source_text(scale)
        True
    """
    sources: dict[str, str] = {}
    values: dict[str, str] = {}
    pending: list[Any] = [function]
    visited: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in visited:
            continue
        visited.add(id(current))
        sources.setdefault(getattr(current, "__qualname__", repr(current)), _source(current))
        for name, value in _referenced(current):
            if isinstance(value, types.ModuleType) or inspect.isbuiltin(value):
                continue
            if isinstance(value, types.FunctionType | type):
                if value.__module__ == function.__module__:
                    pending.append(value)
            else:
                values[name] = _value_text(value)
    return "\n".join([*sources.values(), *(f"# {name} = {text}" for name, text in sorted(values.items()))])


def _source(definition: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(definition)).strip()
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        code = getattr(definition, "__code__", None)
        content = b"" if code is None else code.co_code + repr((code.co_consts, code.co_names)).encode()
        return f"# {definition!r}, source not available, bytecode {hashlib.sha256(content).hexdigest()[:16]}"


def _referenced(definition: Any) -> Iterator[tuple[str, Any]]:
    """The outer names, with values, that a function or the methods of a class read."""
    if isinstance(definition, type):
        for member in vars(definition).values():
            if isinstance(member, types.FunctionType):
                yield from _referenced(member)
        return
    code = getattr(definition, "__code__", None)
    if code is None:
        return
    for name, cell in zip(code.co_freevars, definition.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    namespace: Mapping[str, Any] = definition.__globals__
    for name in sorted(_names(code)):
        if name in namespace:
            yield name, namespace[name]


def _names(code: types.CodeType) -> set[str]:
    """The names that code and the functions within it may look up."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {*code.co_names, *(name for nested in inner for name in _names(nested))}


def _value_text(value: Any) -> str:
    text = repr(value)
    if isinstance(value, bool | int | float | str | tuple | list | dict | type(None)) and len(text) <= MAX_REPR:
        return text
    try:
        return f"{type(value).__name__}, sha256 {hashlib.sha256(pickle.dumps(value)).hexdigest()[:16]}"
    except Exception:  # whatever its __reduce__ raises; a value that cannot be compared is named by its type
        return type(value).__name__
