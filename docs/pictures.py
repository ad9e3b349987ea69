"""Draws the pictures that open the README from a finished run: the verdict board and what each component is worth.

    python docs/pictures.py results/NAME [--log FILE] [--out docs/images]

With what the run printed, saved to a file, also that, as a terminal shows it. Each comes as SVG for light and for dark
pages; what to paste is printed. Text of plots is drawn as outlines, so that it looks the same on a machine without the
fonts.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run_folder", type=Path, help="folder of a finished run with claims: <storage>/<name>")
    parser.add_argument("--log", type=Path, help="what the run printed: run_sweep.py ... | tee FILE")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", help="where the pictures go")
    args = parser.parse_args(argv)

    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.records.folder import load_run, parts
    from branchwise.analysis.report.figures import dark, outlined
    from branchwise.analysis.report.plots.attribution import attribution_bars
    from branchwise.analysis.report.plots.board import verdict_board
    from branchwise.analysis.statistics.findings import analyze_part

    try:
        findings = analyze_part(parts(load_run(args.run_folder.resolve()))[0])
    except RunFolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with outlined():
        drawn = [plot for plot in (verdict_board(findings), attribution_bars(findings)) if plot is not None]
    if not drawn:
        print(f"error: {args.run_folder} has neither claims nor components to draw", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    if args.log is not None:
        for scheme, svg in terminal(args.log.read_text(encoding="utf-8"), args.run_folder.name).items():
            (args.out / f"terminal-{scheme}.svg").write_text(svg, encoding="utf-8")
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


def terminal(text: str, title: str) -> dict[str, str]:
    """The lines as a terminal shows them, for light and dark pages; in fonts of the reader's machine."""
    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI
    from rich.text import Text

    console = Console(record=True, width=122, file=io.StringIO())
    console.print(Text(text.rstrip()), soft_wrap=False)
    themes = {"light": DEFAULT_TERMINAL_THEME, "dark": DIMMED_MONOKAI}
    drawn = {name: console.export_svg(title=title, theme=theme, clear=False) for name, theme in themes.items()}
    # Without the fonts that rich would have loaded from the network.
    return {name: re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL) for name, svg in drawn.items()}


if __name__ == "__main__":
    sys.exit(main())
