"""The tables as LaTeX: fragments that a paper reads in, with captions, labels and true minus signs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.formats import latex_table, tex
from branchwise.analysis.report.text import Table

PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx}
\begin{document}
Table~\ref{tab:attribution} says what each component is worth, Table~\ref{tab:cells} what each cell came to.
%s
\end{document}
"""


def test_tables_are_fragments_with_captions_and_labels(full_run: Path) -> None:
    text = (full_run / "report/ablation.tex").read_text()
    assert text.isascii()
    assert "documentclass" not in text
    assert r"\begin{document}" not in text
    tables = re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", text, re.DOTALL)
    assert len(tables) == text.count(r"\begin{tabular}") == text.count(r"\bottomrule") >= 6
    for table in tables:
        assert table.count(r"\caption{") == table.count(r"\label{tab:") == 1
    labels = re.findall(r"\\label\{tab:([^}]*)\}", text)
    assert len(labels) == len(set(labels))
    assert {"attribution", "cells", "claims", "standings", "interactions"} <= set(labels)
    for label in labels:
        assert rf"\label{{tab:{label}}}" in (full_run / f"report/table-{label}.tex").read_text()
    for align, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for line in body.splitlines():
            if line.endswith(r"\\"):
                assert line.count(" & ") == len(align) - 1


def test_minus_signs_differ_from_hyphens() -> None:
    assert tex("-2.4% [-42.7, 26.5]") == r"$-$2.4\% [$-$42.7, 26.5]"
    assert tex("full.value - teacher.value < 80") == "full.value $-$ teacher.value $<$ 80"
    assert tex("leave-one-out of anchor-b0, 1e-05") == "leave-one-out of anchor-b0, 1e-05"


def test_tables_print_titles_and_bold_best_cell(full_run: Path) -> None:
    cells = (full_run / "report/table-cells.tex").read_text()
    assert "uncond branch + curriculum transfer &" in cells
    assert r"uncond\_branch" not in cells
    assert cells.count(r"\textbf{") == 1
    assert re.search(r"^full & .*\\textbf\{\d+\.?\d* \$\\pm\$", cells, re.MULTILINE)


def test_wide_table_spans_both_columns() -> None:
    narrow = Table(title="Narrow", columns=("a", "b"), rows=(("x", "1"),))
    wide = Table(title="Wide", columns=tuple("abcdefg"), rows=(tuple("1234567"),))
    assert r"\begin{table}" in latex_table(narrow)
    assert r"\begin{table*}" in latex_table(wide)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here; the structure is tested above")
def test_paper_reads_them_in(make_run: Callable[..., Path], tmp_path: Path) -> None:
    """A run with each kind of table; each fragment separately, and all of them together."""
    folder = make_run(blocks=4, claims=["uncond_branch.share > 0.60", "full.value - teacher.value < 80"],
                      failed={"anchor-b0": "diverged"})  # fmt: skip
    build_report([folder])
    fragments = sorted(path.name for path in (folder / "report").glob("table-*.tex"))
    for name, inputs in (("all", ["ablation.tex"]), ("each", fragments)):
        paper = tmp_path / f"{name}.tex"
        paper.write_text(PAPER % "\n".join(rf"\input{{{folder}/report/{item}}}" for item in inputs))
        for _ in range(2):  # the second run knows the labels
            options = ["-interaction=nonstopmode", "-halt-on-error", f"-output-directory={tmp_path}"]
            ran = subprocess.run(["pdflatex", *options, str(paper)], capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout[-2000:]
        assert "undefined" not in ran.stdout
        assert "Overfull" not in ran.stdout
