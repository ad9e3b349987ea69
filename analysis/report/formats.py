"""Writes tables as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from branchwise.analysis.report.text import CHECK, DASH, Table

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "Δ": r"$\Delta$", "×": r"$\times$",  # noqa: RUF001
        "“": "``", "”": "''",  # as in notes
        CHECK: r"$\bullet$", DASH: "--", "<": r"$<$", ">": r"$>$", "|": r"$|$"}  # fmt: skip

_MINUS = re.compile(r"(?<![\w.}$-])-(?=[\d.])|(?<= )-(?= )")  # before a number, or between two terms
PREAMBLE = "% Read it into a paper with \\input. It needs \\usepackage{booktabs,graphicx}.\n"
MAX_UNWRAPPED = 40  # characters of a text column that is set on a single line
MAX_COLUMNS = 6  # of a table that is in a single column of a paper


def markdown(table: Table) -> str:
    """A GitHub-flavoured table under its title."""
    align = ["---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    lines = [f"## {_md(table.title)}", ""]
    if table.rows:
        lines += [_md_row(table.columns), _md_row(align), *(_md_row(row) for row in table.rows)]
    else:
        lines.append("None.")
    return "\n".join([*lines, *(["", _md(table.note)] if table.note else [])]) + "\n"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_md(cell).replace("|", "\\|") for cell in cells) + " |"


def _md(text: str) -> str:
    """Text escaped for Markdown: neither HTML nor a link, an image or a separate line."""
    escaped = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")
    return " ".join(escaped.split("\n"))


def tex(text: str) -> str:
    """Escape text for LaTeX, with true minus signs; non-ASCII without translation becomes `?`."""
    safe = "".join(_TEX.get(char) or (char if char.isascii() else "?") for char in text)
    return _MINUS.sub("$-$", safe)


def latex(tables: Sequence[Table]) -> str:
    """Return tables for `\\input` in a paper: no preamble, each a float with caption and label."""
    body = "\n".join(latex_table(table) for table in tables if table.rows)
    return f"{PREAMBLE}{body or '% No arm has finished.'}\n"


def latex_table(table: Table) -> str:
    """A float; a wide float spans both columns of a paper that has two, and shrinks to them."""
    wrapped = _wrapped(table)
    width = f"p{{{min(0.45, 0.7 / max(1, len(wrapped))):.2f}\\linewidth}}"
    align = "".join(width if i in wrapped else "lr"[i >= table.text_columns] for i in range(len(table.columns)))
    rows = "\n".join(
        _guarded(
            " & ".join(
                (r"\raggedright " if j in wrapped else "") + _tex_cell(cell, (i, j) in table.best)
                for j, cell in enumerate(row)
            )
        )
        + r" \\"
        for i, row in enumerate(table.rows)
    )
    head = " & ".join(map(tex, table.columns)) + r" \\"
    name = "table*" if len(table.columns) > MAX_COLUMNS else "table"
    caption = f"{tex(table.title)}. {tex(table.note)}".rstrip()
    return (
        f"\\begin{{{name}}}[tbp]\n\\centering\n\\caption{{{caption}}}\n\\label{{tab:{table.slug}}}\n\\small\n"
        f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n\\begin{{tabular}}{{{align}}}\n"
        f"\\toprule\n{head}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{{name}}}\n"
    )


def _wrapped(table: Table) -> list[int]:
    """The text columns that would not fit next to the others: they are set on separate lines."""
    return [i for i in range(table.text_columns) if max((len(r[i]) for r in table.rows), default=0) > MAX_UNWRAPPED]


def _guarded(row: str) -> str:
    """A row that would else be read as an argument of the line end before it."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _tex_cell(cell: str, best: bool) -> str:
    return f"\\textbf{{{tex(cell)}}}" if best else tex(cell)
