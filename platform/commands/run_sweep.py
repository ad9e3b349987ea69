"""Runs the sweep that a space file describes, and reports what each component of the method is worth."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from rich.console import Console

from branchwise.analysis.console import make_console
from branchwise.command_io import print_document, print_error, wants_json
from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import address_of
from branchwise.orchestration.execution.exit_status import classify_exit
from branchwise.orchestration.execution.sweep import SweepResult, run_sweep
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.input.sweep_commands import program_name, read_options
from branchwise.orchestration.monitoring.documents import list_document, plan_document, status_document
from branchwise.orchestration.monitoring.events import Events
from branchwise.orchestration.monitoring.status import print_list, print_state, run_to_show, watch_state
from branchwise.orchestration.monitoring.terminal import (
    plan_rows,
    print_failed,
    print_interrupted,
    print_limited,
    print_outcome,
    print_plan,
)
from branchwise.orchestration.planning.extending import Extension, parse_added, plan_extended
from branchwise.orchestration.planning.follow_up import follow_up_space
from branchwise.orchestration.planning.gpus import target
from branchwise.orchestration.planning.plan import Plan, blocking_issues, plan_new, plan_resumed
from branchwise.orchestration.space import load_space, refuse_limited_search
from branchwise.trainables.runtime.storage import Storage


def main(arguments: list[str] | None = None, name: str | None = None) -> int:
    """Run `branchwise NAME`, or this script without a name.

    Returns:
        The exit code: 0 all arms are done, 2 bad input, 3 some arms are not done, 130 interrupted. A dry run returns 2
        where the run could not start.
    """
    console = make_console()  # before another file reuses the number of a stream that the caller closed
    with interrupts.coalesce_interrupts():
        try:
            options = read_options(name, arguments)
            if options.command in ("status", "watch", "list"):
                return show_state(options, console)
            return run(options, console)
        except BaseException as error:
            exit_status = classify_exit(error, has_started=False)
            output = (
                f"{exit_status.message} before anything had started" if exit_status.interrupted else exit_status.message
            )
            print_error(program_name(name), output, exit_status.code, as_json=wants_json(arguments))
            return exit_status.code


def show_state(options: argparse.Namespace, console: Console) -> int:
    """Show a run or all of them, from any machine. Returns the exit code."""
    with open_storage(options.storage) as storage:
        if options.command == "watch":
            return 0 if watch_state(storage, options.subject, console) else 3
        if options.json:
            is_list = options.command == "list"
            document = list_document(storage) if is_list else status_document(run_to_show(storage, options.subject))
            print_document(document.model_dump())
        elif options.command == "list":
            print_list(storage, console)
        else:
            print_state(storage, options.subject, console)
    return 0


def run(options: argparse.Namespace, console: Console) -> int:
    """Plan, and run what is planned unless it is a dry run. Returns the exit code."""
    dry_run = options.command == "plan" or options.dry_run
    plan = make_plan(options, dry_run)  # planning: the space, its arms (designs), their cohorts (packing)
    on_cluster = options.command != "plan" and address_of(options.address) and not plan.target
    obstacle = "" if on_cluster else blocking_issues(plan)
    if obstacle and not dry_run:
        raise UserError(obstacle)
    as_lines = not dry_run and options.progress == "json"
    events = Events(sys.stdout if as_lines else None)
    if as_lines:
        console = make_console(sys.stderr)
    try:
        if options.json:
            print_document(plan_document(plan, obstacle).model_dump())
        else:
            print_plan(plan_rows(plan, obstacle), console)
    except OSError as error:  # before hours of work with an unreadable table
        raise UserError(f"stdout cannot be written: {error.strerror}") from error
    if dry_run:
        return 2 if obstacle else 0
    started = time.monotonic()
    # To read on: execution/sweep.py, from there teacher, search or trials, and the trainables.
    result = run_sweep(plan, options.address, console, events)
    if result.exit_status.interrupted:
        print_interrupted(result.plan, options.storage, console)
    elif result.limit and result.summary is not None:
        print_limited(result.plan, result.counts, result.summary, result.limit, options.storage, console)
    elif result.summary is None:
        print_failed(
            result.plan, result.exit_status.message, options.storage, result.exit_status.resumable, options.program
        )
    else:
        seconds = time.monotonic() - started
        print_outcome(result.plan, result.counts, result.summary, seconds, options.storage, console)
    announce_end(result, events)
    return result.exit_status.code


def announce_end(result: SweepResult, events: Events) -> None:
    """Write the last lines of `--progress json`."""
    if result.limit:
        events.limit(result.limit)
    state = str(result.plan.run.read_manifest().get("status", "damaged"))
    finished = sum(number for status, number in result.counts.items() if status != "missing") if result.counts else None
    events.done(result.exit_status.code, state, finished, result.exit_status.message)


def make_plan(options: argparse.Namespace, dry_run: bool) -> Plan:
    """Return the plan, within the limits of the space and those of the command line."""
    with open_storage(options.storage) as storage:
        if options.command == "resume":
            plan = plan_resumed(storage, options.subject, options.trust, dry_run)
        elif options.command == "extend":
            plan = plan_extended(storage, requested_extension(options), options.name, options.trust, dry_run)
        else:
            plan = plan_space(options, storage, dry_run)
    space = plan.space
    if options.max_hours is not None:
        space = replace(space, limits=space.limits.model_copy(update={"hours": options.max_hours}))
        refuse_limited_search("--max-hours", space)
    if space.limits.cost is not None and plan.price is None:
        raise UserError(
            f"limits.cost: planning/gpus.yaml names no price for {space.name}'s GPU; add it, or use limits.hours"
        )
    return replace(plan, space=space)


def plan_space(options: argparse.Namespace, storage: Storage, dry_run: bool) -> Plan:
    """Plan the sweep of a space file, or the second stage of a screening."""
    machines = None if options.target is None else target(options.target)
    if options.command == "follow-up":
        space = follow_up_space(storage, options.subject, options.survivors, options.others, options.set)
    else:
        space = load_space(options.subject, options.set, not dry_run)
    space = replace(space, reuse=tuple(dict.fromkeys([*space.reuse, *options.reuse])))
    return plan_new(space, storage, options.name, machines)


def requested_extension(options: argparse.Namespace) -> Extension:
    """Return what is added to a finished run."""
    name, components = options.subject, parse_added("--add-component", options.subject, options.add_component)
    if len({key for tree in components for key in tree}) < len(components):
        raise UserError(f"run {name}: --add-component: each component must have a name of its own")
    return Extension(
        name=name,
        blocks=options.blocks,
        components={key: component for tree in components for key, component in tree.items()},
        baselines=options.add_baseline,
        cells=parse_added("--add-cell", name, options.add_cell),
        claims=options.claim,
        confirm=options.confirm,
    )
