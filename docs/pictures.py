"""Draws the pictures that open the README from a finished run: the verdict board and what each component is worth.

    python docs/pictures.py results/NAME [--out docs/images]

Each comes as SVG for light and for dark pages; what to paste is printed. Text is drawn as outlines, so that it looks
the same on a machine without the fonts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run_folder", type=Path, help="folder of a finished run with claims: <storage>/<name>")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", help="where the pictures go")
    args = parser.parse_args(argv)

    from branchwise.analysis.records.folder import RunFolderError, load_run, parts
    from branchwise.analysis.report.figures import dark, outlined
    from branchwise.analysis.report.plots.attribution import attribution_bars
    from branchwise.analysis.report.plots.board import verdict_board
    from branchwise.analysis.statistics.findings import analyse

    try:
        findings = analyse(parts(load_run(args.run_folder.resolve()))[0])
    except RunFolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with outlined():
        drawn = [plot for plot in (verdict_board(findings), attribution_bars(findings)) if plot is not None]
    if not drawn:
        print(f"error: {args.run_folder} has neither claims nor components to draw", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for plot in drawn:
        (args.out / f"{plot.name}-light.svg").write_text(plot.svg, encoding="utf-8")
        (args.out / f"{plot.name}-dark.svg").write_text(dark(plot.svg), encoding="utf-8")
        source = args.out.resolve()
        where = source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else source.as_posix()
        print(
            "<picture>\n"
            f'  <source media="(prefers-color-scheme: dark)" srcset="{where}/{plot.name}-dark.svg">\n'
            f'  <img src="{where}/{plot.name}-light.svg" alt="{escape(plot.alt)}">\n'
            "</picture>\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
