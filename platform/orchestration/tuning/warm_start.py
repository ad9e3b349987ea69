"""What a search may learn from earlier runs: arms that it could itself have asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from branchwise.orchestration.designs.layout import PlannedStudy, plan_studies
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.run_folder import results
from branchwise.orchestration.space.model import Space, TunedDesign
from branchwise.trainables.runtime.settings import patched, setting
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A finished arm of another run: the study it belongs to, its settings there, and what was measured."""

    source: str  # RUN/ARM
    cell: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]


def earlier_arms(space: Space, design: TunedDesign, storage: Storage) -> tuple[Earlier, ...]:
    """The arms of the runs in `design.warm_start` that differ from this space in nothing but its knobs.

    Raises UserError for a run that is not there or has no such arm.
    """
    found: list[Earlier] = []
    for name in design.warm_start:
        run = results.run_named(storage, name, "design.warm_start:")
        if not run.exists("plan.json"):
            raise UserError(f"design.warm_start: {name}: no such run in {storage.root}")
        usable = list(_usable(space, run, name))
        if not usable:
            raise UserError(
                f"design.warm_start: {name}: none of its finished arms has settings that this space could try; "
                "everything outside design.space must be equal"
            )
        found += usable
    return tuple(found)


def _usable(space: Space, run: Storage, name: str) -> Iterator[Earlier]:
    theirs, _ = results.read_plan(run)
    if theirs.trainable != space.trainable:
        return
    studies = plan_studies(space)
    for arm, record in results.records(run).items():
        if record is None or record["status"] != "done" or "patch" not in record:
            continue
        settings = patched(theirs.spec, record["patch"])
        for study in studies:
            chosen = _chosen(space, study, settings)
            if chosen is not None:
                yield Earlier(source=f"{name}/{arm}", cell=study.cell, settings=chosen, values=record["values"])


def _chosen(space: Space, study: PlannedStudy, settings: BaseModel) -> dict[str, Any] | None:
    """The knobs' values that make the study's cell into `settings`; None when there are none."""
    chosen: dict[str, Any] = {}
    for key, knob in study.knobs.items():
        if all(chosen.get(other) == value for other, value in knob.when.items()):
            chosen[key] = setting(settings, key)
            if not knob.holds(chosen[key]):
                return None
    return chosen if patched(space.spec, {**study.patch, **chosen}) == settings else None
