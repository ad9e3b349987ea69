"""`python -m analysis RUN [RUN ...] [--out DIR]`: rebuild every table, plot and the report; or analyse runs that other
programs made, `python -m analysis RUNS --components A,B --block SEED --value METRIC --direction maximize`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from branchwise.run_files.layout import RESULTS

ELSEWHERE = "runs made elsewhere: a CSV, Parquet or JSON table, or what MLflow, W&B, Ray Tune, Optuna or DVC left"


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `branchwise analyze` and of `python -m analysis`."""
    parser = argparse.ArgumentParser(
        prog=program or "python -m analysis",
        allow_abbrev=False,
        description="Rebuild the report of a run, compare several runs in one report, or analyse runs that were made "
        "elsewhere. Needs neither Ray nor torch.",
    )
    parser.add_argument(
        "run_folder", nargs="+", metavar="RUN", help="name of a run, or its folder; or runs made elsewhere"
    )
    parser.add_argument("--storage", default=RESULTS, metavar="DIR", help="where runs are kept (default: ./results)")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the report (default: RUN/report); of runs made elsewhere, a run folder with the report in it "
        "(default: NAME-ablation beside them)",
    )
    other = parser.add_argument_group(ELSEWHERE)
    other.add_argument("--components", default="", metavar="A,B", help="columns whose values are compared")
    other.add_argument("--block", default="seed", metavar="COLUMN", help="of the seed that cells share (default: seed)")
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
    other.add_argument("--claim", action="append", default=[], help="to be judged, as exploratory; repeatable")
    return parser


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Return the exit code: 0, or 2 for bad input."""
    args = parser(program).parse_args(argv)

    # After the arguments are read: --help stays quick.
    from branchwise.analysis.console import make_console, one_line
    from branchwise.analysis.records.comparing import IncomparableError
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.build import build_report
    from branchwise.analysis.report.terminal import show

    console = make_console()
    try:
        if args.value or args.components:
            summary = build_report([_from_elsewhere(args)])
        else:
            summary = build_report([_folder(name, args.storage) for name in args.run_folder], args.out)
    except (RunFolderError, IncomparableError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder that cannot be read, or whose name no file system takes
        print(f"error: {one_line(f'{error.filename}: {error.strerror or error}')}", file=sys.stderr)
        return 2
    show(summary, console)
    return 0


def _folder(name: str, storage: str) -> Path:
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.records.folder import find_run

    if Path(name).is_file():
        raise RunFolderError(
            f"{name} is no run folder; for {ELSEWHERE}, say --components, --block, --value and --direction"
        )
    return find_run(name, Path(storage))


def _from_elsewhere(args: argparse.Namespace) -> Path:
    """The run folder made of runs that another program made."""
    from branchwise.analysis.elsewhere.folder import run_from_table
    from branchwise.analysis.elsewhere.options import ImportOptions, read_range, split_levels, split_names
    from branchwise.analysis.records.damage import RunFolderError

    (source, *more) = args.run_folder
    if more:
        raise RunFolderError(f"{more[0]}: runs made elsewhere are analysed one table at a time")
    if not args.value:
        raise RunFolderError(f"{source}: name the column of the result with --value")
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
    )
    path = Path(source.removeprefix("sqlite:///"))
    return run_from_table(source, options, args.out or path.with_name(f"{path.stem}-ablation"))


if __name__ == "__main__":
    sys.exit(main())
