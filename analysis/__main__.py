"""`python -m analysis RUN [RUN ...] [--out DIR]`: rebuild each table, plot and the report; or analyze runs that other
programs made, `python -m analysis RUNS --components A,B --block SEED --value METRIC --direction maximize`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.analysis.declared.inference import ALPHA
from branchwise.command_io import JSON_HELP, ArgumentsError, CommandParser, print_document, refuser
from branchwise.run_files.layout import RESULTS

if TYPE_CHECKING:
    from branchwise.analysis.report.build import Summary
    from branchwise.analysis.report.text import Table

EXTERNAL = "external runs: a CSV, Parquet or JSON table, or what a tracker left (W&B, MLflow, ...)"


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `branchwise analyze` and of `python -m analysis`."""
    parser = CommandParser(
        prog=program or "python -m analysis",
        description="Rebuild the report of a run, compare several runs in one report, or analyze runs that were made "
        "elsewhere. Needs neither Ray nor torch.",
    )
    parser.add_argument("run_folder", nargs="+", metavar="RUN", help="name of a run, or its folder; or external runs")
    parser.add_argument("--storage", default=RESULTS, metavar="DIR", help="where runs are kept (default: ./results)")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the report (default: RUN/report); of external runs, a run folder with the report in it "
        "(default: NAME-ablation beside them)",
    )
    parser.add_argument(
        "--across", action="store_true", help="combine the effects of runs on different data sets (random effects)"
    )
    other = parser.add_argument_group(EXTERNAL)
    other.add_argument("--components", default="", metavar="A,B", help="columns whose values are compared")
    other.add_argument("--block", metavar="COLUMN", help="of the seed that cells share (default: seed)")
    other.add_argument("--value", metavar="COLUMN", help="of the result")
    other.add_argument("--direction", default="", metavar="WHICH", help="minimize or maximize: which value is better")
    other.add_argument(
        "--scale", choices=("log", "logit", "identity"), help="of effects (default: one that suits the values)"
    )
    other.add_argument("--range", default="", metavar="LOW,HIGH", help="of the result's values: 0,100 for per cent")
    other.add_argument(
        "--at", metavar="WHICH", help="value of the result's history: last (default), best (optimistic) or a step"
    )
    other.add_argument("--experiment", metavar="NAME", help="experiment or study, where a source holds several")
    other.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="A=X",
        help="what a component is compared with (default: off, false, none, 0 or the smallest number); repeatable",
    )
    other.add_argument(
        "--full",
        action="append",
        default=[],
        metavar="A=Y",
        help="of the whole method (default: the other value, the last); repeatable",
    )
    other.add_argument("--unpaired", action="store_true", help="compare by Welch's t: cells share no seeds")
    other.add_argument("--alpha", type=float, help=f"error of all tests together (default: {ALPHA})")
    parser.add_argument(
        "--claim", action="append", default=[], metavar="TEXT", help="test this claim too, as exploratory; repeatable"
    )
    paper = parser.add_argument_group("a paper's files, in the place of the report")
    paper.add_argument(
        "--paper", type=Path, metavar="DIR", help="write LaTeX tables, figures as PDF and tidy CSV files to this folder"
    )
    paper.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="TABLE=A,B",
        help="columns of a table, such as cells=seeds,accuracy (default: all that hold something); repeatable",
    )
    paper.add_argument("--digits", type=int, default=2, metavar="N", help="of SDs and intervals (default: 2)")
    paper.add_argument("--percent", action="store_true", help="print mean rates in per cent")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Return the exit code: 0, or 2 for bad input."""
    refuse = refuser(program, argv)
    try:
        args = parser(program).parse_args(argv)
    except ArgumentsError as error:
        return refuse(str(error))

    # After the arguments are read: --help stays quick.
    from branchwise.analysis.console import make_console, single_line
    from branchwise.analysis.records.comparing import IncomparableError
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.build import build_report
    from branchwise.analysis.report.terminal import rich_table, show

    console = make_console()
    try:
        imported = bool(args.value or args.components)
        _refuse_unused(args, imported)
        if args.across:
            return _across(args, imported)
        folders = [_from_external(args)] if imported else [_folder(name, args.storage) for name in args.run_folder]
        explored = [] if imported else _explored(folders, args.claim)
        if args.paper:
            return _write_paper(folders, args)
        summary = build_report(folders, None if imported else args.out)
    except (RunFolderError, IncomparableError, ArgumentsError) as error:
        return refuse(single_line(error))
    except OSError as error:  # a folder that cannot be read, or with a name that no file system accepts
        return refuse(single_line(f"{error.filename}: {error.strerror or error}"))
    if args.json:
        print_document(_document(summary, explored))
        return 0
    show(summary, console)
    for table in explored:
        console.print(rich_table(table))
    return 0


def _refuse_unused(args: argparse.Namespace, imported: bool) -> None:
    """Refuse options without effect; raise ArgumentsError."""
    defaults = parser()
    unused = [] if imported else ["block", "direction", "scale", "range", "at", "experiment", "reference", "full",
                               "unpaired", "alpha"]  # fmt: skip
    unused += ["out"] if args.paper and not imported else [] if args.paper else ["columns", "digits", "percent"]
    if args.paper and args.json:
        raise ArgumentsError("--json: not used with --paper, which prints the paths of its files")
    for name in unused:
        if getattr(args, name) != defaults.get_default(name):
            needs = "--paper" if name in ("columns", "digits", "percent") else "--components and --value"
            raise ArgumentsError(
                "--out: not used with --paper" if name == "out" else f"--{name}: only used with {needs}"
            )


def _across(args: argparse.Namespace, imported: bool) -> int:
    """Print what holds across runs on different data sets; with --out, write it as a report."""
    from branchwise.analysis.across import across, write_report
    from branchwise.analysis.console import make_console
    from branchwise.analysis.report.across.tables import document, effects_table
    from branchwise.analysis.report.numbers import to_json
    from branchwise.analysis.report.terminal import rich_table

    for option, given in (("--claim", args.claim), ("--paper", args.paper), ("--components and --value", imported)):
        if given:
            raise ArgumentsError(f"{option}: not used with --across, which combines finished run folders")
    result = across([_folder(name, args.storage) for name in args.run_folder])
    folder = write_report(result, args.out) if args.out else None
    if args.json:
        print_document(json.loads(to_json(document(result))))
        return 0
    console, table = make_console(), effects_table(result)
    console.print(rich_table(table))
    for note in (table.note, *result.notes):
        console.print(note, highlight=False)
    if folder:
        console.print(f"report: {folder / 'index.html'}", highlight=False, soft_wrap=True)
    return 0


def _explored(folders: Sequence[Path], claims: Sequence[str]) -> list[Table]:
    """A table of exploratory claims for each run."""
    from branchwise.analysis.records.folder import load_run
    from branchwise.analysis.report.claims import exploratory_table
    from branchwise.analysis.statistics.findings import analyze_run, explore_run

    try:
        runs = [load_run(folder) for folder in folders] if claims else []
        return [
            exploratory_table(findings, verdicts)
            for run in runs
            for findings, verdicts in zip(analyze_run(run), explore_run(run, claims), strict=True)
        ]
    except ValueError as error:
        raise ArgumentsError(f"--claim: {error}") from error


def _write_paper(folders: Sequence[Path], args: argparse.Namespace) -> int:
    from branchwise.analysis.report.build import build_paper
    from branchwise.analysis.report.exports.paper import read_options

    for path in build_paper(folders, args.paper, read_options(args.columns, args.digits, args.percent)):
        print(path)
    return 0


def _document(summary: Summary, explored: Sequence[Table]) -> dict[str, Any]:
    return {
        "report": str(summary.folder),
        "warnings": summary.warnings,
        "answers": summary.answers,
        "notes": summary.notes,
        "exploratory": [dict(zip(table.columns, row, strict=True)) for table in explored for row in table.rows],
        "results": json.loads((summary.folder / "ablation.json").read_bytes()),
    }


def _folder(name: str, storage: str) -> Path:
    from branchwise.analysis.records.folder import find_run

    if Path(name).is_file():
        raise ArgumentsError(
            f"{name} is no run folder; for {EXTERNAL}, say --components, --block, --value and --direction"
        )
    return find_run(name, Path(storage))


def _from_external(args: argparse.Namespace) -> Path:
    """The run folder built from runs of another program."""
    from branchwise.analysis.importers.folder import run_from_table
    from branchwise.analysis.importers.options import ImportOptions, read_range, split_levels, split_names

    (source, *more) = args.run_folder
    if more:
        raise ArgumentsError(f"{more[0]}: external runs are analyzed one table at a time")
    if not args.value:
        raise ArgumentsError(f"{source}: name the column of the result with --value")
    components = split_names(args.components)
    options = ImportOptions(
        components=components,
        block=args.block,
        value=args.value,
        direction=args.direction,
        scale=args.scale,
        range=read_range(args.range) if args.range else None,
        experiment=args.experiment,
        reference=split_levels("--reference", args.reference, components),
        full=split_levels("--full", args.full, components),
        claims=args.claim,
        at=args.at,
        paired=not args.unpaired,
        alpha=ALPHA if args.alpha is None else args.alpha,
    )
    path = Path(source.removeprefix("sqlite:///"))
    return run_from_table(source, options, args.out or path.with_name(f"{path.stem}-ablation"))


if __name__ == "__main__":
    sys.exit(main())
