"""The teachers that a space requests: whether they exist, and their measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from branchwise.orchestration.designs.method import TeacherAddress
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import Space
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.runtime.shared_models import TeacherStore
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True, kw_only=True)
class SweepTeacher:
    """A teacher of a sweep and its state: trained or not, and evaluated under `spec` or not yet.

    A teacher of cells that evaluate in different ways is listed once for each of them.
    """

    address: TeacherAddress
    spec: Any  # settings that ask for it
    cells: tuple[str, ...]  # with students that learn from it
    blocks: tuple[int, ...] = ()  # only in these blocks; empty: in all
    trained: bool = False
    evaluation: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        return self.address.key

    def described(self) -> dict[str, Any]:
        """The part that a run's manifest keeps."""
        return {**self.usage(), **(self.evaluation or {})}

    def usage(self) -> dict[str, Any]:
        """The part that a run's plan keeps."""
        return {"key": self.key, "cells": list(self.cells)} | ({"blocks": list(self.blocks)} if self.blocks else {})


def find_teachers(space: Space, storage: Storage) -> tuple[SweepTeacher, ...]:
    """The teachers that `space` requests, as they are in `storage`; empty if it needs none.

    Raises UserError when what the space names is missing, or when a stored teacher is damaged.
    """
    return tuple(refresh(teacher, storage) for teacher in required_teachers(space))


def required_teachers(space: Space) -> tuple[SweepTeacher, ...]:
    """The teachers of the arms of `space`, by block and then by cell. Raises UserError."""
    method, design = space.method, space.design
    rows = [
        (item.first_seed, replace(cell, cell=item.row(cell.cell), patch={**item.patch, **cell.patch}))
        for item in design.data_sets
        for cell in design.cells(method)
    ]
    by_block = any(method.in_block(cell.patch, 0) != cell.patch for _, cell in rows)
    requested: dict[TeacherAddress, SweepTeacher] = {}
    for block, seed in enumerate(design.seeds() if by_block else (0,)):
        for shift, cell in rows:
            patch = method.in_block(cell.patch, seed + shift)
            address = method.teacher(patch)
            if address is None:
                continue
            teacher = requested.get(address) or SweepTeacher(address=address, spec=method.patched(patch), cells=())
            requested[address] = replace(
                teacher,
                cells=tuple(dict.fromkeys((*teacher.cells, cell.cell))),
                blocks=tuple(dict.fromkeys((*teacher.blocks, block))) if by_block else (),
            )
    return tuple(requested.values())


def refresh(teacher: SweepTeacher, storage: Storage) -> SweepTeacher:
    """The teacher in its current state. Raises UserError when it is damaged."""
    teachers = TeacherStore(storage)
    if not teachers.trained(teacher.key):
        return replace(teacher, trained=False, evaluation=None)
    local = teachers.files.local
    if local is not None:  # for other storages the workers check what they fetch
        try:
            teachers.get(teacher.key, local)
        except DamagedError as error:
            message = f"{error}; delete {teachers.path(teacher.key)} to have the teacher trained again"
            raise UserError(message) from error
    evaluation = teachers.read_evaluation(teacher.key, teacher.address.evaluation)
    if evaluation is not None and local is not None:
        try:
            teachers.get_evaluation_files(teacher.key, teacher.address.evaluation, local)
        except DamagedError:
            evaluation = None  # remeasured
    return replace(teacher, trained=True, evaluation=evaluation)
