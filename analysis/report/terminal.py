"""Shows a report's summary in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from branchwise.analysis.console import printable
from branchwise.analysis.report.build import Summary
from branchwise.analysis.report.text import Table

MAX_ROWS = 70


def show(summary: Summary, console: Console, page: str = "") -> None:
    """Print answers, tables, notes and the report's path, which is `page` where it was moved."""
    for warning in summary.warnings:
        console.print(Text.assemble(("warning:", "bold red"), f" {printable(warning)}"), highlight=False)
    if summary.claims.rows:
        console.print(rich_table(summary.claims))
    for table in (*summary.looks, *summary.decided):
        if table.rows:
            console.print(rich_table(table))
    for text in summary.answers:
        console.print(text, style="bold", highlight=False)
    for table in (summary.attribution, *summary.across, *summary.cells):
        if table.rows:
            console.print(rich_table(table))
    for note in summary.notes:
        console.print(Text.assemble(("note:", "yellow"), f" {printable(note)}"), highlight=False)
    where = page or str(summary.folder / "index.html")
    console.print(f"report: {where}", highlight=False, soft_wrap=True)


def rich_table(table: Table) -> RichTable:
    """The table for rich, in its brief columns: text left, numbers right."""
    visible = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    stored = [i for i, column in enumerate(table.columns) if not table.brief or column in table.brief]
    for i in stored:
        visible.add_column(table.columns[i], justify="left" if i < table.text_columns else "right", overflow="fold")
    for row in table.rows[:MAX_ROWS]:
        visible.add_row(*(row[i] for i in stored))
    if len(table.rows) > MAX_ROWS:
        visible.caption = f"{len(table.rows) - MAX_ROWS} more rows are in the report"
    return visible
