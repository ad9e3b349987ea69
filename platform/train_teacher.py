#!/usr/bin/env python3
"""Trains and evaluates the teachers that a space asks for, so that every sweep of it finds them ready."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for branchwise, where it is not installed

from branchwise.analysis.console import make_console, one_line  # noqa: E402
from branchwise.orchestration.errors import TeacherFailedError, UserError  # noqa: E402
from branchwise.orchestration.execution.cluster import address_of, cluster, refuse_unshared  # noqa: E402
from branchwise.orchestration.execution.teacher import prepare_teachers  # noqa: E402
from branchwise.orchestration.input.command_line import Parser, open_storage  # noqa: E402
from branchwise.orchestration.monitoring.progress import Display  # noqa: E402
from branchwise.orchestration.planning.machine import gpus_missing, machine, missing_inputs, tight_limits  # noqa: E402
from branchwise.orchestration.run_folder.teachers import find_teachers  # noqa: E402
from branchwise.orchestration.space import load_space  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 the teachers are ready, 2 bad input, 3 one could not be trained, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background starts with ignored
    console = make_console()
    try:
        options = parse(arguments)
        with open_storage(options.storage) as storage:
            space = load_space(options.space, options.set)
            teachers = find_teachers(space, storage)
        if not teachers:
            raise UserError(f"{options.space}: trainable: {space.trainable} needs no teacher")
        lacking = [gpus_missing(space, machine()), missing_inputs(space), tight_limits()]
        if not address_of(options.address) and any(lacking):
            raise UserError("; ".join(filter(None, lacking)))
        log = ROOT / "results/logs/teacher.log" if storage.local is None else storage.local / "logs/teacher.log"
        with cluster(options.address, log, space.trainable) as on, Display(console) as display:
            if short := gpus_missing(space, on):
                raise UserError(short)
            if on.joined and storage.local is not None:
                refuse_unshared(storage.local)
            prepare_teachers(space, storage, on, display)
    except UserError as error:
        print(f"train_teacher: {one_line(error)}", file=sys.stderr)
        return 2
    except (TeacherFailedError, OSError) as error:
        print(
            f"train_teacher: {one_line(error)}. The same command continues from the last checkpoint.", file=sys.stderr
        )
        return 3
    except KeyboardInterrupt:
        console.print("Interrupted. The same command continues from the last checkpoint.")
        return 130
    for ready in find_teachers(space, storage):
        if ready.evaluation is None:
            raise RuntimeError("the training ended without a teacher")
        console.print(f"{ready.evaluation['metric']} {ready.evaluation['value']:.3f}", highlight=False)
        console.print(f"Teacher: {storage.path(f'teachers/{ready.key}')}", highlight=False, soft_wrap=True)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    option = parser.add_argument
    option("--space", metavar="FILE", type=Path, required=True, help="the space that describes the teachers")
    option("--storage", metavar="DIR|URI", help="where runs and teachers are kept (default: results/ of this checkout)")
    option(
        "--address", metavar="ADDR", help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT (default: a new one)"
    )
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space; repeatable")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
