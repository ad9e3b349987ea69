"""Downloads what a space needs and this machine lacks, data sets and weights of feature nets, and says so before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from branchwise.analysis.console import make_console, single_line
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.parser import Parser
from branchwise.orchestration.space import load_space
from branchwise.trainables import RequiredFile


def main(arguments: list[str], program: str) -> int:
    """Return the exit code.

    0 all files exist, 2 bad input, 3 something could not be fetched, 130 interrupted.
    """
    console = make_console()
    try:
        options = parser(program).parse_args(arguments)
        space = load_space(options.space, options.set, imports=not options.dry_run)
        specs = [data_set.on(space.method).spec for data_set in space.design.data_sets]
        needed = list({item.location: item for spec in specs for item in space.module.missing_files(spec)}.values())
        if not needed:
            console.print(f"{options.space}: nothing is missing.", highlight=False)
            return 0
        for item in needed:
            console.print(announced(item), highlight=False, soft_wrap=True)
        return 0 if options.dry_run else fetch(needed, console)
    except UserError as error:
        print(f"{program}: {single_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted. Incomplete downloads were removed; run the command again.")
        return 130


def announced(needed: RequiredFile) -> str:
    """The announcement of a download: file, source, destination, size and checksum."""
    facts = [f"{needed.size:,} bytes"] * bool(needed.size)
    facts += [f"SHA-256 {needed.sha256}"] * bool(needed.sha256)
    checked = f" ({', '.join(facts)})" if facts else ""
    return f"{needed.description}: {needed.source} -> {needed.location}{checked}"


def fetch(needed: Sequence[RequiredFile], console: Console) -> int:
    """Fetch each file and print a message for each failure. Return the exit code."""
    failed = 0
    columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for item in needed:
            bar = bars.add_task(item.description, total=item.size or None)
            try:
                item.fetch(partial(bars.advance, bar))
            except (OSError, ValueError) as error:
                failed += 1
                print(f"fetch: {item.description} was not fetched: {single_line(error)}", file=sys.stderr)
            else:
                console.print(f"{item.description}: {item.location}", highlight=False, soft_wrap=True)
    return 3 if failed else 0


def parser(program: str) -> Parser:
    parser = Parser(prog=program, description=__doc__)
    option = parser.add_argument
    option("--space", metavar="FILE", type=Path, required=True, help="the space whose data and weights are fetched")
    option("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the space; repeatable")
    option("--dry-run", action="store_true", help="say what would be fetched; fetch nothing")
    return parser
