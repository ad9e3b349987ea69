"""Runs one arm of a space here, without Ray, and says what it measured or why it failed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from branchwise.analysis.console import printable, single_line
from branchwise.orchestration.authoring.one_arm import ArmTrial, arm_named, run_arm
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.space import load_space
from branchwise.trainables.runtime.processes import scratch_folder

LAST_LINES = 20  # of a failed arm's output


def main(arguments: list[str], program: str) -> int:
    """Return the exit code.

    0 the arm is done, 2 bad input and nothing was run, 3 the arm failed or diverged.
    """
    try:
        options = parser(program).parse_args(arguments)
        space = load_space(options.space, options.set)
        arm = arm_named(space, options.arm)
        space.module.check_inputs(space.spec)
        with scratch_folder() as scratch:
            started = time.monotonic()
            trial = run_arm(space, arm, scratch)
            print(f"{arm.name} (seed {arm.seed}): {outcome(trial)}, {time.monotonic() - started:.1f} s")
    except (UserError, OSError) as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if trial.result.status == "done" else 3


def outcome(trial: ArmTrial) -> str:
    """The result of an arm, as text."""
    result = trial.result
    if result.status == "done":
        outcome_names = {"metric", "value", "value_repeats", "comparability_key", "run_seconds", "steps"}
        others = [f"{name} {value:g}" for name, value in result.values.items() if name not in outcome_names]
        return ", ".join([f"{result.values['metric']} {result.values['value']:g}", *others])
    lines = [printable(line) for line in trial.log.splitlines() if line.strip()][-LAST_LINES:]
    for line in lines:
        print(f"  | {line}", file=sys.stderr)
    return f"{result.status}: {single_line(result.error)}"


def parser(program: str) -> Parser:
    result = Parser(prog=program, description=__doc__)
    result.add_argument("space", type=Path, metavar="SPACE", help="the space, e.g. train.yaml")
    result.add_argument(
        "--arm", metavar="NAME", help="the arm, e.g. base-b0 (default: the full method on the first seed)"
    )
    result.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space")
    return result
