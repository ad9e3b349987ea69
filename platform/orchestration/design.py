"""Laying a space out: the arms of every block, each with the settings that tell it from the full method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.search_space import Search
from orchestration.space import Space, cell_patch

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


def lay_out(space: Space) -> tuple[PlannedArm, ...]:
    """Every arm of the design, block by block. All arms of a block share its seed, and so their initial weights,
    data order, timesteps and noise: they differ in nothing but the patch. A search names its arms as it goes."""
    arms: list[PlannedArm] = []
    if isinstance(space.design, Search):
        return ()
    for block in range(space.design.blocks):
        for cell, on in space.design.cells():
            arms.append(_arm("cell", cell, block, cell_patch(space.design, on), on))
        for baseline in space.design.baselines:
            arms.append(_arm("baseline", baseline, block, space.module.BASELINES[baseline], {}))
    return tuple(arms)


def _arm(kind: Kind, cell: str, block: int, patch: Mapping[str, Any], components: Mapping[str, bool]) -> PlannedArm:
    name = f"{cell}-b{block}"
    return PlannedArm(name=name, kind=kind, cell=cell, block=block, seed=block, components=components, patch=patch)
