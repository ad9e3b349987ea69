"""The available trackers, found by their files and imported on use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.tracking.scalars import Record
from branchwise.trainables.runtime.run_folder import RunFolder

ALWAYS = "tensorboard"
TRACKERS = sorted({file.stem for file in (Path(__file__).parent / "trackers").glob("[a-z]*.py")} - {ALWAYS})

Log = Callable[[RunFolder, str, Record], None]


def registered(name: str) -> str:
    """Return the name of a tracker; raise ValueError for any other name."""
    if name not in TRACKERS:
        raise ValueError(f"must be one of {', '.join(TRACKERS)}")
    return name


def log_of(name: str) -> Log:
    """The function that reports an arm to the tracker."""
    log: Log = _module(name).log
    return log


def refuse_missing(names: Sequence[str]) -> None:
    """Check that the trackers that the space names are installed; raise UserError otherwise."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"tracking: {name} is not installed; pip install {_module(name).PACKAGE}, or leave it out")


def _module(name: str) -> Any:
    return importlib.import_module(f"branchwise.orchestration.tracking.trackers.{name}")
