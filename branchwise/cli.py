"""`branchwise COMMAND`: table of commands for the program, its help, completion and docs."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

from branchwise.orchestration import interrupts
from branchwise.orchestration.input import sweep_commands

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand: its help, and the module of `parser(program)`, `main(arguments, program)`.

    Commands on sweeps have their options in `sweep_commands`, and `run_sweep` carries them out.
    """

    help: str
    module: str
    argument: str = ""
    needs_ray: bool = False

    @property
    def on_sweeps(self) -> bool:
        """Whether `sweep_commands` has its options."""
        return self.module == SWEEP


SWEEP = "branchwise.commands.run_sweep"


def _sweep(name: str) -> Command:
    command = sweep_commands.COMMANDS[name]
    return Command(help=command.help, module=SWEEP, argument=command.argument, needs_ray=name in sweep_commands.RUNNING)


COMMANDS = {
    "init": Command(
        help="write a space for a script; --try runs it to find the metric",
        module="branchwise.commands.init_space",
        argument="SCRIPT",
    ),
    "try": Command(help="run one arm of a space here", module="branchwise.commands.try_space", argument="SPACE"),
    "plan": _sweep("plan"),
    "run": _sweep("run"),
    "status": _sweep("status"),
    "watch": _sweep("watch"),
    "list": _sweep("list"),
    "resume": _sweep("resume"),
    "extend": _sweep("extend"),
    "follow-up": _sweep("follow-up"),
    "analyze": Command(
        help="rebuild the report of runs, or analyze external runs",
        module="branchwise.analysis.__main__",
        argument="RUN|TABLE",
    ),
    "compare": Command(
        help="compare two runs or cells seed by seed, or two groups of a table",
        module="branchwise.analysis.compare",
        argument="A B",
    ),
    "verify": Command(
        help="check a run's claims, arms and numbers against its seals; for CI",
        module="branchwise.analysis.verify",
        argument="RUN",
    ),
    "doctor": Command(help="check that this machine computes what it should", module="branchwise.commands.doctor"),
    "calibrate": Command(help="benchmark this machine; plans use the rates", module="branchwise.commands.calibrate"),
    "mcp": Command(help="serve plans, runs and verdicts to agents", module="branchwise.api.agent_server"),
    "schema": Command(
        help="print the JSON Schema of spaces or of a document",
        module="branchwise.commands.space_schema",
        argument="WHAT",
    ),
    "measure": Command(
        help="measure the students of a run again",
        module="branchwise.commands.measure",
        argument="NAME",
        needs_ray=True,
    ),
    "train-teacher": Command(help="train a teacher alone", module="branchwise.commands.train_teacher", needs_ray=True),
    "fetch": Command(help="download the data and weights that a space lacks", module="branchwise.commands.fetch"),
    "propose": Command(help="write a space for a folder of images", module="branchwise.commands.propose"),
    "sample": Command(help="draw samples from a model folder", module="branchwise.commands.sample"),
    "import-reference": Command(
        help="make a teacher of a checkpoint of the DASH authors", module="branchwise.commands.import_reference"
    ),
}
COMPLETION = "completion"
SHELLS = ("bash", "zsh", "tcsh")


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code of the subcommand; 2 for an unknown name."""
    given = sys.argv[1:] if arguments is None else arguments
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in COMMANDS:
        if arguments is None and COMMANDS[name].needs_ray:
            interrupts.exit_on_signal_while_starting()  # their imports take a second
        return _call(name, COMMANDS[name], rest)
    if name == COMPLETION:
        return _complete(rest)
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"branchwise {version()}")
        return 0
    close = difflib.get_close_matches(name, [*COMMANDS, COMPLETION], n=1)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join([*COMMANDS, COMPLETION])}"
    print(f"branchwise: {name}: unknown command; {advice}", file=sys.stderr)
    return 2


def version() -> str:
    """Return the version; that of a checkout which is not installed is unknown."""
    try:
        return metadata.version("branchwise")
    except metadata.PackageNotFoundError:
        return "(a checkout that is not installed)"


def _call(name: str, command: Command, rest: list[str]) -> int:
    if command.on_sweeps and {"-h", "--help"} & set(rest):
        sweep_commands.parser_of(name).print_help()  # without the imports for running
        raise SystemExit(0)
    starts = not {"--dry-run", "-h", "--help"} & set(rest)
    if command.needs_ray and starts and importlib.util.find_spec("ray") is None:
        print(f"branchwise {name}: Ray is not installed; pip install 'branchwise[run]'", file=sys.stderr)
        return 2
    function: Callable[[list[str], str], int] = importlib.import_module(command.module).main
    return function(rest, name if command.on_sweeps else f"branchwise {name}")


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a subcommand."""
    command = COMMANDS[name]
    if command.on_sweeps:
        return sweep_commands.parser_of(name)
    parser: argparse.ArgumentParser = importlib.import_module(command.module).parser(f"branchwise {name}")
    return parser


def usage() -> str:
    """Return the help of the program: a line for each command."""
    rows = [(f"{name} {command.argument}".rstrip(), command.help) for name, command in COMMANDS.items()]
    rows.append((f"{COMPLETION} {'|'.join(SHELLS)}", "print what a shell sources for completion"))
    width = max(len(call) for call, _ in rows)
    lines = [f"  {call:<{width}}  {help_}" for call, help_ in rows]
    summary = "Which part of the method did it? Ablations as designs, with intervals."
    return "\n".join(
        ["usage: branchwise COMMAND ...", "", summary, "", *lines, "", "branchwise COMMAND --help lists its options."]
    )


def _complete(rest: Sequence[str]) -> int:
    if len(rest) != 1 or rest[0] not in SHELLS:
        print(f"branchwise {COMPLETION}: name one shell: {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    import shtab

    parser = argparse.ArgumentParser(prog="branchwise")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, parents=[parser_of(name)], add_help=False, help=command.help)
        for action in subparser._actions:
            if not action.option_strings:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=rest[0]))
    return 0


def program() -> NoReturn:
    """Run the installed `branchwise`.

    A closed reader is no error, and blocked threads do not delay the exit.
    """
    try:
        code = main()
    except BrokenPipeError:  # of `branchwise ... | head`
        code = 0
    interrupts.exit_process(code)


if __name__ == "__main__":
    program()
