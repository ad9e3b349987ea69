"""Puts the report of a finished run among the evidence in docs: the page, its numbers, and figures asked for.

    python docs/evidence.py results/NAME --out docs/evidence/FOLDER/NAME [--figures levels ...]

Links from the page to files of the run folder, which is not in the repository, become plain text; those to the folder's
settings, students and logs go.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FOLDER_LINK = re.compile(r'<a href="\.\./[^"]*(?:space\.yaml|plan\.json|students/|logs/)"[^>]*>.*?</a>', re.DOTALL)
LOCAL_LINK = re.compile(r'<a href="\.\./[^"]*"[^>]*>(.*?)</a>', re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run_folder", type=Path, help="folder of a finished run: <storage>/<name>")
    parser.add_argument("--out", type=Path, required=True, help="the files, without their endings")
    parser.add_argument("--figures", nargs="*", default=[], help="names of figures to be put beside as SVG")
    args = parser.parse_args(argv)

    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.build import build_report

    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.run_folder.parent) as scratch:  # where its links lead up to the run
        report = Path(scratch) / "report"
        try:
            build_report([args.run_folder], report)
        except RunFolderError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        page = FOLDER_LINK.sub("", (report / "index.html").read_text(encoding="utf-8"))
        page = LOCAL_LINK.sub(r"\1", page)
        args.out.with_name(f"{args.out.name}.html").write_text(page, encoding="utf-8")
        shutil.copy(report / "ablation.json", args.out.with_name(f"{args.out.name}.json"))
        for name in args.figures:
            shutil.copy(report / f"{name}.svg", args.out.with_name(f"{args.out.name}-{name}.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
