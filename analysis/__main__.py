"""`python -m analysis RUN_FOLDER [RUN_FOLDER ...] [--out DIR]`: rebuild every table, plot and the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Rebuild the report of a run, or compare several runs in one report. Needs neither Ray nor torch.",
    )
    parser.add_argument("run_folder", nargs="+", type=Path, help="folder of a run: <storage>/<name>")
    parser.add_argument("--out", type=Path, help="folder of the report (default: RUN_FOLDER/report)")
    args = parser.parse_args(argv)

    # After the arguments are read: --help stays quick.
    from branchwise.analysis.console import make_console, one_line
    from branchwise.analysis.records.comparing import IncomparableError
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.build import build_report
    from branchwise.analysis.report.terminal import show

    console = make_console()
    try:
        summary = build_report(args.run_folder, args.out)
    except (RunFolderError, IncomparableError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    show(summary, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
