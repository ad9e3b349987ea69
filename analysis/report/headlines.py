"""The first thing a report says: what each component, or what a search found, is worth, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from branchwise.analysis.records import Run
from branchwise.analysis.report import tables
from branchwise.analysis.report.search import knobs, setting
from branchwise.analysis.statistics.cells import OWN
from branchwise.analysis.statistics.findings import Study
from branchwise.analysis.statistics.model import ALPHA, Estimate, holm


def answers(study: Study) -> tuple[str, ...]:
    """One sentence a component, largest first; of a search, one on each of the settings it found."""
    return tuple(_of_a_search(study) if study.run.kind == "search" else _of_components(study))


def question(run: Run) -> str:
    """Of a tuned factorial, which of its two questions this part answers; else nothing."""
    if run.kind != "tuned_factorial":
        return ""
    if (run.arms["kind"] == "confirm").any():
        return (
            "Re-tuned effects: every cell was given its own search with the same budget, then fresh seeds. They answer "
            "what a component adds once everything else has been adjusted to its presence or absence."
        )
    return "Fixed effects: every cell with the space's own settings, on the seeds that the re-tuned cells ran on."


def _of_components(study: Study) -> Iterator[str]:
    known = [row for row in study.headline.rows if row.shapley.known]
    metric = study.run.metric
    for row in sorted(known, key=lambda row: -row.shapley.value):
        worth = _worth(row.shapley, study)
        if not row.shapley.has_interval:
            yield f"{row.component}: lowers {metric} by {worth}; one block gives no interval."
        elif row.p_holm > ALPHA:
            yield f"{row.component}: no effect on {metric} is shown ({worth}; p = {tables.p_text(row.p_holm)})."
        else:
            share = f", {row.share.value:.0%} of the gain" if row.share.value > 0 else ""
            verb = "lowers" if row.shapley.value > 0 else "raises"
            worth = worth if row.shapley.value > 0 else _raised(row.shapley.value, study)
            yield f"{row.component}: {verb} {metric} by {worth}{share}."


def _of_a_search(study: Study) -> Iterator[str]:
    """Each found cell against the space's own settings on the fresh seeds; adjusted for their number (Holm)."""
    scale, metric = study.headline, study.run.metric
    found = {cell: estimate for cell, estimate in scale.relative.items() if estimate.known}
    if scale.reference != OWN or not found:
        return
    adjusted = holm([estimate.p for estimate in found.values()])
    better = [estimate.value > 0 and p <= ALPHA for estimate, p in zip(found.values(), adjusted, strict=True)]
    if not any(better):
        yield "The search found no settings that are shown to be better than the space's own."
    for (cell, estimate), p, is_better in zip(found.items(), adjusted, better, strict=True):
        arm = study.run.results[study.run.results["cell"] == cell].iloc[0]
        chosen = [f"{key} {setting(arm['hp.' + key])}" for key in knobs(study.run)]
        name = f"{cell} ({', '.join(chosen)})"
        against = f"the space's own settings on {scale.fit.n_blocks} fresh seeds"
        worth = _worth(estimate, study)
        if not estimate.has_interval:
            yield f"{name}: lowers {metric} by {worth} against {against}; one block gives no interval."
        elif is_better:
            yield f"{name}: lowers {metric} by {worth} against {against}."
        elif p <= ALPHA:
            worse = _raised(estimate.value, study)
            yield f"{name}: raises {metric} by {worse} against {against}: on one seed it was luck."
        else:
            yield f"{name}: not shown to be better than {against} ({worth}; p = {tables.p_text(p)})."


def _worth(estimate: Estimate, study: Study) -> str:
    return tables.as_reduction(estimate) if study.log else tables.with_interval(estimate)


def _raised(value: float, study: Study) -> str:
    return f"{-tables.reduction(value):.1f}%" if study.log else tables.number(-value)
