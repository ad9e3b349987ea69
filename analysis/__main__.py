"""`python -m analysis RUN [RUN ...] [--out DIR]`: rebuild every table, plot and the report; or analyse runs that other
programs made, `python -m analysis RUNS --components A,B --block SEED --value METRIC --direction maximize`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ELSEWHERE = (
    "runs made elsewhere: a CSV or Parquet table, a JSON file of W&B, an MLflow, Ray Tune or Optuna folder or storage"
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Rebuild the report of a run, compare several runs in one report, or analyse runs that were made "
        "elsewhere. Needs neither Ray nor torch.",
    )
    parser.add_argument(
        "run_folder", nargs="+", metavar="RUN", help="folder of a run: <storage>/<name>; or runs made elsewhere"
    )
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
    other.add_argument(
        "--reference",
        default="",
        metavar="A=X",
        help="what a component is compared with (default: off, false, none, 0 or the smallest number)",
    )
    other.add_argument(
        "--full", default="", metavar="A=Y", help="of the whole method (default: the other value, the last)"
    )
    other.add_argument("--claim", action="append", default=[], help="to be judged, as exploratory; repeatable")
    args = parser.parse_args(argv)

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
            summary = build_report([_folder(name) for name in args.run_folder], args.out)
    except (RunFolderError, IncomparableError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    show(summary, console)
    return 0


def _folder(name: str) -> Path:
    from branchwise.analysis.records.damage import RunFolderError

    if Path(name).is_file():
        raise RunFolderError(
            f"{name} is no run folder; for {ELSEWHERE}, say --components, --block, --value and --direction"
        )
    return Path(name)


def _from_elsewhere(args: argparse.Namespace) -> Path:
    """The run folder made of runs that another program made."""
    from branchwise.analysis.elsewhere.folder import run_from_table
    from branchwise.analysis.elsewhere.table import Asked
    from branchwise.analysis.records.damage import RunFolderError

    (source, *more) = args.run_folder
    if more:
        raise RunFolderError(f"{more[0]}: runs made elsewhere are analysed one table at a time")
    if not args.value:
        raise RunFolderError(f"{source}: name the column of the result with --value")
    asked = Asked(
        components=[word for word in args.components.split(",") if word],
        block=args.block,
        value=args.value,
        direction=args.direction,
        scale=args.scale,
        reference=_pairs("--reference", args.reference),
        full=_pairs("--full", args.full),
        claims=args.claim,
    )
    path = Path(source.removeprefix("sqlite:///"))
    return run_from_table(source, asked, args.out or path.with_name(f"{path.stem}-ablation"))


def _pairs(option: str, text: str) -> dict[str, str]:
    from branchwise.analysis.records.damage import RunFolderError

    words = [word.partition("=") for word in text.split(",") if word]
    for name, equals, _ in words:
        if not (name and equals):
            raise RunFolderError(f"{option} {text}: write COMPONENT=VALUE, several with commas")
    return {name: value for name, _, value in words}


if __name__ == "__main__":
    sys.exit(main())
