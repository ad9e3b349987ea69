"""Trains and evaluates the teachers that a space asks for, so that every sweep of it finds them ready."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from rich.console import Console

from branchwise.analysis.console import make_console
from branchwise.orchestration import interrupts
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.execution.cluster import address_of, cluster, refuse_unshared
from branchwise.orchestration.execution.exit_status import classify_exit
from branchwise.orchestration.execution.runner import job_runner
from branchwise.orchestration.execution.shared_models import prepare_features, prepare_teachers
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.input.sweep_commands import add_options
from branchwise.orchestration.monitoring.progress import Display
from branchwise.orchestration.planning.machine import check_ulimits, gpus_missing, machine, missing_inputs
from branchwise.orchestration.run_folder.teachers import find_teachers
from branchwise.orchestration.space import load_space
from branchwise.run_files.layout import RESULTS


def main(arguments: list[str], program: str) -> int:
    """Return the exit code.

    0 the teachers are ready, 2 bad input, 3 one could not be trained, 130 interrupted.
    """
    console, has_started = make_console(), threading.Event()
    with interrupts.coalesce_interrupts():
        try:
            train(parser(program).parse_args(arguments), has_started, console)
        except BaseException as error:
            exit_status = classify_exit(error, has_started.is_set())
            further = ". The same command continues from the last checkpoint" if has_started.is_set() else ""
            print(f"{program}: {exit_status.message}{further}", file=sys.stderr)
            return exit_status.code
        return 0


def train(options: argparse.Namespace, has_started: threading.Event, console: Console) -> None:
    """Train and evaluate the teachers; `has_started` is set when that begins.

    Raises what `classify_exit` knows.
    """
    with open_storage(options.storage) as storage:
        space = load_space(options.space, options.set)
        teachers = find_teachers(space, storage)
    if not teachers:
        raise UserError(f"{options.space}: trainable: {space.trainable} needs no teacher")
    missing_files = [gpus_missing(space, machine()), missing_inputs(space), check_ulimits()]
    if not address_of(options.address) and any(missing_files):
        raise UserError("; ".join(filter(None, missing_files)))
    log = Path(RESULTS, "logs/teacher.log") if storage.local is None else storage.local / "logs/teacher.log"
    with cluster(options.address, log, space) as on, Display(console) as display:
        if short := gpus_missing(space, on):
            raise UserError(short)
        if on.joined and storage.local is not None:
            refuse_unshared(storage.local)
        has_started.set()
        with job_runner(space, storage, on, display) as runner:
            for data_set in space.design.data_sets:
                prepare_features(data_set.on(space.method).spec, runner)
            prepare_teachers(runner)
    for ready in find_teachers(space, storage):
        if ready.evaluation is None:
            raise RuntimeError("the training ended without a teacher")
        console.print(f"{ready.evaluation['metric']} {ready.evaluation['value']:.3f}", highlight=False)
        console.print(f"Teacher: {storage.path(f'teachers/{ready.key}')}", highlight=False, soft_wrap=True)


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument(
        "--space", metavar="FILE", type=Path, required=True, help="the space that describes the teachers"
    )
    add_options(parser, "--storage", "--address", "--set")
    return parser
