"""Carrying out a plan in a Python session: on its Ray, with its signals and its logging."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from rich.console import Console

from branchwise.analysis.console import make_console
from branchwise.api.errors import InputError, RunError
from branchwise.api.study import Study, load
from branchwise.orchestration import interrupts
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.planning.plan import Plan, blocking_issues, plan_new, plan_resumed
from branchwise.orchestration.run_folder.plan_file import run_named
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.storage import Storage


def run_space(space: Space, name: str | None, storage: str, address: str | None, progress: bool) -> Study:
    with open_storage(storage) as storage_handle:
        if name is not None and run_named(storage_handle, name, "name").has_plan():
            return execute(_resumed(space, storage_handle, name), address, progress)
        return execute(plan_new(space, storage_handle, name), address, progress)


def _resumed(space: Space, storage: Storage, name: str) -> Plan:
    """The plan of the run called `name`, which must have been started with the same space."""
    run = run_named(storage, name, "name")
    stored, expected = run.read_space().decode(), space.resolved()
    if stored != expected:
        raise InputError(
            f"name {name!r}: {run.root} is a run with other {_difference(stored, expected)}; choose another name, or "
            "repeat the call that started it"
        )
    return plan_resumed(storage, name)


def _difference(stored: str, expected: str) -> str:
    """The keys in which two spaces differ, as a short text."""
    import yaml

    from branchwise.analysis.records.comparing import flatten

    old, new = yaml.safe_load(stored), yaml.safe_load(expected)
    if old.get("function", {}).get("source", "") != new.get("function", {}).get("source", ""):
        return "code"
    before, after = flatten(old), flatten(new)
    keys = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return f"settings: {', '.join(keys)}"


def execute(prepared: Plan, address: str | None, progress: bool) -> Study:
    if obstacle := blocking_issues(prepared) if address is None else "":
        raise InputError(obstacle)
    local = prepared.run.files.local
    if local is None:
        raise InputError("storage: must be a folder of this machine; use the command line for object stores")
    if prepared.is_complete:
        return load(local)
    from branchwise.orchestration.execution.sweep import run_sweep

    console = make_console() if progress else Console(quiet=True)
    console.print(f"{prepared.run.name}: {prepared.total} arms, results in {prepared.run.root}", highlight=False)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C and "interrupt kernel" end the run in order; signals reach the main thread only.
    signals = interrupts.coalesce_interrupts() if in_main_thread else contextlib.nullcontext()
    with signals, _restored_logging():
        outcome = run_sweep(prepared, address, console)
    rerun = "the same call, or branchwise.resume"
    if outcome.exit_status.interrupted:
        raise KeyboardInterrupt(f"{prepared.run.name} was interrupted; finished arms are kept, and {rerun} resumes it")
    if outcome.summary is None:
        raise RunError(f"{prepared.run.name}: {outcome.exit_status.message}; {rerun} resumes it")
    study = load(local)
    if outcome.limit:
        warnings.warn(f"{prepared.run.name} ended at a limit: {outcome.limit}; {rerun} goes on", stacklevel=4)
    failed = sum(number for status, number in outcome.counts.items() if status not in ("done", "stopped"))
    if failed:
        first = next((text for text in study.arms["error"] if text), "")
        warnings.warn(f"{failed} of {prepared.total} arms have no value; the first error: {first}", stacklevel=4)
    return study


@contextlib.contextmanager
def _restored_logging() -> Iterator[None]:
    """The caller's logging set-up, which a run replaces, is put back afterwards."""
    loggers = [logging.getLogger(), logging.getLogger("ray")]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        logging.captureWarnings(False)


def check_source(prepared: Plan, source: str, name: str) -> None:
    """Refuse a session's function other than that at the run's start; raise InputError."""
    options = getattr(prepared.space.spec, "function", None)
    if source and getattr(options, "source", "") != source:
        raise InputError(f"function: its code is not that of the run {name}; give the code of the run")
