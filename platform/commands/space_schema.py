"""Prints the JSON Schema of the spaces of a trainable, for editors: # yaml-language-server: $schema=FILE

`report` prints that of a report's ablation.json; plan, status, list, analyze, verify, doctor, error and progress print
those of what `--json` and `--progress json` print."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from branchwise.analysis.console import single_line
from branchwise.analysis.report import REPORT_SCHEMA
from branchwise.documents import DOCUMENTS, json_schema
from branchwise.orchestration.authoring.schema import schema_of
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.space import load_space
from branchwise.trainables import BUILT_IN, load_trainable


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0, or 2 for bad input."""
    try:
        options = parser(program).parse_args(arguments)
        if options.what == "report":
            schema = json.loads(REPORT_SCHEMA.read_text(encoding="utf-8"))
        elif options.what in DOCUMENTS:
            schema = json_schema(options.what)
        elif Path(options.what).suffix in (".yaml", ".yml"):
            space = load_space(options.what)
            schema = schema_of(space.trainable, space)
        else:
            schema = _trainable_schema(options.what)
    except UserError as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    print(json.dumps(schema, indent=1))
    return 0


def _trainable_schema(name: str) -> dict[str, object]:
    try:
        load_trainable(name, {}, str(Path.cwd()))
        return schema_of(name)
    except (ImportError, AttributeError, TypeError) as error:
        allowed = ", ".join([*BUILT_IN, "report", *DOCUMENTS])
        raise UserError(
            f"{name}: is none of {allowed}, a module, a function or a space file (.yaml): {error}"
        ) from error


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="dash, command, package.module, ..., a space file, report, or plan, status, ...",
    )
    return parser
