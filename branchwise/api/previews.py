"""Previews of runs in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.planning.plan_text import describe

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Preview of a run; `print` it.

    Attributes:
        name: Name of the run.
        arms: A row per planned arm: arm, cell, block, seed. Empty for a search.
        seconds: Expected duration, 0 if not yet measured.
        space: The space as YAML.
        text: The plan in lines.
    """

    name: str
    arms: pd.DataFrame
    seconds: float
    space: str
    text: str

    def __repr__(self) -> str:
        return self.text


def preview(prepared: Plan) -> Preview:
    import pandas as pd

    rows = [{"arm": a.name, "cell": a.cell, "block": a.block, "seed": a.seed} for a in prepared.arms]
    lines = [("run", prepared.run.name), *describe(prepared), ("results", prepared.run.root)]
    width = max(len(key) for key, _ in lines)
    return Preview(
        name=prepared.run.name,
        arms=pd.DataFrame(rows, columns=["arm", "cell", "block", "seed"]),
        seconds=prepared.arm_seconds,
        space=prepared.space.resolved(),
        text="\n".join(f"{key:<{width}}  {text}" for key, text in lines),
    )
