"""`branchwise COMMAND`: the commands of the checkout as subcommands of one program."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib import metadata

from branchwise.orchestration import interrupts


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand: the module whose `main` it calls, behind which `option`, and what it does."""

    module: str
    option: str = ""
    about: str
    needs_ray: bool = False


SWEEP = "branchwise.commands.run_sweep"
COMMANDS = {
    "init": Command(module="branchwise.commands.init_space", about="write a commented space for a script"),
    "try": Command(module="branchwise.commands.try_space", about="run one arm of a space here: try SPACE [--arm NAME]"),
    "run": Command(
        module=SWEEP, option="--space", about="run the sweep of a space: run FILE [options]", needs_ray=True
    ),
    "follow-up": Command(
        module=SWEEP, option="--follow-up", about="confirm what a screening left: follow-up NAME", needs_ray=True
    ),
    "resume": Command(module=SWEEP, option="--resume", about="resume a run: resume NAME", needs_ray=True),
    "extend": Command(
        module=SWEEP,
        option="--extend",
        about="add seeds, components or baselines: extend NAME --blocks N",
        needs_ray=True,
    ),
    "status": Command(module=SWEEP, option="--status", about="progress and time left of a run: status NAME"),
    "watch": Command(module=SWEEP, option="--watch", about="the same until the run ends: watch NAME"),
    "list": Command(module=SWEEP, option="--list", about="the runs of a storage, and their state"),
    "analyze": Command(
        module="branchwise.analysis.__main__", about="rebuild the report of runs, or analyse runs made elsewhere"
    ),
    "verify": Command(
        module="branchwise.analysis.verify", about="check a run's sealed claims, arms and numbers; for CI"
    ),
    "mcp": Command(module="branchwise.api.agent_server", about="serve plans, runs and verdicts to agents, by MCP"),
    "schema": Command(
        module="branchwise.commands.space_schema",
        about="the JSON Schema of a trainable's spaces, or of the report's JSON",
    ),
    "train-teacher": Command(module="branchwise.commands.train_teacher", about="train a teacher alone", needs_ray=True),
    "measure": Command(
        module="branchwise.commands.measure",
        option="--run",
        about="measure the students of a run again: measure NAME [options]",
        needs_ray=True,
    ),
    "fetch": Command(module="branchwise.commands.fetch", about="download the data and weights that a space lacks"),
    "propose": Command(module="branchwise.commands.propose", about="write a space for a folder of images"),
    "calibrate": Command(module="branchwise.commands.calibrate", about="measure how fast this machine is, for plans"),
    "doctor": Command(module="branchwise.commands.doctor", about="check that this machine computes what it should"),
    "sample": Command(module="branchwise.commands.sample", about="draw samples from a model folder"),
    "import-reference": Command(
        module="branchwise.commands.import_reference", about="make a teacher of a checkpoint of the DASH authors"
    ),
}
COMPLETION = "completion"
SHELLS = ("bash", "zsh", "tcsh")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code of the subcommand; 2 when there is no such one."""
    given = sys.argv[1:] if arguments is None else arguments
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in COMMANDS:
        if arguments is None and COMMANDS[name].needs_ray:
            interrupts.leave_while_starting()  # their imports take a second
        return _call(name, COMMANDS[name], rest)
    if name == COMPLETION and rest and rest[0] in SHELLS:
        return _complete(rest[0])
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"branchwise {metadata.version('branchwise')}")
        return 0
    known = ", ".join([*COMMANDS, f"{COMPLETION} {{{','.join(SHELLS)}}}"])
    print(f"branchwise: {' '.join(given[:2])}: unknown command; there are {known}", file=sys.stderr)
    return 2


def _call(name: str, command: Command, rest: list[str]) -> int:
    starts = not {"--dry-run", "-h", "--help"} & set(rest)
    if command.needs_ray and starts and importlib.util.find_spec("ray") is None:
        print(f"branchwise {name}: Ray is not installed; pip install 'branchwise[run]'", file=sys.stderr)
        return 2
    # What a command takes first, a file or a name, stands behind its option.
    takes = command.option and (command.option == "--list" or (rest and not rest[0].startswith("-")))
    code: int = importlib.import_module(command.module).main([command.option, *rest] if takes else rest)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    rows.append(f"  {COMPLETION:<{width}}  what to source for completion: {COMPLETION} {'|'.join(SHELLS)}")
    about = "Which part of the method did it? Ablations as designs, with intervals."
    return "\n".join(
        ["usage: branchwise COMMAND ...", "", about, "", *rows, "", "branchwise COMMAND --help tells more."]
    )


def _complete(shell: str) -> int:
    import shtab

    parser = argparse.ArgumentParser(prog="branchwise")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        made = getattr(importlib.import_module(command.module), "parser", None)
        one = commands.add_parser(name, parents=[made()] if made else [], add_help=not made, help=command.about)
        one.add_argument("first", nargs="?").complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
