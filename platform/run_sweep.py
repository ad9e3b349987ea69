#!/usr/bin/env python3
"""Runs the sweep that a space file describes, and reports what each component of the method is worth."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from math import inf, nan
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # not as a part of the installed package
    sys.path.insert(0, str(ROOT))  # for branchwise

from branchwise.orchestration import interrupts  # noqa: E402

if __name__ == "__main__":
    interrupts.leave_while_starting()  # the imports below take a second

from rich.console import Console  # noqa: E402

from branchwise.analysis.console import make_console  # noqa: E402
from branchwise.orchestration.errors import UserError  # noqa: E402
from branchwise.orchestration.execution.cluster import address_of  # noqa: E402
from branchwise.orchestration.execution.ending import ending_of  # noqa: E402
from branchwise.orchestration.execution.sweep import run_sweep  # noqa: E402
from branchwise.orchestration.input.command_line import Parser, open_storage  # noqa: E402
from branchwise.orchestration.monitoring.status import print_state, watch_state  # noqa: E402
from branchwise.orchestration.monitoring.terminal import (  # noqa: E402
    print_interrupted,
    print_limited,
    print_lost,
    print_outcome,
    print_plan,
)
from branchwise.orchestration.planning.extending import Extension, plan_extended  # noqa: E402
from branchwise.orchestration.planning.follow_up import follow_up_space  # noqa: E402
from branchwise.orchestration.planning.gpus import target  # noqa: E402
from branchwise.orchestration.planning.plan import Plan, obstacle_here, plan_new, plan_resumed  # noqa: E402
from branchwise.orchestration.space import load_space, refuse_limited_search  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 every arm is done, 2 bad input, 3 some arms are not done, 130 interrupted.

    A dry run returns 2 where the run could not start.
    """
    with interrupts.as_one_interrupt():
        console = make_console()
        try:
            return command(arguments, console)
        except BaseException as error:
            ending = ending_of(error, begun=False)
            said = f"{ending.sentence} before anything had started" if ending.interrupted else ending.sentence
            print(f"run_sweep: {said}", file=sys.stderr)
            return ending.code


def command(arguments: list[str] | None, console: Console) -> int:
    """Does what the arguments ask for. Raises what `ending_of` knows while nothing has begun."""
    options = parse(arguments)
    if options.watch is not None:
        with open_storage(options.storage) as storage:
            return 0 if watch_state(storage, options.watch, console) else 3
    if options.list or options.status is not None:
        with open_storage(options.storage) as storage:
            print_state(storage, options.status, console)
        return 0
    plan = make_plan(options)  # planning: the space, its arms (designs), their cohorts (packing)
    elsewhere = address_of(options.address) and not plan.target
    obstacle = "" if elsewhere else obstacle_here(plan)
    if obstacle and not options.dry_run:
        raise UserError(obstacle)
    try:
        print_plan(plan, obstacle, console)
    except OSError as error:  # before hours of work whose table nobody could read
        raise UserError(f"stdout cannot be written: {error.strerror}") from error
    if options.dry_run:
        return 2 if obstacle else 0
    started = time.monotonic()
    outcome = run_sweep(plan, options.address, console)  # execution: sweep -> teacher, search, trials -> trainables
    if outcome.ending.interrupted:
        print_interrupted(outcome.plan, options.storage, console)
    elif outcome.limit and outcome.summary is not None:
        print_limited(outcome.plan, outcome.counts, outcome.summary, outcome.limit, options.storage, console)
    elif outcome.summary is None:
        print_lost(outcome.plan, outcome.ending.sentence, options.storage, outcome.ending.resumable)
    else:
        seconds = time.monotonic() - started
        print_outcome(outcome.plan, outcome.counts, outcome.summary, seconds, options.storage, console)
    return outcome.ending.code


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan, within the limits of the space and those of the command line."""
    plan = plan_of(options)
    space = plan.space
    if options.max_hours is not None:
        space = replace(space, limits=space.limits.model_copy(update={"hours": options.max_hours}))
        refuse_limited_search("--max-hours", space)
    if space.limits.cost is not None and plan.price is None:
        raise UserError(
            f"limits.cost: planning/gpus.yaml names no price for {space.name}'s GPU; add it, or use limits.hours"
        )
    return replace(plan, space=space)


def plan_of(options: argparse.Namespace) -> Plan:
    with open_storage(options.storage) as storage:
        if options.resume is not None:
            return plan_resumed(storage, options.resume, options.trust, options.dry_run)
        if options.extend is not None:
            extension = Extension(
                name=options.extend,
                blocks=options.blocks,
                components=options.add_component,
                baselines=options.add_baseline,
                claims=options.claim,
                confirm=options.confirm,
            )
            return plan_extended(storage, extension, options.name, options.trust, options.dry_run)
        planned_for = None if options.target is None else target(options.target)
        if options.follow_up is not None:
            space = follow_up_space(storage, options.follow_up, options.survivors, options.others, options.set)
        else:
            space = load_space(options.space, options.set, not options.dry_run)
        space = replace(space, reuse=tuple(dict.fromkeys([*space.reuse, *options.reuse])))
        return plan_new(space, storage, options.name, planned_for)


def hours(text: str) -> float:
    """A number of hours above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of hours above 0")
    return value


