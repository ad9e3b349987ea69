"""Writes tables as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from branchwise.analysis.report.text import CHECK, DASH, Table

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "Δ": r"$\Delta$", "×": r"$\times$",  # noqa: RUF001
        CHECK: r"$\bullet$", DASH: "--", "<": r"$<$", ">": r"$>$", "|": r"$|$"}  # fmt: skip


def markdown(table: Table) -> str:
    """A GitHub-flavoured table under its title."""
    align = ["---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    lines = [f"## {table.title}", ""]
    if table.rows:
        lines += [_md_row(table.columns), _md_row(align), *(_md_row(row) for row in table.rows)]
    else:
        lines.append("None.")
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def tex(text: str) -> str:
    """Text made safe for LaTeX; a character outside ASCII that has no translation becomes `?`."""
    return "".join(_TEX.get(char) or (char if char.isascii() else "?") for char in text)


def latex(tables: Sequence[Table]) -> str:
    """A document that plain pdflatex compiles; each tabular stands alone, ready to be copied into a paper."""
    body = "\n".join(_tex_table(table) for table in tables if table.rows)
    return (
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
        "\\usepackage[margin=2cm,landscape]{geometry}\n\\begin{document}\n"
        f"{body or 'No arm has finished.'}\n\\end{{document}}\n"
    )


def _tex_table(table: Table) -> str:
    align = "".join("l" if i < table.text_columns else "r" for i in range(len(table.columns)))
    rows = "\n".join(" & ".join(map(tex, row)) + r" \\" for row in table.rows)
    head = " & ".join(map(tex, table.columns)) + r" \\"
    return (
        f"\\begin{{table}}[htbp]\n\\centering\n\\caption{{{tex(table.title)}. {tex(table.note)}}}\n"
        f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n\\begin{{tabular}}{{{align}}}\n"
        f"\\toprule\n{head}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{table}}\n"
    )
