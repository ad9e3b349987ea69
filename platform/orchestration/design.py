"""Laying a space out: the arms of every block, each with the settings that tell it from the full method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.space import Space, cell_patch


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """One student to train. `components` is empty for a baseline."""

    name: str
    kind: Literal["cell", "baseline"]
    cell: str
    block: int
    seed: int
    components: Mapping[str, bool] = field(default_factory=dict)
    patch: Mapping[str, Any] = field(default_factory=dict)


def lay_out(space: Space) -> tuple[PlannedArm, ...]:
    """Every arm of the design, block by block. All arms of a block share its seed, and so their initial weights,
    data order, timesteps and noise: they differ in nothing but the patch."""
    arms = []
    for block in range(space.design.blocks):
        for cell, on in space.design.cells():
            patch = cell_patch(space.design, on)
            name = f"{cell}-b{block}"
            arms.append(PlannedArm(name=name, kind="cell", cell=cell, block=block, seed=block, components=on, patch=patch))
        for baseline in space.design.baselines:
            patch = dict(space.module.BASELINES[baseline])
            name = f"{baseline}-b{block}"
            arms.append(PlannedArm(name=name, kind="baseline", cell=baseline, block=block, seed=block, patch=patch))
    return tuple(arms)
