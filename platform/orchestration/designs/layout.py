"""Laying a space out: the arms of every block, each with the settings that tell it from the full method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from branchwise.orchestration.designs.knobs import Knob, Search, Tuning
from branchwise.orchestration.space.model import Space, cell_patch

Kind = Literal["cell", "baseline", "search", "confirm"]


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """One student to train. `components` is empty for a baseline."""

    name: str
    kind: Kind
    cell: str
    block: int
    seed: int
    components: Mapping[str, bool] = field(default_factory=dict)
    patch: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """One search: of the full method, or of a cell, with the knobs that its components leave to it."""

    cell: str
    knobs: Mapping[str, Knob]
    components: Mapping[str, bool] = field(default_factory=dict)
    patch: Mapping[str, Any] = field(default_factory=dict)


def lay_out(space: Space) -> tuple[PlannedArm, ...]:
    """Every arm that is known beforehand, block by block; a search names its arms as it goes.

    All arms of a block share its seed, and so their initial weights, data order, timesteps and noise: they differ in
    nothing but the patch.
    """
    design = space.design
    arms: list[PlannedArm] = []
    if isinstance(design, Tuning):
        return ()
    for block in range(design.blocks):
        for cell, on in design.cells():
            arms.append(arm_of("cell", cell, block, cell_patch(design, on), on))
        for baseline in design.baselines:
            arms.append(arm_of("baseline", baseline, block, space.module.BASELINES[baseline]))
    return tuple(arms)


def plan_studies(space: Space) -> tuple[PlannedStudy, ...]:
    """The studies of a design that tunes; none for one that does not."""
    design = space.design
    if isinstance(design, Search):
        return (PlannedStudy(cell="search", knobs=design.space),)
    if not isinstance(design, Tuning):
        return ()
    studies = []
    for cell, on in design.cells():
        patch = cell_patch(design, on)
        knobs = {key: knob for key, knob in design.space.items() if key not in patch}
        studies.append(PlannedStudy(cell=cell, knobs=knobs, components=on, patch=patch))
    return tuple(studies)


def arm_of(
    kind: Kind,
    cell: str,
    block: int,
    patch: Mapping[str, Any],
    components: Mapping[str, bool] | None = None,
    *,
    first_seed: int = 0,
) -> PlannedArm:
    """The arm of a cell in a block. Tuned arms are named apart from those with the space's own settings."""
    name = f"{cell}-tuned-b{block}" if kind == "confirm" and components else f"{cell}-b{block}"
    seed = first_seed + block
    return PlannedArm(name=name, kind=kind, cell=cell, block=block, seed=seed, components=components or {}, patch=patch)
