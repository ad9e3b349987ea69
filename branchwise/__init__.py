"""Ablations as factorial designs over shared seeds: find the part of a method that did it.

    import branchwise as bw

    study = bw.ablate(train, components={"ema": {"ema": False}}, metric="accuracy", direction="maximize")
    study.effects

The names below are the public API; they are imported when they are first used, so `import branchwise` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from branchwise.api.errors import InputError, RunError
    from branchwise.api.hyperparameters import choice, integer, loguniform, uniform
    from branchwise.api.runs import ablate, follow_up, plan, resume, search
    from branchwise.api.study import Study, load, verify
    from branchwise.api.tables import across, analyze, compare

_MODULES = {
    "errors": ("InputError", "RunError"),
    "hyperparameters": ("choice", "integer", "loguniform", "uniform"),
    "runs": ("ablate", "follow_up", "plan", "resume", "search"),
    "study": ("Study", "load", "verify"),
    "tables": ("across", "analyze", "compare"),
}

__all__ = [
    "InputError",
    "RunError",
    "Study",
    "ablate",
    "across",
    "analyze",
    "choice",
    "compare",
    "follow_up",
    "integer",
    "load",
    "loguniform",
    "plan",
    "resume",
    "search",
    "uniform",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(importlib.import_module(f"branchwise.api.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'branchwise' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
