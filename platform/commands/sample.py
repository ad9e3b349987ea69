"""Draws a grid of samples from a model folder, or from an arm of a run: every class across, or one class alone."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError

from branchwise.analysis.console import single_line
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.input.yaml_file import parse_yaml
from branchwise.orchestration.run_folder.plan_file import started_run
from branchwise.run_files.sealing import DamagedError
from branchwise.trainables.dash.settings.evaluate import SAMPLERS
from branchwise.trainables.dash.settings.guidance import Scale

GUIDANCE = "a scale (1 is none), {w_min: 1.0, w_max: 4.0, beta: 5.0} or {scale: 2.0, t_low: 100, t_high: 800}"


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 the grid is written, 2 bad input."""
    try:
        options = parse(arguments, program)
        with ExitStack() as stack:
            model = options.model or model_of_arm(options, Path(stack.enter_context(TemporaryDirectory())))
            from branchwise.trainables.dash.evaluation.grids import sample_model  # torch: not before it is needed

            sample_model(
                model,
                options.out,
                label=options.label,
                count=options.n,
                guidance=guidance_of(options.guidance),
                sampler=options.sampler,
                steps=options.steps,
                seed=options.seed,
                batch=options.batch,
            )
    except (UserError, OSError, ValueError) as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def model_of_arm(options: argparse.Namespace, scratch: Path) -> Path:
    """The folder of the run's arm. Raises UserError."""
    with open_storage(options.storage) as storage:
        run = started_run(storage, options.run, "--run", hint="")
        if not run.has_record(options.arm):
            names = ", ".join(run.record_names())
            raise UserError(f"--arm {options.arm}: is no finished arm of {options.run}; there are: {names or 'none'}")
        try:
            return run.get_model(options.arm, scratch)
        except (FileNotFoundError, DamagedError) as error:
            raise UserError(f"--arm {options.arm}: left no model that can be used: {error}") from error


def guidance_of(text: str) -> Any:
    """Parse a single scale as a space's `evaluate.guidance` may have it. Raises UserError."""
    try:
        return TypeAdapter(Scale).validate_python(parse_yaml(text))
    except (ValidationError, ValueError) as error:
        raise UserError(f"--guidance {text}: must be {GUIDANCE}") from error


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="DIR", type=Path, help="the folder of a student or a teacher")
    what.add_argument("--run", metavar="NAME", help="a run, of which --arm names the student")
    option("--arm", metavar="NAME", help="an arm of the run, e.g. full-b0")
    option("--storage", metavar="DIR|URI", help="where runs are kept (default: ./results)")
    option("--class", dest="label", metavar="K", type=int, help="only this class, from 0 (default: every class)")
    option("--n", metavar="N", type=positive_int, default=8, help="images of each class (default: 8)")
    option("--guidance", metavar="W", default="1", help=f"{GUIDANCE} (default: 1)")
    option("--sampler", choices=SAMPLERS, default="ddim")
    option("--steps", metavar="S", type=sampler_steps, default=50, help="steps of the sampler, 2 to 1000 (default: 50)")
    option("--seed", metavar="N", type=seed, default=0)
    option("--batch", metavar="N", type=positive_int, default=100, help="images sampled at once (default: 100)")
    option("--out", metavar="FILE", type=Path, required=True, help="the PNG to write")
    return parser


def parse(arguments: list[str], program: str) -> argparse.Namespace:
    options = parser(program).parse_args(arguments)
    if (options.run is None) != (options.arm is None):
        raise UserError("--run and --arm go together (see --help)")
    return options


def sampler_steps(text: str) -> int:
    """As `evaluate.sampler_steps` of a space."""
    number = int(text)
    if not 2 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be 2 to 1000")
    return number


def seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
