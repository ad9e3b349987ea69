"""Measures the finished students of a run, and its teacher, again: under other settings, beside the run's own."""

from __future__ import annotations

import argparse
import sys
import threading
import time

from rich.console import Console

from branchwise.analysis.console import make_console
from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import address_of
from branchwise.orchestration.execution.exit_status import classify_exit
from branchwise.orchestration.execution.remeasuring import remeasure, same_as_sweep
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.input.sweep_commands import add_options
from branchwise.orchestration.monitoring.terminal import measuring_rows, print_measured, print_plan
from branchwise.orchestration.planning.machine import machine, shortages
from branchwise.orchestration.planning.remeasuring import plan_remeasuring
from branchwise.orchestration.run_folder.tables import report


def main(arguments: list[str], program: str) -> int:
    """Return the exit code.

    0 all is measured, 2 bad input, 3 some of it could not be, 130 interrupted.
    """
    console, has_started = make_console(), threading.Event()
    with interrupts.coalesce_interrupts():
        try:
            return measure(parser(program).parse_args(arguments), has_started, console)
        except BaseException as error:
            exit_status = classify_exit(error, has_started.is_set())
            stored = ". What is measured is kept; the same command continues with what is missing"
            print(f"{program}: {exit_status.message}{stored if has_started.is_set() else ''}", file=sys.stderr)
            return exit_status.code


def measure(options: argparse.Namespace, has_started: threading.Event, console: Console) -> int:
    """Return the exit code of a completed command; `has_started` is set when measuring begins."""
    with open_storage(options.storage) as storage:
        plan = plan_remeasuring(
            storage, options.run, options.arms, options.set, options.grid, options.trust, options.dry_run
        )
    if not plan.slots and not address_of(options.address) and not options.dry_run:
        raise UserError("; ".join(shortages(plan.space, machine())))
    print_plan(measuring_rows(plan), console)
    if options.dry_run:
        return 0
    started = time.monotonic()
    missing = remeasure(plan, options.address, console, has_started)
    summary = report(plan.run)
    print_measured(plan, missing, same_as_sweep(plan), summary, time.monotonic() - started, console)
    return 3 if missing else 0


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("run", metavar="NAME", help="the run whose students are measured")
    option("--arms", metavar="NAME", nargs="+", default=[], help="only these arms, or all arms of these cells")
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="another value, e.g. evaluate.samples=2000")
    option("--grid", metavar="KEY=V,V,...", action="append", default=[],
           help="several values, e.g. evaluate.guidance=1,1.5,2; of several grids every combination")  # fmt: skip
    add_options(parser, "--storage", "--address")
    option("--dry-run", action="store_true", help="print what would be measured and for how long; write nothing")
    option("--trust", action="store_true", help="measure a run that this user did not start, by the code that it names")
    return parser