def parser() -> Parser:
    parser = Parser(description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--space", metavar="FILE", type=Path, help="run this space, e.g. search_spaces/ablation.yaml")
    what.add_argument(
        "--follow-up", metavar="NAME", help="run the full factorial of what the screening NAME left, on fresh seeds"
    )
    what.add_argument("--resume", metavar="NAME", help="resume the run called NAME; finished arms stay as they are")
    what.add_argument("--extend", metavar="NAME", help="add seeds, components or baselines to the finished run NAME")
    what.add_argument("--status", metavar="NAME", help="show progress and time left of the run called NAME")
    what.add_argument("--watch", metavar="NAME", help="show the same, until the run called NAME ends")
    what.add_argument("--list", action="store_true", help="list the runs of the storage and their state")
    option = parser.add_argument
    option("--name", help="name of the run (default: the space's name, numbered when it is taken)")
    option(
        "--storage",
        metavar="DIR|URI",
        help="where runs and teachers are kept (default: results/ of this checkout, or here)",
    )
    option(
        "--address", metavar="ADDR", help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT (default: a new one)"
    )
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space; repeatable")
    option(
        "--reuse",
        metavar="NAME",
        action="append",
        default=[],
        help="take equal finished arms of the run NAME; repeatable",
    )
    option(
        "--survivors",
        metavar="A,B",
        type=lambda text: text.split(","),
        default=[],
        help="with --follow-up: these components, five at most (default: those whose main effect is significant)",
    )
    option(
        "--others",
        choices=("full", "off"),
        default="full",
        help="with --follow-up: hold the components that are left out at full (the default) or off",
    )
    option("--blocks", metavar="N", type=int, help="with --extend: blocks in all; verdicts become exploratory")
    option(
        "--confirm", action="store_true", help="with --extend --blocks: run the further seeds alone, claims sealed anew"
    )
    option(
        "--add-component",
        metavar="YAML",
        action="append",
        default=[],
        help="with --extend: 'NAME: {off: {KEY: VALUE}}'",
    )
    option("--add-baseline", metavar="NAME", action="append", default=[], help="with --extend: a baseline; repeatable")
    option("--claim", metavar="TEXT", action="append", default=[], help="with --extend: a claim on what is added")
    option("--max-hours", metavar="H", type=hours, help="end in order before the run takes longer; over limits.hours")
    option(
        "--dry-run", action="store_true", help="print what would run and for how long; import, run and write nothing"
    )
    option("--trust", action="store_true", help="with --resume or --extend: run what a run of somebody else names")
    option("--for", dest="target", metavar="NxGPU", help="plan for other machines: 8xH100, or 4x24GB of any kind")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    new = options.space or options.follow_up
    if options.target and not (options.dry_run and new):
        parser().error("--for goes with --space and --dry-run: only a plan can be made for machines that are not here")
    if not new and (options.set or options.reuse):
        parser().error("--set and --reuse go with --space alone: a run that exists has its settings")
    if options.name and not (new or options.extend):
        parser().error("--name goes with --space or --extend: a run that exists has its name")
    added = options.blocks, options.confirm, options.add_component, options.add_baseline, options.claim
    if options.extend is None and any(added):
        parser().error("--blocks, --confirm, --add-component, --add-baseline and --claim go with --extend")
    if options.follow_up is None and (options.survivors or options.others != "full"):
        parser().error("--survivors and --others go with --follow-up alone")
    if options.trust and options.resume is None and options.extend is None:
        parser().error("--trust goes with --resume and --extend alone: it is about a run that somebody else started")
    return options


if __name__ == "__main__":
    interrupts.leave(main())
