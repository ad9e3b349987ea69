"""Writes tables as Markdown and LaTeX, and a findings as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from branchwise.analysis.report.tables import CHECK, DASH, Table, csv_rows
from branchwise.analysis.statistics.attribution import ScaleResult
from branchwise.analysis.statistics.findings import Findings

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


def findings_json(findings: Findings) -> dict[str, Any]:
    """All that was found as plain values: numbers, the cell weights behind them, and the arms behind the cells."""
    run, headline = findings.run, findings.headline
    return {
        "format": 2,
        "name": run.name,
        "metric": run.metric,
        "space": run.space,
        "manifest": run.manifest,
        "comparability_key": run.comparability or None,
        "components": csv_rows(findings),
        "model": {
            "formula": f"{'-log(value)' if findings.log else '-value'} ~ cell + block",
            "scale": headline.scale, "n": headline.fit.n, "cells": len(headline.fit.cells),
            "blocks": headline.fit.n_blocks, "df": headline.fit.df, "residual_sd": headline.fit.residual_sd,
            "raw_residual_sd": findings.raw.fit.residual_sd, "level": 0.95, "variance": asdict(findings.variance),
            "effect_sd": asdict(findings.plan.effect_sd) if findings.plan and findings.plan.effect_sd else None,
            "repeats": asdict(findings.repeats) if findings.repeats else None,
            "plan": asdict(findings.plan) if findings.plan else None,
        },
        "contrasts": {scale.scale: _contrasts(scale) for scale in (findings.log, findings.raw) if scale},
        "cells": [
            {"cell": row.cell, "on": row.on and dict(zip(run.components, row.on, strict=True)), "n": row.n,
             "mean": row.mean, "sd": row.sd, **row.shown, "change": asdict(row.change), "arms": row.arms,
             "lost": row.lost}
            for row in findings.cells
        ],
        "claims": [
            {"text": v.claim.text, "canonical": v.claim.canonical, "verdict": v.status, "scale": v.claim.scale,
             "relation": v.claim.relation, "bound": v.claim.bound, **asdict(v.by_block), "pooled": asdict(v.pooled),
             "weights": v.weights}
            for v in findings.verdicts
        ],
        "claims_edited": findings.edited,
        "agreement": [asdict(row) for row in findings.agreement],
        "with_worst_in_place": {name: asdict(estimate) for name, estimate in findings.with_worst.items()},
        "arms": _arm_rows(findings),
        "missing": run.missing,
        "notes": findings.notes,
    }  # fmt: skip


def _contrasts(scale: ScaleResult) -> dict[str, Any]:
    return {
        "shapley": {
            row.component: asdict(row.shapley) | {"p_holm": row.p_holm, "weights": row.weights} for row in scale.rows
        },
        "share": {row.component: asdict(row.share) for row in scale.rows},
        "pooled": {row.component: asdict(row.pooled) | {"p_holm": row.pooled_p_holm} for row in scale.rows},
        "pooled_share": {row.component: asdict(row.pooled_share) for row in scale.rows},
        "main_effect": {row.component: asdict(row.main_effect) for row in scale.rows},
        "leave_one_out": {row.component: asdict(row.leave_one_out) for row in scale.rows},
        "add_one_in": {row.component: asdict(row.add_one_in) for row in scale.rows},
        "interaction": {":".join(one.members): asdict(one.estimate) for one in scale.interactions},
        "total_gain": {name: asdict(gain) for name, gain in scale.gains.items()},
    }


def _arm_rows(findings: Findings) -> list[dict[Any, Any]]:
    columns = ("sweep", "arm", "block", "seed", "kind", "cell", "status", "error", "value", "student_sha256")
    arms = findings.run.arms
    return arms[[c for c in columns if c in arms]].astype(object).to_dict("records")


def to_json(value: Any) -> str:
    """JSON text in which numbers that are not finite are null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    item = getattr(value, "item", None)  # NumPy scalars
    return _plain(item()) if item else str(value)
