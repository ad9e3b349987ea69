"""Names of cells: the set of components that are on, written as a single name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

FULL = "full"
BASE = "base"
TEACHER = "teacher"
SCRATCH = "scratch"  # of a distillation: the baseline that learns without its teacher
DEFAULTS = "own"  # of a search's confirmation: the space's settings


def cell_name(on: Collection[str], components: Sequence[str]) -> str:
    """Return `full` (all on), `base` (none on) or the names that are on, joined by `+` in order."""
    if len(on) == len(components):
        return FULL
    return "+".join(name for name in components if name in on) or BASE


def subset(mask: int, components: Sequence[str]) -> frozenset[str]:
    """Components whose bit is set in `mask`; bit i means `components[i]`."""
    return frozenset(name for i, name in enumerate(components) if mask >> i & 1)


def factorial_cells(components: Sequence[str]) -> tuple[str, ...]:
    """Return the 2^k cells of the full factorial; the index is the bit mask.

    The first is `base`, the last `full`. Without components no cells and no effects exist.
    """
    if not components:
        return ()
    return tuple(cell_name(subset(mask, components), components) for mask in range(2 ** len(components)))
