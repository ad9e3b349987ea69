"""Spaces from Python: arguments of `ablate` and `search` as the YAML of the command line."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.api.errors import InputError
from branchwise.orchestration.input.yaml_file import to_yaml
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.runtime import session

FORM_KEYS = {"off", "levels", "reference", "full", "label"}  # of a component as a space file has it
Function = Callable[..., Any] | str


def build_space(
    function: Function,
    *,
    caller: str,
    name: str | None,
    metric: str,
    direction: str,
    settings: Mapping[str, Any] | None,
    outcomes: Mapping[str, Any] | None,
    scale: str | None,
    value_range: Sequence[float | None] | None,
    design: Mapping[str, Any],
    resources: Mapping[str, Any],
) -> Space:
    """Build and check the space of a function.

    Raises:
        UserError: An argument is not allowed; the message calls the space file `caller`.
        InputError: The function cannot be named.
    """
    trainable, folder, source = locate(function)
    declared = {"metric": metric, "direction": direction, "scale": scale, "range": value_range}
    options = {key: plain(value) for key, value in declared.items() if value is not None}
    if outcomes:
        options["outcomes"] = {
            key: {"direction": value} if isinstance(value, str) else plain(value) for key, value in outcomes.items()
        }
    if source:
        options["source"] = source
    tree = {
        "name": name or default_name(trainable),
        "trainable": trainable,
        "function": options,
        **({"settings": plain(settings)} if settings else {}),
        "design": plain(design),
        **({"resources": plain(resources)} if resources else {}),
    }
    return parse_space(caller, to_yaml(tree).encode(), folder=folder)


def ablation_space(
    function: Function,
    *,
    components: Mapping[str, Any],
    seeds: int,
    first_seed: int,
    claims: Sequence[str],
    outcomes: Mapping[str, Any] | None,
    design: str,
    alpha: float,
    across: Mapping[str, Any] | None,
    **declared: Any,
) -> Space:
    """Build the space of an ablation; `declared` is passed to `build_space`."""
    if isinstance(claims, str):
        raise InputError(f"claims: must be a list of texts, such as [{claims!r}]")
    tree = {
        "kind": design,
        "components": component_trees(components),
        "outcomes": ["value", *(outcomes or {})],
        "blocks": seeds,
        "first_seed": first_seed,
        "claims": list(claims),
        "alpha": alpha,
        **({"across": across} if across is not None else {}),
    }
    return build_space(function, outcomes=outcomes, design=tree, **declared)


def resources(cpus: int, gpus: float, max_concurrent: int | None) -> dict[str, Any]:
    """Return the section `resources` of a space."""
    limit = {} if max_concurrent is None else {"max_concurrent": max_concurrent}
    return {"cpus_per_trial": cpus, "gpus_per_trial": float(gpus), **limit}


def locate(function: Function) -> tuple[str, str, str]:
    """Return a function's name in a space, its import folder, and its source if not importable.

    A function of an importable module is named `module:function`. One that a notebook, a script or another function
    defines is registered in this process as `session:function`.
    """
    if isinstance(function, str):
        if ":" not in function:
            raise InputError(f"function {function!r}: must be a function, or its name as 'module:function'")
        return function, str(Path.cwd()), ""
    if not callable(function):
        raise InputError(f"function {function!r}: must be a function, or its name as 'module:function'")
    module, qualified = getattr(function, "__module__", "") or "", getattr(function, "__qualname__", "")
    file = getattr(sys.modules.get(module), "__file__", None)
    if module != "__main__" and file and qualified.isidentifier() and _importable(module, qualified, function):
        return f"{module}:{qualified}", str(Path(file).resolve().parents[module.count(".")]), ""
    name = re.sub(r"\W", "", getattr(function, "__name__", "")) or "function"
    return session.register(function, name), str(Path.cwd()), session.source_text(function)


def _importable(module: str, name: str, function: Any) -> bool:
    try:
        return getattr(importlib.import_module(module), name, None) is function
    except ImportError:
        return False


def default_name(trainable: str) -> str:
    """Return a run's name derived from its function's: lower-case letters, digits and hyphens."""
    name_parts = re.findall(r"[a-z0-9]+", trainable.rpartition(":")[2].lower())
    return "-".join(name_parts)[:60] or "study"


def component_trees(components: Mapping[str, Any]) -> dict[str, Any]:
    """Return `design.components` from the settings without each component.

    `{"ema": {"ema": False}}` means that settings without `ema` have `ema: False`.
    """
    if not isinstance(components, Mapping):
        raise InputError(
            f"components: must be a dict of name and settings without the component, not {type(components).__name__}"
        )
    trees = {}
    for name, value in components.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"components: {name}: must be a dict of the settings without it, such as {{{name!r}: False}}; "
                f"or {{'levels': ..., 'reference': ...}}"
            )
        is_form = set(value) <= FORM_KEYS and any(isinstance(value.get(key), Mapping) for key in ("off", "levels"))
        trees[name] = dict(value) if is_form else {"off": dict(value)}
    return trees


def plain(value: Any) -> Any:
    """Return Python's values instead of NumPy's and of tuples, so that YAML can hold them."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or (isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins"):
        return value
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, torch's tensors
        return plain(value.tolist())
    raise InputError(f"{value!r}: must be a number, text, True, False, None, or a list or dict of these")
