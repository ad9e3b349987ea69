"""Turns a checkpoint of the DASH authors' code into a model folder that a space can name as its teacher."""

from __future__ import annotations

import sys
from pathlib import Path

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 the folder is written, 2 bad input and no file written."""
    try:
        options = parser(program).parse_args(arguments)
        from branchwise.trainables.dash.authors.checkpoints import import_checkpoint  # torch: not before it is needed

        summary = import_checkpoint(options.checkpoint, options.num_classes, options.image_size, options.out)
    except (UserError, OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {summary['parameters']:,} parameters. In a space: teacher: {{checkpoint: {options.out}}}")
    return 0


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("--checkpoint", metavar="FILE", type=Path, required=True, help="the authors' .pth file")
    option("--num-classes", metavar="N", type=int, required=True, help="classes it was trained on, e.g. 10")
    option("--image-size", metavar="S", type=int, required=True, help="side of its images in pixels, e.g. 32")
    option("--out", metavar="DIR", type=Path, required=True, help="the folder to write; it must not exist yet")
    return parser
