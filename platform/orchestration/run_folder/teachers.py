"""The teacher that a space asks for: whether it is there, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.run_folder import Teachers
from branchwise.trainables.runtime.storage import DamagedError, Storage


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Where the teacher stands: `trained` and `evaluated` for the settings of this sweep, or not yet."""

    key: str
    trained: bool
    evaluation: Mapping[str, Any] | None


def find_teacher(space: Space, storage: Storage) -> Teacher | None:
    """The teacher that `space` asks for, None when students need none.

    Raises UserError when what the space names is not there, or when the stored teacher is damaged.
    """
    try:
        key = space.module.teacher_key(space.spec)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    if key is None:
        return None
    teachers = Teachers(storage)
    trained = teachers.trained(key)
    local = teachers.files.local
    if trained and local is not None:  # elsewhere the workers check what they fetch
        try:
            teachers.get(key, local)
        except DamagedError as error:
            raise UserError(f"{error}; delete {teachers.path(key)} to have the teacher trained again") from error
    evaluation = teachers.read_evaluation(key, space.module.evaluation_key(space.spec)) if trained else None
    return Teacher(key=key, trained=trained, evaluation=evaluation)
