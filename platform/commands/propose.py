"""Looks at a folder of images, a sub-folder for each class, and writes a space for it that runs as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from branchwise.analysis.console import printable, single_line
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.space import parse_space

MAX_NAMED = 20  # classes


def main(arguments: list[str], program: str) -> int:
    """Return the exit code: 0 the space is written, 2 bad input and nothing written."""
    try:
        options = parser(program).parse_args(arguments)
        if options.out.exists():
            raise UserError(f"--out {options.out}: exists already; choose another file")
    except UserError as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    from branchwise.trainables.dash.data.proposal import space_text, survey_images  # Pillow: not before it is needed

    try:
        match = survey_images(options.images)
        name = re.sub(r"[^a-z0-9._-]+", "-", options.images.resolve().name.lower()).strip("-._") or "images"
        text = space_text(name[:64], options.images, match)
        parse_space(str(options.out), text.encode())
        options.out.write_text(text)
    except (ValueError, UserError, OSError) as error:
        for line in str(error).splitlines():
            print(f"{program}: {printable(line)}", file=sys.stderr)
        return 2
    color = "color" if match.channels == 3 else "grey"
    print(f"{len(match.classes)} classes, {match.images:,} images, {match.side}x{match.side} in {color}: {options.out}")
    print(f"Classes: {single_line(class_names(match.classes, match.counts))}")
    for note in match.notes:
        print(f"Note: {single_line(note)}")
    print(f"What would run, and for how long: branchwise plan {options.out}")
    return 0


def class_names(names: Sequence[str], counts: Sequence[int]) -> str:
    """The classes with their numbers of images, in the order of their labels."""
    message = ", ".join(f"{name} ({count:,})" for name, count in zip(names[:MAX_NAMED], counts, strict=False))
    return message + (f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else "")


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("--images", metavar="DIR", type=Path, required=True, help="the folder of images")
    option("--out", metavar="FILE", type=Path, required=True, help="the space to write; it must not exist yet")
    return parser
