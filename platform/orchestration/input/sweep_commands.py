"""Sweep commands and options, for `branchwise COMMAND`, `run_sweep.py`, help and completion.

It imports neither NumPy nor Ray, so that help is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

from branchwise.command_io import JSON_HELP
from branchwise.orchestration.input.parser import Parser

RUNNING = ("run", "follow-up", "resume", "extend")  # these start arms
NEW = ("run", "plan", "follow-up")  # these make a run of a space
PLANNING = ("run", "plan", "follow-up", "resume", "extend")
ALL = (*PLANNING, "status", "watch", "list")


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """A command: what it does, its argument, and the option of `run_sweep.py` that means it."""

    help: str
    argument: str = ""  # in brackets where it may be omitted
    argument_help: str = ""
    script: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of its argument for argparse."""
        return {"metavar": self.argument.strip("[]"), "type": Path if self.argument == "FILE" else str}


@dataclass(frozen=True)
class Option:
    """An option and the commands that take it; `settings` are those of argparse."""

    flag: str
    commands: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Key of its value in the namespace."""
        return str(self.settings.get("dest", self.flag.removeprefix("--").replace("-", "_")))


def _option(flag: str, commands: tuple[str, ...], **settings: Any) -> Option:
    return Option(flag, commands, settings)


COMMANDS = {
    "run": SweepCommand(
        help="run the sweep of a space", argument="FILE", script="--space", argument_help="space, such as ablation.yaml"
    ),
    "plan": SweepCommand(
        help="show what `run` would do, and for how long; runs nothing, writes nothing",
        argument="FILE",
        argument_help="space, such as ablation.yaml",
    ),
    "follow-up": SweepCommand(
        help="run the full factorial of what a screening left, on fresh seeds",
        argument="NAME",
        script="--follow-up",
        argument_help="finished screening",
    ),
    "resume": SweepCommand(
        help="resume a run; finished arms stay as they are",
        argument="NAME",
        script="--resume",
        argument_help="run to resume",
    ),
    "extend": SweepCommand(
        help="add seeds, components, baselines or cells to a finished run",
        argument="NAME",
        script="--extend",
        argument_help="finished run",
    ),
    "status": SweepCommand(
        help="show progress and time left of a run",
        argument="[NAME]",
        script="--status",
        argument_help="run (default: the one started last)",
    ),
    "watch": SweepCommand(
        help="show progress of a run until it ends", argument="NAME", script="--watch", argument_help="run to watch"
    ),
    "list": SweepCommand(help="list the runs of a storage and their state", script="--list"),
}


def hours(text: str) -> float:
    """Return a number of hours above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of hours above 0")
    return value


def _names(text: str) -> list[str]:
    return text.split(",")


_REPEATABLE: Mapping[str, Any] = {"action": "append", "default": []}

OPTIONS = (
    _option("--name", (*NEW, "extend"), help="name of the run (default: the space's name, numbered when it is taken)"),
    _option("--storage", ALL, metavar="DIR|URI", help="where runs and teachers are kept (default: ./results)"),
    _option(
        "--address",
        RUNNING,
        metavar="ADDR",
        help="a running Ray cluster: auto, HOST:PORT, ray://HOST:PORT (default: a new one)",
    ),
    _option("--set", NEW, metavar="KEY=VALUE", **_REPEATABLE, help="override a value of the space; repeatable"),
    _option("--reuse", NEW, metavar="NAME", **_REPEATABLE, help="take equal finished arms of the run NAME; repeatable"),
    _option(
        "--survivors",
        ("follow-up",),
        metavar="A,B",
        type=_names,
        default=[],
        help="these components, five at most (default: those whose main effect is significant)",
    ),
    _option(
        "--others",
        ("follow-up",),
        choices=("full", "off"),
        default="full",
        help="hold the components that are left out at full (the default) or off",
    ),
    _option("--blocks", ("extend",), metavar="N", type=int, help="blocks in all; verdicts become exploratory"),
    _option(
        "--confirm",
        ("extend",),
        action="store_true",
        help="with --blocks: run the further seeds alone, claims sealed anew",
    ),
    _option(
        "--add-component",
        ("extend",),
        metavar="YAML",
        **_REPEATABLE,
        help="'NAME: {off: {KEY: VALUE}}'; repeatable",
    ),
    _option("--add-baseline", ("extend",), metavar="NAME", **_REPEATABLE, help="a baseline; repeatable"),
    _option(
        "--add-cell",
        ("extend",),
        metavar="YAML",
        **_REPEATABLE,
        help="'{COMPONENT: LEVEL, ...}', a combination that it did not run, others at full; repeatable",
    ),
    _option("--claim", ("extend",), metavar="TEXT", **_REPEATABLE, help="a claim on what is added; repeatable"),
    _option(
        "--max-hours",
        PLANNING,
        metavar="H",
        type=hours,
        help="end in order before the run takes longer; over limits.hours",
    ),
    _option(
        "--dry-run",
        RUNNING,
        action="store_true",
        help="print what would run and for how long; import, run and write nothing",
    ),
    _option("--trust", ("resume", "extend"), action="store_true", help="run what a run of somebody else names"),
    _option("--json", (*PLANNING, "status", "list"), action="store_true", help=JSON_HELP),
    _option(
        "--progress",
        RUNNING,
        choices=("text", "json"),
        default="text",
        help="json: a JSON line per event on stdout, all else on stderr (default: text)",
    ),
    _option(
        "--for",
        NEW,
        dest="target",
        metavar="NxGPU",
        help="plan for other machines: 8xH100, or 4x24GB of any",
    ),
)


