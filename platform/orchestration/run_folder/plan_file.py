"""The name, resolved space and plan of a run, written once and relied on by each resume."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import read_tree
from branchwise.orchestration.run_folder.lock import active_lease_owner
from branchwise.orchestration.run_folder.teachers import SweepTeacher, required_teachers
from branchwise.orchestration.run_folder.trust import is_trusted, record, refuse_untrusted, untrusted
from branchwise.orchestration.space import Space, parse_space
from branchwise.run_files.layout import PLAN, SPACE
from branchwise.run_files.sealing import DamagedError, sha256
from branchwise.trainables import BUILT_IN, DEFAULT, Cohort
from branchwise.trainables.contract import declared
from branchwise.trainables.runtime.run_folder import NAME_PATTERN, NOT_RUNS, RunFolder, runs
from branchwise.trainables.runtime.storage import Storage

LIST_HINT = "`branchwise list` names those there are"  # where a run is missing


def new_run(storage: Storage, space: Space, name: str | None, taken: Collection[str] = ()) -> RunFolder:
    """The folder of a new run: `name`, or the space's name with a number.

    The number is the first free one that is not among `taken`.

    Raises UserError when the name is taken.
    """
    if name is not None:
        run = run_named(storage, name, "--name")
        if run.taken():
            raise UserError(
                f"--name {name}: {run.root} exists already; choose another, or continue it: branchwise resume {name}"
            )
        return run
    number = 1
    while True:
        run = RunFolder(storage, space.name if number == 1 else f"{space.name}-{number}")
        if run.name not in taken and not run.taken() and not active_lease_owner(run.files):
            return run
        number += 1


def run_named(storage: Storage, name: str, option: str) -> RunFolder:
    """The folder of the run called `name`, which cannot be outside the storage.

    Raises UserError naming `option`.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise UserError(f"{option} {name}: a name is made of lower-case letters, digits, '.', '_' and '-', 64 at most")
    if name in NOT_RUNS:
        raise UserError(f"{option} {name}: this folder of a storage is not for runs; choose another name")
    return RunFolder(storage, name)


def started_run(storage: Storage, name: str, option: str, hint: str | None = None) -> RunFolder:
    """The folder of the run called `name`, which has a plan.

    Raises UserError naming `option`, with a `hint` at the runs that there are, or their names.
    """
    run = run_named(storage, name, option)
    if not run.has_plan():
        if hint is None:
            hint = f"there are: {', '.join(other.name for other in runs(storage)) or 'none'}"
        raise UserError(f"{option} {name}: no such run in {storage.root}{f'; {hint}' if hint else ''}")
    return run


def write_plan(
    run: RunFolder, space: Space, cohorts: Sequence[Cohort], extends: Mapping[str, Any] | None = None
) -> None:
    """Write what a resume and the analysis need.

    This is the resolved space, its cells and columns, who trains with whom and on which teacher,
    and the run that it extends.
    """
    content = space.resolved().encode()
    run.write_space(content)
    run.write_plan(
        {
            "space_sha256": sha256(content),
            "space_folder": space.folder,
            "data_sha256": data_of(space),
            **space.design.outline(space.method),
            "extends": extends,
            **declared(space.module),
            "teachers": [teacher.usage() for teacher in required_teachers(space)],
            "published": space.published.model_dump(mode="json") if space.published else None,
            "cohorts": {cohort.name: [arm.name for arm in cohort.arms] for cohort in cohorts},
        }
    )
    record(run, run.read_originals())


def read_plan(option: str, run: RunFolder, trust: bool, dry_run: bool) -> tuple[Space, Mapping[str, Sequence[str]]]:
    """Read what `write_plan` wrote: the space, and the arms of each cohort.

    A dry run imports no user code; it notes in the space what a run that this user did not start
    would do.

    Raises UserError for an invalid plan, or when this user neither started the run nor gives
    `trust`.
    """
    originals, plan = _read_files(run)
    if not dry_run:
        if not trust:
            refuse_untrusted(option, run, originals)
        record(run, originals)
    _refuse_unreadable(option, run, originals, plan["space_folder"])
    space = parse_space(run.space_path(), originals[SPACE], folder=plan["space_folder"], imports=not dry_run)
    if dry_run and not trust and not is_trusted(originals):
        notice = f"{untrusted(run, originals)} It asks for --trust"
        space = replace(space, notices=(*space.notices, notice))
    return space, plan["cohorts"]


def _refuse_unreadable(option: str, run: RunFolder, originals: Mapping[str, bytes], folder: str) -> None:
    """Refuse a run whose code is in a folder that this user may not read."""
    trainable = read_tree(run.space_path(), originals[SPACE], ()).get("trainable", DEFAULT)
    if not folder or (trainable in BUILT_IN and trainable != "command"):
        return
    try:
        with os.scandir(folder):
            os.stat(os.path.join(folder, os.curdir))
    except PermissionError as error:
        raise UserError(
            f"{option} {run.name}: {folder}, where its code lies, cannot be read: {error.strerror}; ask its owner for "
            "access, or start a run of your own from a copy"
        ) from error
    except OSError:
        pass  # the trainable reports missing files


def read_space_like(run: RunFolder, space: Space) -> Space | None:
    """The space of another run; None unless it has the trainable of `space`, which is imported.

    Raises UserError when its files cannot be relied on.
    """
    originals, _ = _read_files(run)
    name = read_tree(run.space_path(), originals[SPACE], ()).get("trainable", DEFAULT)
    return parse_space(run.space_path(), originals[SPACE], folder=space.folder) if name == space.trainable else None


def _read_files(run: RunFolder) -> tuple[Mapping[str, bytes], Any]:
    """The files that a run depends on, and its plan. Raises UserError if they are not reliable."""
    refusal = "the run cannot be resumed; start another one with --space"
    try:
        content = run.read_plan_file()
        plan: Any = run.parse_plan(content)
        space = run.read_space()
    except (DamagedError, FileNotFoundError) as error:
        raise UserError(f"{error}: {refusal}") from error
    if plan.get("space_sha256") != sha256(space):
        raise UserError(f"{run.space_path()}: changed since this run started: {refusal}")
    originals = {PLAN: content, SPACE: space}
    return originals, {"space_folder": "", "cohorts": {}, **plan}


def data_of(space: Space) -> str | None:
    """The SHA-256 of the data of `space`, or of its data sets, if the trainable reports it.

    Raises UserError when they are missing.
    """
    try:
        available = [space.module.data_sha256(item.on(space.method).spec) for item in space.design.data_sets]
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    if len(available) == 1 or not any(available):
        return available[0]
    return sha256(repr(available).encode())


def refuse_other_data(run: RunFolder, space: Space) -> None:
    """Refuse data other than those that the run started with; raise UserError."""
    sealed = run.read_plan().get("data_sha256")
    if sealed is not None and data_of(space) != sealed:
        raise UserError(
            f"{run.space_path()}: the data are not those that this run started with (SHA-256 {sealed[:12]}...); put "
            "them back, or start another run with --space"
        )


def refuse_other_teachers(run: RunFolder, teachers: Sequence[SweepTeacher]) -> None:
    """Refuse to resume if the remaining arms would learn from other teachers than before.

    Raises UserError.
    """
    planned = {teacher["key"] for teacher in run.read_plan().get("teachers", ())}
    if planned != {teacher.key for teacher in teachers}:
        raise UserError(
            f"{run.space_path()}: asks for other teachers than when this run started: the run cannot be resumed; start "
            "another one with --space"
        )
