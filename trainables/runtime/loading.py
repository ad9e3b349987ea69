"""Find a trainable by its name in a space: a built-in name, a module, or a function."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from typing import Any

from branchwise.trainables.columns import LOSS_CURVES, OUTCOME
from branchwise.trainables.contract import GO_TOGETHER, Trainable
from branchwise.trainables.runtime import session
from branchwise.trainables.runtime.settings import section_of

BUILT_IN = {
    "dash": "branchwise.trainables.dash",
    "surface": "branchwise.trainables.surface",
    "command": "branchwise.trainables.command",
}
DEFAULT = "dash"  # of a space that names no trainable
FUNCTION = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
_searched: list[str] = []  # folders of spaces, where modules are searched for
FUNCTIONS = "branchwise.trainables.function"  # makes a trainable of a function


def _settings_without_components(spec: Any) -> str:
    """Arms train together whose settings differ only in the section that components switch."""
    return str(spec.model_dump_json(exclude={section_of(type(spec))}))


DEFAULTS: dict[str, Any] = {
    "BASELINES": {},
    "COLUMNS": OUTCOME,
    "LINES": (LOSS_CURVES,),
    "WORKERS": True,
    "describe": lambda spec: (),
    "cohort_key": _settings_without_components,
    "check_inputs": lambda spec: None,
    "data_sha256": lambda spec: None,
    "check_code": lambda spec: None,
    "estimate_cohort": lambda specs, threads: 0.0,
    "measured_at": lambda spec: (),
    "block_patch": lambda spec, seed: {},
    "comparability_key": lambda spec: "",
    "cohort_cost": lambda specs, on, workers: None,
    "teacher_cost": lambda spec, on, workers, trained: None,
    "describe_models": lambda spec: (),
    "measure_rates": lambda spec, device, threads, seconds: (),
    "teacher_key": lambda spec: None,
    "teacher_workers": lambda spec: 1,
    "MEASURED": (),
    "MEASURED_ALONE": {},
    "features_key": lambda spec: None,
    "missing_files": lambda spec: (),
}


def load_trainable(
    name: str, settings: Mapping[str, Any] | None = None, folder: str = "", imports: bool = True
) -> Trainable:
    """Return the trainable called `name`.

    Names are `dash`, `surface`, `command`, `package.module`, `package.module:function`, or `session:function`
    for a function registered by this process.

    `settings` are the space's keys, without those of the platform: some trainables take their columns from them.
    `folder` is where the space lies; what lies there can be imported too. Without `imports` it is not put on Python's
    path, and `name` must be built in. Raises ModuleNotFoundError, AttributeError or
    TypeError saying what is missing, and ValueError where the settings are no use to the trainable.
    """
    if name.startswith(session.PREFIX):
        return _of_function(session.lookup(name), name, json.dumps(settings or {}))
    resolved = resolve_folder(folder)
    path, colon, function = BUILT_IN.get(name, name).partition(":")
    module = import_from(path, None if name in BUILT_IN else resolved)
    if colon:
        if not callable(getattr(module, function, None)):
            raise AttributeError(f"{module.__file__} has no function {function!r}")
        return _of_function(getattr(module, function), name, json.dumps(settings or {}))
    if resolved is not None:
        _searched[:] = dict.fromkeys([*_searched, str(resolved)])
        if imports and _mentions_function(settings or {}):
            _append(resolved)
    if hasattr(module, "from_settings"):
        return _of_settings(module.from_settings, json.dumps(settings or {}), resolved)
    return _completed(module)


def _mentions_function(settings: Any) -> bool:
    """Whether settings hold the path of a user's function, which the trainable will import."""
    if isinstance(settings, Mapping):
        return any(map(_mentions_function, settings.values()))
    return isinstance(settings, str) and FUNCTION.match(settings) is not None


# Remembered, so that equal settings have the same Spec.
@lru_cache(maxsize=64)
def _of_settings(from_settings: Callable[..., Any], settings: str, folder: Path | None) -> Trainable:
    return _completed(from_settings(json.loads(settings), folder))


@lru_cache(maxsize=64)
def _of_function(function: Callable[..., Any], name: str, settings: str) -> Trainable:
    return _completed(importlib.import_module(FUNCTIONS).FunctionTrainable(function, name, json.loads(settings)))


def _completed(result: Any) -> Trainable:
    """Fill in the defaults of a trainable; raise AttributeError if a part is incomplete."""
    given = dir(result)
    for member, others in GO_TOGETHER.items():
        if member not in given or getattr(result, member) is DEFAULTS[member]:  # a module that was completed before
            continue
        if missing := [other for other in others if other not in given]:
            raise AttributeError(f"it has {member} and lacks {', '.join(missing)}")
    for attribute, default in DEFAULTS.items():
        if attribute not in given:  # what is computed from the settings is not requested yet
            setattr(result, attribute, default)
    trainable: Trainable = result
    return trainable


def import_from(path: str, folder: Path | None) -> Any:
    """Import the module at a dotted path, which may lie in `folder`.

    Raises:
        ModuleNotFoundError: There is no such module; the message names the places searched.
    """
    if folder is not None:
        _append(folder)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports a missing one
        places = [str(folder)] if folder is not None else []
        raise ModuleNotFoundError(
            f"there is no module {error.name!r} in {' or '.join([*places, 'PYTHONPATH or the installed packages'])}",
            name=error.name,
        ) from error


def _append(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: nothing there may shadow what is installed


def find_module(path: str) -> Path | None:
    """Return the file of the module at a dotted path importing nothing; None if missing.

    `importlib.util.find_spec` would import the packages on the way. The module may lie next to a space.
    """
    places: Any = [*sys.path, *_searched]
    parts = path.split(".")
    for number in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def check_exists(name: str, folder: str) -> None:
    """Check that a trainable's module or function exists, as far as shows without importing it.

    Raises:
        ModuleNotFoundError: There is no such module.
        AttributeError: The module's source has no such function.
    """
    module, _, function = name.partition(":")
    root = resolve_folder(folder)
    spec = None
    for path in accumulate(module.split("."), "{}.{}".format):
        if path in sys.modules:  # also os.path, which is in no package
            spec = sys.modules[path].__spec__
            if spec is None:
                return
        elif spec is None:  # the first part: finders of editable installs know it, too
            spec = importlib.util.find_spec(path) or PathFinder.find_spec(path, [str(root)] if root else [])
        else:
            spec = PathFinder.find_spec(path, list(spec.submodule_search_locations or ()))
        if spec is None:
            raise ModuleNotFoundError(
                f"there is no module {path!r} in {root or 'the current folder'}, PYTHONPATH or the installed packages"
            )
    if function and spec is not None and spec.origin and not may_define(Path(spec.origin), function):
        raise AttributeError(f"{spec.origin} has no function {function!r}")


def resolve_folder(folder: str) -> Path | None:
    """The space's folder on this machine: the folder itself, or the copy sent to a cluster."""
    if not folder:
        return None
    path = Path(folder)
    if os.path.isdir(path):  # False, too, where another user's folders cannot be read
        return path
    copies = (Path(item) / path.name for item in sys.path if item)
    return next((copy for copy in copies if os.path.isdir(copy)), path)


def may_define(file: Path, name: str) -> bool:
    """Whether a module's source defines a name; also true where only running it would tell."""
    if file.suffix != ".py":
        return True
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    names = {"__file__", "__name__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name):
            names.add(node.id)
    return not names.isdisjoint({name.partition(".")[0], "*", "__getattr__", "globals", "exec", "setattr", "vars"})
