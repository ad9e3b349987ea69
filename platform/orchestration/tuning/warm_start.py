"""Warm start from earlier runs: arms that the search could have suggested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.designs.tuning import CellSearch
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.run_folder.plan_file import read_space_like, started_run
from branchwise.orchestration.run_folder.tables import records
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.settings import setting
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True, kw_only=True)
class WarmStartTrial:
    """A finished arm of another run: its cell, settings and results."""

    source: str  # RUN/ARM
    cell: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]


def earlier_arms(space: Space, storage: Storage) -> tuple[WarmStartTrial, ...]:
    """The arms of the runs in `design.warm_start` that differ from this space only in its knobs.

    Raises UserError for a run that is missing or has no such arm.
    """
    if not space.has_trainable:
        return ()  # a dry run cannot tell which of them it could use
    searches = space.design.searches()
    trials: list[WarmStartTrial] = []
    for name in dict.fromkeys(name for search in searches for name in search.options.warm_start):
        run = started_run(storage, name, "design.warm_start:", hint="")
        usable = list(_usable(space, searches, run))
        if not usable:
            raise UserError(
                f"design.warm_start: {name}: none of its finished arms has settings that this space could try; "
                "everything outside design.knobs must be equal"
            )
        trials += usable
    return tuple(trials)


def _usable(space: Space, searches: Sequence[CellSearch], run: RunFolder) -> Iterator[WarmStartTrial]:
    reference = read_space_like(run, space)
    if reference is None:
        return
    for arm, record in records(run).items():
        if record is None or record["status"] != "done":
            continue
        settings = reference.method.patched(record["patch"])
        for search in searches:
            chosen = _chosen(space.method, search, settings)
            if chosen is not None:
                yield WarmStartTrial(
                    source=f"{run.name}/{arm}", cell=search.cell, settings=chosen, values=record["values"]
                )


def _chosen(method: Method, search: CellSearch, settings: BaseModel) -> dict[str, Any] | None:
    """The knobs' values that make the search's cell into `settings`; None if none exist."""
    chosen: dict[str, Any] = {}
    for key, knob in search.knobs.items():
        if all(chosen.get(other) == value for other, value in knob.when.items()):
            chosen[key] = setting(settings, key)
            if not knob.holds(chosen[key]):
                return None
    return chosen if method.patched({**search.patch, **chosen}) == settings else None
