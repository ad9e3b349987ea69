"""Plot of the verdict board: each declared claim, its verdict, and the numbers behind it."""

from __future__ import annotations

from textwrap import wrap

from branchwise.analysis.report.claims import claims_origin, evidence
from branchwise.analysis.report.figures import GRID, INK, Plot, new_figure, render
from branchwise.analysis.report.text import p_text, with_minus
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.findings import Findings

SUPPORTED, REFUTED, OPEN = "#00704F", "#B04A00", "#5A636E"
WIDTH = 8.4  # inches: the text column of a README
LINE, GAP = 0.19, 0.13  # inches of a line, and between rows
CLAIM, VERDICT, EVIDENCE, P = 0.0, 0.355, 0.515, 1.0  # where the columns begin, and the last ends, of the width
CLAIM_LETTERS, EVIDENCE_LETTERS = 39, 50


def verdict_board(findings: Findings) -> Plot | None:
    """None for a run without claims."""
    if not findings.verdicts:
        return None
    texts = [
        (
            verdict,
            wrap(verdict.claim.text, CLAIM_LETTERS),
            wrap(with_minus(evidence(verdict, findings)), EVIDENCE_LETTERS),
        )
        for verdict in findings.verdicts
    ]
    heights = [LINE * max(len(claim), len(numbers), 1) + GAP for _, claim, numbers in texts]
    height = sum(heights) + LINE + GAP
    figure, (axes,) = new_figure(WIDTH, height)
    figure.set_layout_engine("none")
    axes.set_position((0.01, 0.0, 0.98, 1.0))
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    axes.axis("off")
    heads = (
        (CLAIM, f"claim, {claims_origin([findings])}"),
        (VERDICT, "verdict"),
        (EVIDENCE, "evidence"),
        (P, "p (Holm)"),
    )
    for x, head in heads:
        axes.text(x, LINE * 0.8, head, fontsize=8.5, color=OPEN, va="center", ha="right" if x == P else "left")
    y = LINE + GAP
    for (verdict, claim, numbers), tall in zip(texts, heights, strict=True):
        axes.plot([0, 1], [y - GAP * 0.4] * 2, color=GRID, linewidth=0.8)
        sign, tint = _sign(verdict)
        columns = (
            (CLAIM, claim, INK, "normal"),
            (VERDICT, [f"{sign} {verdict.status}"], tint, "bold"),
            (EVIDENCE, numbers, INK, "normal"),
            (P, [p_text(verdict.test.p_holm)], INK, "normal"),
        )
        for x, lines, color, weight in columns:
            text = "\n".join(lines)
            axes.text(x, y, text, fontsize=8.5, color=color, fontweight=weight, va="top", linespacing=1.3,
                      ha="right" if x == P else "left")  # fmt: skip
        y += tall
    statuses = "; ".join(f"{verdict.claim.text}: {verdict.status}" for verdict in findings.verdicts)
    return render(figure, "board", "Verdicts on the claims", statuses)


def _sign(verdict: Verdict) -> tuple[str, str]:
    if verdict.status not in ("supported", "refuted"):
        return "?", OPEN
    return ("✓", SUPPORTED) if verdict.status == "supported" else ("✗", REFUTED)
