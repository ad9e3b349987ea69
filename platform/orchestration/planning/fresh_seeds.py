"""Seeds that no run of a storage has used: a confirmation uses only those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from branchwise.analysis.declared.across import SEED_STRIDE, data_sets_of
from branchwise.orchestration.designs.tuning import FRESH_SEED
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import read_tree
from branchwise.orchestration.space import SPACE_KEYS, Space
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.run_folder import RunFolder, runs
from branchwise.trainables.runtime.storage import Storage


def first_fresh_seed(storage: Storage, space: Space, first: int, blocks: int) -> int:
    """Return the first of `blocks` consecutive seeds, from `first` on, that are fresh.

    No run with equal settings has used a fresh seed.
    """
    settings = _settings(read_tree(space.method.file, space.resolved().encode()))
    used = {seed for run in runs(storage) for seed in _seeds(run, settings)}
    while taken := used.intersection(range(first, first + blocks)):
        first = max(taken) + 1
    return first


def confirmations_of(storage: Storage, name: str) -> list[str]:
    """Return the names of the runs that confirm the run of this name, or what it confirms."""
    confirmed = {run.name: result for run in runs(storage) if (result := _confirmed_by(run))}
    root = _root(name, confirmed)
    return [run for run in confirmed if _root(run, confirmed) == root]


def _root(name: str, confirmed: Mapping[str, str]) -> str:
    for _ in confirmed:  # a plan that was written by hand may refer to itself
        name = confirmed.get(name, name)
    return name


def _confirmed_by(run: RunFolder) -> str:
    """The name of the run that this run confirms, or empty."""
    try:
        extends = run.read_plan().get("extends") or {}
    except (DamagedError, OSError):
        return ""
    return str(extends["run"]) if extends.get("confirmation") else ""


def _seeds(run: RunFolder, settings: Mapping[str, Any]) -> Iterator[int]:
    """The seeds of a run that differs only in its design."""
    try:
        tree = read_tree(run.space_path(), run.read_space())
        plan = run.read_plan()
    except (DamagedError, KeyError, OSError, UserError):
        return  # it cannot be read, and so it cannot be analyzed
    design = tree.get("design") or {}
    if _settings(tree) != settings or not isinstance(design, Mapping):
        return
    first = int(design.get("first_seed", 0))
    if "knobs" in design:
        seed = int(design.get("seed", 0))
        yield from range(seed, seed + int(design.get("seeds", 1)))
        first += FRESH_SEED
    across = data_sets_of(plan.get("across"))
    for number in range(len(across.levels) if across else 1):
        yield from range(first + number * SEED_STRIDE, first + number * SEED_STRIDE + len(plan["blocks"]))


def _settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the arms of a space share: its trainable and that trainable's settings."""
    return {key: value for key, value in tree.items() if key not in SPACE_KEYS or key == "trainable"}
