#!/usr/bin/env python3
"""Measures the finished students of a run, and its teacher, again: under other settings, beside the run's own."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # not as a part of the installed package
    sys.path.insert(0, str(ROOT))  # for branchwise

from branchwise.orchestration import interrupts  # noqa: E402

if __name__ == "__main__":
    interrupts.exit_on_signal_while_starting()  # the imports below take a second

from rich.console import Console  # noqa: E402

from branchwise.analysis.console import make_console  # noqa: E402
from branchwise.orchestration.errors import UserError  # noqa: E402
from branchwise.orchestration.execution.cluster import address_of  # noqa: E402
from branchwise.orchestration.execution.exit_status import classify_exit  # noqa: E402
from branchwise.orchestration.execution.measures import remeasure, same_as_sweep  # noqa: E402
from branchwise.orchestration.input.command_line import open_storage  # noqa: E402
from branchwise.orchestration.input.parser import Parser  # noqa: E402
from branchwise.orchestration.monitoring.terminal import measuring_rows, print_measured, print_plan  # noqa: E402
from branchwise.orchestration.planning.machine import machine, shortages  # noqa: E402
from branchwise.orchestration.planning.measures import plan_measures  # noqa: E402
from branchwise.orchestration.run_folder.tables import report  # noqa: E402


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Returns the exit code: 0 all is measured, 2 bad input, 3 some of it could not be, 130 interrupted."""
    console, has_started = make_console(), threading.Event()
    with interrupts.coalesce_interrupts():
        try:
            return measure(parser(program).parse_args(arguments), has_started, console)
        except BaseException as error:
            exit_status = classify_exit(error, has_started.is_set())
            stored = ". What is measured is kept; the same command continues with what is missing"
            print(
                f"{program or 'measure'}: {exit_status.message}{stored if has_started.is_set() else ''}",
                file=sys.stderr,
            )
            return exit_status.code


def measure(options: argparse.Namespace, has_started: threading.Event, console: Console) -> int:
    """Return the exit code of a completed command; `has_started` is set when measuring begins."""
    with open_storage(options.storage) as storage:
        plan = plan_measures(
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


def parser(program: str | None = None) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    if program:
        option("run", metavar="NAME", help="the run whose students are measured")
    else:
        option("--run", metavar="NAME", required=True, help="the run whose students are measured")
    option("--arms", metavar="NAME", nargs="+", default=[], help="only these arms, or all arms of these cells")
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="another value, e.g. evaluate.samples=2000")
    option("--grid", metavar="KEY=V,V,...", action="append", default=[],
           help="several values, e.g. evaluate.guidance=1,1.5,2; of several grids every combination")  # fmt: skip
    option("--storage", metavar="DIR|URI", help="where runs and teachers are kept (default: ./results)")
    option(
        "--address", metavar="ADDR", help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT (default: a new one)"
    )
    option("--dry-run", action="store_true", help="print what would be measured and for how long; write nothing")
    option("--trust", action="store_true", help="measure a run that this user did not start, by the code that it names")
    return parser


if __name__ == "__main__":
    sys.exit(main())
