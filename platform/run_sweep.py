#!/usr/bin/env python3
"""Runs the sweep that a space file describes, and reports what each component of the method is worth."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for branchwise, where it is not installed

from branchwise.analysis.console import make_console, one_line  # noqa: E402
from branchwise.orchestration.errors import StorageLostError, TeacherFailedError, UserError  # noqa: E402
from branchwise.orchestration.execution.cluster import address_of  # noqa: E402
from branchwise.orchestration.execution.sweep import run_sweep  # noqa: E402
from branchwise.orchestration.input.command_line import Parser, open_storage  # noqa: E402
from branchwise.orchestration.monitoring.status import print_state  # noqa: E402
from branchwise.orchestration.monitoring.terminal import (  # noqa: E402
    print_interrupted,
    print_outcome,
    print_plan,
    resuming,
)
from branchwise.orchestration.planning.gpus import target  # noqa: E402
from branchwise.orchestration.planning.plan import Plan, obstacle_here, plan_new, plan_resumed  # noqa: E402
from branchwise.orchestration.run_folder.tables import complete, report  # noqa: E402
from branchwise.orchestration.space import load_space  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 every arm is done, 2 bad input, 3 some arms are not done, 130 interrupted.

    A dry run returns 2 where the run could not start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background starts with ignored
    console = make_console()
    plan = None
    try:
        options = parse(arguments)
        if options.list or options.status is not None:
            with open_storage(options.storage) as storage:
                print_state(storage, options.status, console)
            return 0
        plan = make_plan(options)  # planning: the space, its arms (designs), their cohorts (packing)
        elsewhere = address_of(options.address) and not plan.target
        obstacle = "" if elsewhere else obstacle_here(plan)
        if obstacle and not options.dry_run:
            raise UserError(obstacle)
        print_plan(plan, obstacle, console)
        if options.dry_run:
            return 2 if obstacle else 0
        started = time.monotonic()
        counts = run_sweep(plan, options.address, console)  # execution: sweep -> teacher, search, trials -> trainables
        summary = report(plan.run)
    except UserError as error:
        print(f"run_sweep: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if plan:
            print_interrupted(plan, options.storage, console)
        return 130
    except (TeacherFailedError, StorageLostError, OSError) as error:
        if plan is None:
            raise
        told = f"Finished arms are kept. To resume: {resuming(plan, options.storage)}"
        print(f"run_sweep: {one_line(error)}. {told}", file=sys.stderr)
        return 3
    print_outcome(plan, counts, summary, time.monotonic() - started, console)
    return 0 if complete(counts, plan.total) else 3


def make_plan(options: argparse.Namespace) -> Plan:
    with open_storage(options.storage) as storage:
        if options.resume is not None:
            return plan_resumed(storage, options.resume)
        planned_for = None if options.target is None else target(options.target)
        return plan_new(load_space(options.space, options.set), storage, options.name, planned_for)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--space", metavar="FILE", type=Path, help="run this space, e.g. search_spaces/ablation.yaml")
    what.add_argument("--resume", metavar="NAME", help="resume the run called NAME; finished arms stay as they are")
    what.add_argument("--status", metavar="NAME", help="show progress and time left of the run called NAME")
    what.add_argument("--list", action="store_true", help="list the runs of the storage and their state")
    option = parser.add_argument
    option("--name", help="name of the run (default: the space's name, numbered when it is taken)")
    option("--storage", metavar="DIR|URI", help="where runs and teachers are kept (default: results/ of this checkout)")
    option(
        "--address", metavar="ADDR", help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT (default: a new one)"
    )
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space; repeatable")
    option("--dry-run", action="store_true", help="print what would run and for how long; start and write nothing")
    option("--for", dest="target", metavar="NxGPU", help="plan for other machines: 8xH100, or 4x24GB of any kind")
    options = parser.parse_args(arguments)
    if options.target and not (options.dry_run and options.space):
        parser.error("--for goes with --space and --dry-run: only a plan can be made for machines that are not here")
    if options.space is None and (options.name or options.set):
        parser.error("--name and --set go with --space alone: a run that exists has its name and its settings")
    return options


if __name__ == "__main__":
    sys.exit(main())
