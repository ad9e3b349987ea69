"""Finished arms of other runs, reused where everything that they depend on is equal.

That is settings, seed, teacher, code, versions and machine.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from branchwise.orchestration.checkout import installed_version
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.run_folder.code import code_sha256
from branchwise.orchestration.run_folder.plan_file import read_space_like, started_run
from branchwise.orchestration.run_folder.tables import Record, records
from branchwise.orchestration.space import Space
from branchwise.trainables import Arm
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import Storage

VERSIONS = ("ray", "torch", "torchvision", "diffusers", "torch-fidelity", "optuna", "numpy", "pandas", "pyarrow")
DECIDE_NUMBERS = ("torch", "torchvision", "diffusers", "torch-fidelity", "numpy")


@dataclass(frozen=True, kw_only=True)
class ReusedArm:
    """An arm of this run, and the record that another run has of it."""

    arm: Arm
    source: str
    record: Record


def circumstances(space: Space) -> dict[str, Any]:
    """The conditions that an arm's numbers depend on next to its settings and seed."""
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in VERSIONS},
        "code_sha256": code_sha256(space),
    }


def reusable_arms(space: Space, storage: Storage, arms: Sequence[Arm], sources: Sequence[str]) -> list[ReusedArm]:
    """Find what the runs named `sources` have of these arms; of the first that has it.

    Raises:
        UserError: A source does not exist, or its arms were created by other code or on another machine.
    """
    if not space.has_trainable:
        return []  # a dry run cannot tell which of them are equal
    expected = {_key(arm.seed, arm.spec, arm.teacher): arm for arm in arms}
    conditions = circumstances(space) if sources else {}
    reusable: dict[str, ReusedArm] = {}
    for source in sources:
        run = started_run(storage, source, "reuse", hint="--list names those there are")
        other = read_space_like(run, space)
        if other is None:
            raise UserError(f"reuse {source}: its trainable is another one; it must be {space.trainable}")
        _check_circumstances(source, run.read_manifest(), conditions)
        for record in records(run).values():
            if record is None or record["status"] != "done" or record["kind"] == "search":
                continue
            arm = expected.get(_key(record["seed"], other.method.patched(record["patch"]), record["teacher"]))
            if arm is not None:
                reusable.setdefault(
                    arm.name, ReusedArm(arm=arm, source=record.get("reused_from", source), record=record)
                )
    return [reusable[arm.name] for arm in arms if arm.name in reusable]


def copy_records(run: RunFolder, reused: Sequence[ReusedArm]) -> None:
    """Write the records into the run; models and samples stay where they are."""
    for item in reused:
        if not run.has_record(item.arm.name):
            record = {key: value for key, value in item.record.items() if key != "sha256"}
            run.write_record(item.arm.name, record | item.arm.described() | {"reused_from": item.source})


def counts(reused: Sequence[ReusedArm]) -> dict[str, int]:
    """Arms taken, by the run that they are from."""
    return dict(Counter(item.source for item in reused))


def _key(seed: int, spec: Any, teacher: str | None) -> tuple[int, str, str | None]:
    return seed, spec.model_dump_json(), teacher


def _check_circumstances(source: str, manifest: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
    """Refuse a run that was created by other code, other versions or on another machine."""
    versions = manifest.get("versions") or {}
    differing = [
        f"{what} ({manifest.get(key)} there, {conditions[key]} here)"
        for key, what in (("code_sha256", "code"), ("machine", "machine"), ("python", "Python"))
        if manifest.get(key) is None or manifest.get(key) != conditions[key]
    ]
    differing += [
        f"{name} ({versions.get(name)} there, {conditions['versions'][name]} here)"
        for name in DECIDE_NUMBERS
        if versions.get(name) != conditions["versions"][name]
    ]
    if differing:
        raise UserError(
            f"reuse {source}: its arms were made with other {', '.join(differing)}; arms are reused only where all of "
            "these are equal, so run them again"
        )
