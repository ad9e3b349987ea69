"""The table of declared looks: what each decided, with repeated and plain intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from branchwise.analysis.report.claims import evidence
from branchwise.analysis.report.text import DASH, Table, p_text
from branchwise.analysis.report.wording import effect_text, natural
from branchwise.analysis.statistics.claims.testing import widened
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.sequential.looks import Hypothesis


def looks_table(findings: Findings) -> Table:
    """Return the table of claims and Shapley values; empty without looks or before the first."""
    looks = findings.looks
    rows: tuple[tuple[str, ...], ...] = ()
    if looks and looks.blocks:
        rows = (*_claim_rows(findings), *_shapley_rows(findings))
    return Table(
        title=f"Looks, after {looks.blocks[-1]} of at most {looks.looks.max} blocks" if rows and looks else "Looks",
        name="looks",
        columns=("hypothesis", "decided after", "p (sequential, Holm)", "valid at every look",
                 f"plain {findings.run.inference.percent}", "chance"),
        rows=rows,
        text_columns=2,
        brief=("hypothesis", "decided after", "p (sequential, Holm)", "valid at every look"),
        note="A sequential p-value is the smallest error at which some look so far rejects; a rejection stays. "
        "Intervals that are valid at every look use the level of the last one; plain intervals cover less after "
        "looking. Chance: of what is open to be decided by the last look, under the trend so far. Estimates are not "
        "corrected for stopping.",
    )  # fmt: skip


def decided_table(findings: Findings) -> Table:
    """Return the table of decisions before the run grew; empty if it grew out of no other."""
    rows = tuple((item.text, item.run, item.verdict, p_text(item.p_holm)) for item in findings.run.lineage.decided)
    return Table(
        title="Decided before the extension", name="decided", columns=("hypothesis", "run", "verdict", "p (Holm)"),
        rows=rows, text_columns=3,
        note="Each verdict stays as that run gave it. Nothing here is tested again: in the other tables its p is that "
        "of then or a larger one, and an effect that the new arms have changed has none.",
    )  # fmt: skip


def _claim_rows(findings: Findings) -> Iterator[tuple[str, ...]]:
    assert findings.looks
    for claim_look, verdict in zip(findings.looks.claims, findings.verdicts, strict=True):
        test = replace(verdict.test, reason="")
        repeated = evidence(replace(verdict, reason="", test=replace(test, estimate=claim_look.repeated)), findings)
        plain = evidence(replace(verdict, reason="", test=test), findings)
        yield (
            claim_look.name,
            *_decided(claim_look),
            *(text.partition(", claimed")[0] for text in (repeated, plain)),
            _chance(claim_look),
        )


def _shapley_rows(findings: Findings) -> Iterator[tuple[str, ...]]:
    assert findings.looks
    for i, hypotheses in enumerate(findings.looks.shapley):
        visible = natural(findings, i)
        for item, row in zip(hypotheses, visible.rows, strict=True):
            repeated = effect_text(widened(row.effect, findings.looks.level), visible)
            yield (item.name, *_decided(item), repeated, effect_text(row.effect, visible), _chance(item))


def _decided(item: Hypothesis) -> tuple[str, str]:
    after = f"{item.decided_after} blocks" if item.decided_after else "open"
    return after, p_text(item.adjusted[-1])


def _chance(item: Hypothesis) -> str:
    return DASH if item.decided_after or not item.power >= 0 else f"{item.power:.0%}"
