#!/usr/bin/env python3
"""Turns a checkpoint of the DASH authors' code into a model folder that a space can name as its teacher."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # not as a part of the installed package
    sys.path.insert(0, str(ROOT))  # for branchwise

from branchwise.orchestration.errors import UserError  # noqa: E402
from branchwise.orchestration.input.parser import Parser  # noqa: E402


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Returns the exit code: 0 the folder is written, 2 bad input and no file written."""
    try:
        options = parser(program).parse_args(arguments)
        from branchwise.trainables.dash.authors.checkpoints import import_checkpoint  # torch: not before it is needed

        summary = import_checkpoint(options.checkpoint, options.num_classes, options.image_size, options.out)
    except (UserError, OSError, ValueError) as error:
        print(f"{program or 'import_reference'}: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {summary['parameters']:,} parameters. In a space: teacher: {{checkpoint: {options.out}}}")
    return 0


def parser(program: str | None = None) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("--checkpoint", metavar="FILE", type=Path, required=True, help="the authors' .pth file")
    option("--num-classes", metavar="N", type=int, required=True, help="classes it was trained on, e.g. 10")
    option("--image-size", metavar="S", type=int, required=True, help="side of its images in pixels, e.g. 32")
    option("--out", metavar="DIR", type=Path, required=True, help="the folder to write; it must not exist yet")
    return parser


if __name__ == "__main__":
    sys.exit(main())