def add_options(parser: Parser, *flags: str) -> None:
    """Add these options to the parser of another command."""
    for option in OPTIONS:
        if option.flag in flags:
            parser.add_argument(option.flag, **option.settings)


def parser_of(name: str) -> Parser:
    """Return the parser of `branchwise NAME`."""
    command = COMMANDS[name]
    parser = Parser(prog=f"branchwise {name}", description=f"{command.help[0].upper()}{command.help[1:]}.")
    if command.argument:
        nargs = "?" if command.argument.startswith("[") else None
        parser.add_argument("subject", nargs=nargs, help=command.argument_help, **command.settings)
    else:
        parser.set_defaults(subject=None)
    parser.set_defaults(command=name)
    add_options(parser, *(option.flag for option in OPTIONS if name in option.commands))
    return parser


def script_parser() -> Parser:
    """Return the parser of `run_sweep.py`: an option for each command, and all their options."""
    parser = Parser(
        prog="run_sweep.py",
        description="Run the sweep that a space file describes, and report what each component of the method is worth.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    for name, command in COMMANDS.items():
        if command.script:
            settings = command.settings if command.argument else {"action": "store_const", "const": ""}
            which.add_argument(command.script, dest=f"_{name}", help=command.help, **settings)
    for option in OPTIONS:
        scripts = _scripts(option)
        is_common = len(scripts) == len([command for command in COMMANDS.values() if command.script])
        suffix = "" if is_common else f" (with {', '.join(scripts)})"
        parser.add_argument(option.flag, **{**option.settings, "help": f"{option.settings['help']}{suffix}"})
    return parser


def read_options(name: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of `branchwise NAME`, or of `run_sweep.py` without a name.

    The command is `options.command`, its argument `options.subject`, what was called `options.program`.

    Raises:
        UserError: An argument is not allowed.
    """
    parser = script_parser() if name is None else parser_of(name)
    options = parser.parse_args(arguments)
    options.program = program_name(name)
    if name is None:
        given = {command: getattr(options, f"_{command}", None) for command in COMMANDS}
        ((options.command, options.subject),) = ((key, value) for key, value in given.items() if value is not None)
        for option in OPTIONS:
            if options.command not in option.commands and getattr(options, option.name) != parser.get_default(
                option.name
            ):
                parser.error(
                    f"{option.flag}: does not go with {COMMANDS[options.command].script}; it goes with "
                    f"{', '.join(_scripts(option))}"
                )
    if getattr(options, "target", None) and options.command != "plan" and not options.dry_run:
        parser.error("--for: goes with --dry-run; only a plan can be made for machines that are not here")
    if options.command in RUNNING and options.json and not options.dry_run:
        parser.error("--json: goes with --dry-run; a sweep that runs has --progress json")
    return options


def _scripts(option: Option) -> list[str]:
    return [COMMANDS[name].script for name in option.commands if COMMANDS[name].script]


def program_name(name: str | None) -> str:
    """Return what a message begins with."""
    return "run_sweep" if name is None else f"branchwise {name}"
