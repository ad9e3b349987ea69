"""Files for a paper in a chosen style: LaTeX tables, figures as PDF, tidy tables as CSV."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.report import formats
from branchwise.analysis.report.exports import tidy
from branchwise.analysis.report.figures import Plot
from branchwise.analysis.report.numbers import csv_frame
from branchwise.analysis.report.text import NumberStyle, Table, keep_columns, without_empty_columns
from branchwise.analysis.report.wording import for_print
from branchwise.analysis.statistics.findings import Findings
from branchwise.run_files.layout import is_file_name

MARK = "branchwise-paper.txt"
HEADER = "Written by branchwise analyze --paper, which replaces these files when it runs again:"
MAX_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class PaperOptions:
    """Style of a paper: digits and per cent of its numbers, and columns by name of the table."""

    style: NumberStyle = field(default_factory=NumberStyle)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_options(columns: Sequence[str], digits: int, percent: bool) -> PaperOptions:
    """Options of the command line; `columns` as `cells=seeds,accuracy`.

    Raises:
        RunFolderError: A text has no table, or digits are out of range.
    """
    if not 1 <= digits <= MAX_DIGITS:
        raise RunFolderError(f"--digits {digits}: must be from 1 to {MAX_DIGITS}")
    chosen: dict[str, list[str]] = {}
    for text in columns:
        name, sign, names = text.partition("=")
        if not sign or not names.strip(" ,"):
            raise RunFolderError(f"--columns {text}: must be TABLE=COLUMN,COLUMN, such as cells=seeds,accuracy")
        chosen[name.strip()] = [part.strip() for part in names.split(",") if part.strip()]
    return PaperOptions(style=NumberStyle(digits=digits, percent=percent), columns=chosen)


def write_paper(
    analyses: Sequence[Findings], tables: Sequence[Table], plots: Sequence[Plot], folder: Path, options: PaperOptions
) -> list[Path]:
    """Write table-*.tex, figures (PDF), and effects, cells, arms, claims (CSV); return paths.

    Raises:
        RunFolderError: The folder holds other files, cannot be written, or a column is not of its table.
    """
    printed = [_chosen(without_empty_columns(for_print(table, analyses)), options) for table in tables if table.rows]
    if unknown := sorted(set(options.columns) - {table.slug for table in printed}):
        raise RunFolderError(
            f"--columns {unknown[0]}=...: no such table; this run has {', '.join(table.slug for table in printed)}"
        )
    contents: dict[str, bytes] = {
        f"table-{table.slug}.tex": f"{formats.PREAMBLE}{formats.latex_table(table)}".encode() for table in printed
    }
    contents |= {f"{name}.csv": csv_frame(table).encode() for name, table in tidy.all_tables(analyses).items()}
    contents |= {f"{plot.name}.pdf": plot.pdf() for plot in plots}
    try:
        if folder.exists() and not (folder / MARK).is_file() and any(folder.iterdir()):
            raise RunFolderError(f"--paper {folder}: holds other files; name a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        before = (folder / MARK).read_text(encoding="utf-8").split("\n")[1:] if (folder / MARK).is_file() else []
        with tempfile.TemporaryDirectory(prefix=".paper-", dir=folder) as staging:
            marked = {**contents, MARK: "\n".join([HEADER, *contents]).encode()}
            for name, content in marked.items():
                (Path(staging) / name).write_bytes(content)
            for name in marked:
                (Path(staging) / name).replace(folder / name)
        for name in set(before) - set(contents):
            if is_file_name(name):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"--paper {folder}: cannot be written: {error.strerror or error}") from error
    return [folder / name for name in contents]


def _chosen(table: Table, options: PaperOptions) -> Table:
    """The table with the columns that were chosen for it, behind its first."""
    names = options.columns.get(table.slug)
    if names is None:
        return table
    stored = [0]
    for name in names:
        matches = [i for i, column in enumerate(table.columns) if _plain(column).startswith(_plain(name))]
        if not matches:
            allowed = ", ".join(table.columns[1:])
            raise RunFolderError(f"--columns {table.slug}: {name} is not a column; allowed are {allowed}")
        stored += [i for i in matches if i not in stored]
    return keep_columns(table, stored)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.lower()).strip()
