"""Writes a space for a script, of the options that its source declares; `--try` runs it to find the metric."""

from __future__ import annotations

import sys
from pathlib import Path

from branchwise.analysis.console import single_line
from branchwise.orchestration.authoring.options import Unreadable
from branchwise.orchestration.authoring.scaffold import Draft, read_script, space_text, summary
from branchwise.orchestration.authoring.try_script import try_script
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.input.yaml_file import parse_yaml
from branchwise.orchestration.space import parse_space


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 the space is written, 2 bad input and no file written."""
    try:
        options = parser(program).parse_args(arguments)
        out = options.out or options.script.with_suffix(".yaml")
        if out.exists():
            raise UserError(f"{out} exists already; choose another --out")
        draft = read_script(options.script)
        _apply_overrides(draft, options.set)
        print(f"{options.script}: {summary(draft)}")
        if options.tries:
            draft = try_script(draft, options.script.absolute().parent, print)
        text = space_text(draft)
        try:
            with out.open("x") as stream:
                stream.write(text)
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    except UserError as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(_advice(out, text))
    return 0


def _apply_overrides(draft: Draft, overrides: list[str]) -> None:
    """Put the values given by --set instead of the script's defaults. Raises UserError."""
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"--set {override}: must be NAME=VALUE")
        try:
            draft.options.give(name, parse_yaml(text))
        except KeyError as error:
            names = ", ".join(error.args[1]) or "none"
            raise UserError(f"--set {override}: {draft.script} has no such option; there are: {names}") from error
        except (Unreadable, ValueError) as error:
            raise UserError(f"--set {override}: {error}") from error


def _advice(out: Path, text: str) -> str:
    try:
        parse_space(str(out), text.encode(), folder=str(out.absolute().parent))
    except UserError as error:
        return f"{single_line(error)}: complete the file, then see what would run: branchwise plan {out}"
    return f"{out}: read it, then run one arm: branchwise try {out}"


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument("script", type=Path, help="the script that trains, e.g. train.py")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the space (default: the script's name with .yaml)")
    parser.add_argument(
        "--try",
        dest="tries",
        action="store_true",
        help="run the script with its defaults, to find its metric and to check seeds and components",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a value of an option in the place of the script's default, e.g. device=cpu",
    )
    return parser
