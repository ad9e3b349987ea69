"""Put the report of a finished run among the evidence in docs: the page, its numbers, figures, and the run's tables.

    python docs/evidence.py results/NAME --out docs/evidence/FOLDER/NAME [--figures levels ...]
    python docs/evidence.py docs/evidence/FOLDER/NAME.run --out docs/evidence/FOLDER/NAME  # numbers alone

The tables go to NAME.run, so that a test can tell whether the numbers are still what the code makes of them. The second
form rebuilds NAME.json from them; pictures of samples are not kept, so the page is left as it is.

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

FOLDER_LINK = re.compile(r'<a href="\.\./[^"]*(?:space\.yaml|plan\.json|students/|logs/)"[^>]*>.*?</a>', re.DOTALL)
DOCUMENTS = ("space.yaml", "plan.json", "manifest.json")
TABLES = ("arms", "budgets")  # what effects are estimated from; curves of training are drawn in the page
MAX_BYTES = 1_000_000
LOCAL_LINK = re.compile(r'<a href="\.\./[^"]*"[^>]*>(.*?)</a>', re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run_folder", type=Path, help="folder of a finished run: <storage>/<name>")
    parser.add_argument("--out", type=Path, required=True, help="the files, without their endings")
    parser.add_argument("--figures", nargs="*", default=[], help="names of figures to be put beside as SVG")
    args = parser.parse_args(argv)

    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.report.build import build_report, numbers_of

    stored = args.out.with_name(f"{args.out.name}.run")
    if args.run_folder.resolve() == stored.resolve():
        args.out.with_name(f"{args.out.name}.json").write_text(numbers_of(stored), encoding="utf-8")
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run_folder, report = Path(scratch) / args.run_folder.name, Path(scratch) / "report"
        shutil.copytree(args.run_folder, run_folder, symlinks=True)
        forget_machine(run_folder)
        try:
            build_report([run_folder], report)
        except RunFolderError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        page = FOLDER_LINK.sub("", (report / "index.html").read_text(encoding="utf-8"))
        page = LOCAL_LINK.sub(r"\1", page)
        args.out.with_name(f"{args.out.name}.html").write_text(page, encoding="utf-8")
        shutil.copy(report / "ablation.json", args.out.with_name(f"{args.out.name}.json"))
        try:
            keep_tables(run_folder, stored)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for name in args.figures:
            shutil.copy(report / f"{name}.svg", args.out.with_name(f"{args.out.name}-{name}.svg"))
    return 0


def keep_tables(run_folder: Path, stored: Path) -> None:
    """Copy what the numbers of a report are built from: settings, plan, records of the run, and its tables.

    Raises:
        ValueError: If they take more than MAX_BYTES.
    """
    from branchwise.run_files.sealing import SUMS, sha256_of, sums

    names = [name for name in DOCUMENTS if (run_folder / name).is_file()]
    tables = sorted(path.name for path in run_folder.glob("*.parquet") if path.stem in TABLES)
    measured = sorted(
        str(path.relative_to(run_folder))
        for path in run_folder.glob("measurements/*/*")
        if path.name in ("measure.json", "arms.parquet")
    )
    size = sum((run_folder / name).stat().st_size for name in (*names, *tables, *measured))
    if size > MAX_BYTES:
        raise ValueError(f"{run_folder}: its tables take {size:,} bytes; evidence keeps at most {MAX_BYTES:,}")
    shutil.rmtree(stored, ignore_errors=True)
    for name in (*names, *tables, *measured):
        (stored / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run_folder / name, stored / name)
    forget_machine(stored)
    (stored / SUMS).write_bytes(sums({name: sha256_of(stored / name) for name in tables}))
    for folder in {(stored / name).parent for name in measured}:
        (folder / SUMS).write_bytes(sums({"arms.parquet": sha256_of(folder / "arms.parquet")}))


def forget_machine(run_folder: Path) -> None:
    """Drop the paths and the host of the machine from plan and manifest; no number depends on them."""
    from branchwise.run_files.sealing import read_sealed_json, sealed_json

    changes: dict[str, dict[str, object]] = {
        "plan.json": {"space_folder": ""},
        "manifest.json": {"argv": [], "host": ""},
    }
    for name, values in changes.items():
        file = run_folder / name
        if file.is_file():
            content = read_sealed_json(file.read_bytes(), str(file), required=False)
            file.write_bytes(sealed_json(content | {key: value for key, value in values.items() if key in content}))


if __name__ == "__main__":
    sys.exit(main())
