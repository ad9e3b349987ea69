"""Data sets that a run repeats its ablation on: the setting that names them, their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEED_STRIDE = 1000  # between the first seeds of two data sets, so that their errors are independent


@dataclass(frozen=True, kw_only=True)
class DataSets:
    """Data sets of a single run, in the order of its tables.

    Attributes:
        name: What they are called together: `dataset`.
        levels: The name of each.
    """

    name: str
    levels: tuple[str, ...]

    @property
    def column(self) -> str:
        """The column of arms.parquet that has each arm's data set."""
        return f"across.{self.name}"

    @property
    def canonical(self) -> str:
        """The text sealed next to the claims, which are tested on each data set."""
        return f"across {self.name}: {', '.join(self.levels)}"

    def described(self) -> dict[str, Any]:
        """As a run's plan keeps them."""
        return {"name": self.name, "levels": list(self.levels)}


def arm_name(cell: str, block: int, data_set: str = "") -> str:
    """Return the name of a cell's arm in a block; `data_set` is empty for a single data set."""
    return f"{data_set}-{cell}-b{block}" if data_set else f"{cell}-b{block}"


def data_sets_of(described: Mapping[str, Any] | None) -> DataSets | None:
    """Read what `described` wrote; None of a run on a single data set."""
    return DataSets(name=described["name"], levels=tuple(described["levels"])) if described else None
