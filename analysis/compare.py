"""`branchwise compare A B`: two runs or two cells, seed by seed; or two groups of a table, unpaired."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import expm1
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.analysis.declared.inference import ALPHA
from branchwise.command_io import JSON_HELP, ArgumentsError, CommandParser, print_document, refuser
from branchwise.run_files.layout import RESULTS

if TYPE_CHECKING:
    from branchwise.analysis.comparison import Comparison
    from branchwise.analysis.declared.outcomes import Outcome
    from branchwise.analysis.report.text import Table
    from branchwise.analysis.statistics.model import Estimate

MAX_SETTING = 60  # characters of a setting in the table


def change_text(estimate: Estimate, outcome: Outcome) -> str:
    """Return a difference as text: `-12.1% [-15.2, -8.9]` for ratios, points for rates.

    Else it is in the metric's unit.
    """
    from branchwise.analysis.report.text import DASH, with_interval

    if not estimate.has_value:
        return DASH
    if outcome.scale == "log":
        low, value, high = (100 * expm1(min(x, 700.0)) for x in (estimate.low, estimate.value, estimate.high))
        return f"{value:+.1f}%" + (f" [{low:+.1f}, {high:+.1f}]" if estimate.has_interval else "")
    if outcome.points:
        head, _, tail = with_interval(estimate, outcome.points).partition(" ")
        return f"{head} points {tail}".rstrip()
    return with_interval(estimate)


def tables(comparison: Comparison) -> list[Table]:
    """The differences, and the settings that differ."""
    from branchwise.analysis.report.text import Table, mean_sd, p_text

    first, second = comparison.names
    multiple = len(comparison.rows) > 1
    rows = []
    for row in comparison.rows:
        displayed = row.estimate if row.outcome.scale == "log" else row.raw
        seeds = str(row.seeds) if comparison.rules.paired else f"{row.runs[0]} + {row.runs[1]}"
        p = (p_text(row.estimate.p), *((p_text(row.p_holm),) if multiple else ()))
        rows.append(
            (row.name, mean_sd(*row.first), mean_sd(*row.second), seeds, change_text(displayed, row.outcome), *p)
        )
    how = "within shared seeds" if comparison.rules.paired else "unpaired (Welch)"
    direction = f" {comparison.better.capitalize()} is better." if comparison.better else ""
    sections = [
        Table(
            title=f"{comparison.metric}: {second} against {first}, {how}",
            name="comparison",
            columns=(
                "cell",
                first,
                second,
                "seeds" if comparison.rules.paired else "runs",
                f"difference [{comparison.rules.percent}]",
                "p",
                *(("p (Holm)",) if multiple else ()),
            ),
            rows=tuple(rows),
            note=f"The second minus the first, {comparison.rules.percent} intervals.{direction}",
        )
    ]
    if comparison.settings:
        changed = tuple((key, *map(_setting, values)) for key, values in comparison.settings.items())
        sections.append(
            Table(title="Settings that differ", columns=("setting", first, second), rows=changed, text_columns=3)
        )
    return sections


def _setting(value: Any) -> str:
    from branchwise.analysis.console import printable, shortened

    return "–" if value is None else shortened(printable(str(value)), MAX_SETTING)  # noqa: RUF001


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `branchwise compare`."""
    parser = CommandParser(
        prog=program or "branchwise compare",
        description="Compare two runs or two cells seed by seed, or two groups of a table by Welch's t.",
    )  # fmt: skip
    parser.add_argument("run", nargs="+", metavar="RUN", help="two runs, or two cells as RUN:CELL; or one table")
    parser.add_argument("--storage", default=RESULTS, metavar="DIR", help="where runs are kept (default: ./results)")
    parser.add_argument("--unpaired", action="store_true", help="compare by Welch's t: the two share no seeds")
    parser.add_argument("--alpha", type=float, default=ALPHA, help="intervals are at 1 - alpha (default: %(default)s)")
    table = parser.add_argument_group("a table of external runs")
    table.add_argument("--group", metavar="COLUMN", help="that tells the two groups apart")
    table.add_argument("--value", metavar="COLUMN", help="of the result")
    table.add_argument("--block", metavar="COLUMN", help="of the seed (default: seed, if there is one)")
    table.add_argument("--scale", choices=("log", "logit", "identity"), help="of the difference (default: identity)")
    table.add_argument("--range", default="", metavar="LOW,HIGH", help="of the result's values: 0,100 for per cent")
    table.add_argument("--experiment", metavar="NAME", help="experiment or study, where a source holds several")
    table.add_argument("--at", metavar="WHICH", help="value of the result's history: last, best or a step")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Return the exit code: 0, or 2 for bad input."""
    refuse = refuser(program or "branchwise compare", argv)
    try:
        args = parser(program).parse_args(argv)
    except ArgumentsError as error:
        return refuse(str(error))
    from branchwise.analysis.console import make_console, single_line
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.terminal import rich_table

    try:
        comparison = _comparison(args)
    except (RunFolderError, ArgumentsError) as error:
        return refuse(single_line(error))
    if args.json:
        print_document(document(comparison))
        return 0
    console = make_console()
    for table in tables(comparison):
        console.print(rich_table(table))
        if table.note:
            console.print(table.note, highlight=False)
    for note in comparison.notes:
        console.print(f"note: {note}", highlight=False)
    return 0


def document(comparison: Comparison) -> dict[str, Any]:
    """Return all that was found as plain values."""
    return {
        "names": comparison.names,
        "metric": comparison.metric,
        "better": comparison.better,
        "paired": comparison.rules.paired,
        "level": comparison.rules.level,
        "differences": comparison.differences.to_dict("records"),
        "settings": {name: list(values) for name, values in comparison.settings.items()},
        "notes": comparison.notes,
    }


def _comparison(args: argparse.Namespace) -> Comparison:
    from branchwise.analysis.comparison import compare_groups, compare_runs
    from branchwise.analysis.importers.options import ImportOptions, read_range

    if args.group is None:
        for option in ("value", "block", "scale", "range", "experiment", "at"):
            if getattr(args, option):
                raise ArgumentsError(f"--{option}: is for a table, with --group; runs declare it themselves")
        if len(args.run) != 2:
            raise ArgumentsError(f"compare takes two runs or cells, not {len(args.run)}; or one table with --group")
        return compare_runs(args.run[0], args.run[1], Path(args.storage), not args.unpaired, args.alpha)
    if len(args.run) != 1:
        raise ArgumentsError("--group: compares two groups of one table; name one")
    if not args.value:
        raise ArgumentsError(f"{args.run[0]}: name the column of the result with --value")
    options = ImportOptions(
        components=[], block=args.block, value=args.value, direction="", scale=args.scale,
        range=read_range(args.range) if args.range else None, experiment=args.experiment, at=args.at, alpha=args.alpha,
    )  # fmt: skip
    return compare_groups(args.run[0], args.group, options)


if __name__ == "__main__":
    sys.exit(main())
