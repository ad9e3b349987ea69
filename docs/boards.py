"""The verdicts of several runs on the same claims side by side, as a Markdown table.

python docs/boards.py digits=docs/evidence/digits/ablation.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="NAME=FILE", help="the ablation.json of each run's report")
    named = [text.partition("=")[::2] for text in parser.parse_args(argv).reports]
    boards = {name: claims_of(Path(file)) for name, file in named}
    print("\n".join(table(boards)))
    return 0


def claims_of(file: Path) -> dict[str, Mapping[str, Any]]:
    """The judged claims of a report by their text."""
    return {claim["text"]: claim for claim in json.loads(file.read_text(encoding="utf-8"))["claims"]}


def table(boards: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A row for each claim: its verdict and p in each run, and whether all verdicts are the same."""
    lines = [f"| claim | {' | '.join(boards)} | agree |", f"| --- | {' | '.join('---' for _ in boards)} | --- |"]
    for text in dict.fromkeys(text for board in boards.values() for text in board):
        claims = [board.get(text) for board in boards.values()]
        verdicts = {claim["verdict"] for claim in claims if claim is not None}
        agree = "yes" if len(verdicts) == 1 and None not in claims else "no"
        lines.append(f"| `{text}` | {' | '.join(map(_cell, claims))} | {agree} |")
    return lines


def _cell(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return "not asked"
    if claim["p_holm"] is None:
        return f"{claim['verdict']}: {claim['reason']}"
    p = "p < 0.001" if claim["p_holm"] < 0.001 else f"p = {claim['p_holm']:.3f}"
    return f"{claim['verdict']} ({p})"


if __name__ == "__main__":
    sys.exit(main())
