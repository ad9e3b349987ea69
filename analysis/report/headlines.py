"""The first thing a report says: what each component, or what a search found, is worth, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from branchwise.analysis.report import tables
from branchwise.analysis.report.search import knobs, setting
from branchwise.analysis.statistics.cells import OWN
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import ALPHA, Estimate, holm


def answers(findings: Findings) -> tuple[str, ...]:
    """One sentence a component, largest first; of a search, one on each of the settings it found."""
    return tuple(_of_components(findings) if findings.run.components else _of_a_search(findings))


def _of_components(findings: Findings) -> Iterator[str]:
    known = [row for row in findings.headline.rows if row.shapley.known]
    metric = findings.run.metric
    for row in sorted(known, key=lambda row: -row.shapley.value):
        worth, p = _worth(row.shapley, findings), tables.p_text(row.p_holm)
        if not row.shapley.has_interval:
            yield f"{row.component}: lowers {metric} by {worth}; one block gives no interval."
        elif row.p_holm > ALPHA >= row.pooled_p_holm:
            pooled = _worth(row.pooled, findings)
            yield (
                f"{row.component}: changes {metric} on these {findings.headline.fit.n_blocks} seeds ({pooled} lower; "
                f"p = {tables.p_text(row.pooled_p_holm)}); that it would on the next seed is not shown "
                f"({worth}; p = {p})."
            )
        elif row.p_holm > ALPHA:
            yield f"{row.component}: effect on {metric} not distinguishable from zero ({worth}; p = {p})."
        else:
            share = f", {row.share.value:.0%} of the gain" if row.share.value > 0 else ""
            verb = "lowers" if row.shapley.value > 0 else "raises"
            worth = worth if row.shapley.value > 0 else _raised(row.shapley.value, findings)
            yield f"{row.component}: {verb} {metric} by {worth}{share}."


def _of_a_search(findings: Findings) -> Iterator[str]:
    """Each found cell against the space's own settings on the fresh seeds; adjusted for their number (Holm)."""
    scale, metric = findings.headline, findings.run.metric
    found = {cell: estimate for cell, estimate in scale.relative.items() if estimate.known}
    if scale.reference != OWN or not found:
        return
    adjusted = holm([estimate.p for estimate in found.values()])
    better = [estimate.value > 0 and p <= ALPHA for estimate, p in zip(found.values(), adjusted, strict=True)]
    if not any(better):
        yield "The search found no settings that are distinguishably better than the space's own."
    for (cell, estimate), p, is_better in zip(found.items(), adjusted, better, strict=True):
        arm = findings.run.results[findings.run.results["cell"] == cell].iloc[0]
        chosen = [f"{key} {setting(arm['hp.' + key])}" for key in knobs(findings.run)]
        name = f"{cell} ({', '.join(chosen)})"
        against = f"the space's own settings on {scale.fit.n_blocks} fresh seeds"
        worth = _worth(estimate, findings)
        if not estimate.has_interval:
            yield f"{name}: lowers {metric} by {worth} against {against}; one block gives no interval."
        elif is_better:
            yield f"{name}: lowers {metric} by {worth} against {against}."
        elif p <= ALPHA:
            worse = _raised(estimate.value, findings)
            yield f"{name}: raises {metric} by {worse} against {against}: on one seed it was luck."
        else:
            yield f"{name}: not distinguishable from {against} ({worth}; p = {tables.p_text(p)})."


def _worth(estimate: Estimate, findings: Findings) -> str:
    return tables.as_reduction(estimate) if findings.log else tables.with_interval(estimate)


def _raised(value: float, findings: Findings) -> str:
    return f"{-tables.reduction(value):.1f}%" if findings.log else tables.number(-value)
