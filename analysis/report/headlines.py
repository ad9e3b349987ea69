"""Headline of a report: the effect of each component, or of a search's result, uncertainty."""

from __future__ import annotations

from collections.abc import Iterator

from branchwise.analysis.declared.cells import DEFAULTS
from branchwise.analysis.declared.contrasts import Quantity
from branchwise.analysis.report.search import knobs, setting
from branchwise.analysis.report.text import p_is
from branchwise.analysis.report.wording import effect_text, harm_text, natural, titled, verb
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.baseline_comparison import BASELINE
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate, holm
from branchwise.analysis.statistics.screening import ranks_only

WHICH: dict[Quantity, str] = {
    "shapley": "",
    "main_effect": " (main effect)",
    "leave_one_out": " where every other component is on",
    "add_one_in": " where every other component is off",
}


def answers(findings: Findings) -> tuple[str, ...]:
    """A sentence per component, largest first; of a search, a sentence per setting."""
    if not findings.run.components:
        return tuple(_search_sentences(findings))
    ranking = ranks_only(findings.headline.fit, findings.run.grid)
    effects = _ranking_sentence(findings) if ranking else _component_sentences(findings)
    sentences = (*_comparison_sentences(findings), *effects, *_interaction_sentences(findings))
    return tuple(f"Exploratory: {text}" for text in sentences) if findings.run.lineage.adds_seeds else sentences


def _comparison_sentences(findings: Findings) -> Iterator[str]:
    """Sentences on the full method against scratch, the best baseline and its teacher.

    They are given whether it is better or worse.
    """
    scale, outcome = findings.headline, findings.run.primary
    for comparison in findings.standings:
        if comparison.role == BASELINE or findings.run.unfinished:
            continue
        effect = effect_text(comparison.estimate, scale)
        who = f"The full method against {comparison.against} ({comparison.role})"
        if not comparison.estimate.has_interval:
            yield f"{who}: {_better_or_worse(comparison.estimate, scale)}; {comparison.estimate.reason}."
        elif comparison.estimate.p > findings.run.inference.alpha:
            yield f"{who}: not distinguishable ({effect}; {p_is(comparison.estimate.p)})."
        elif comparison.estimate.value > 0:
            yield f"{who}: {verb(outcome)} {outcome.title} by {effect}."
        else:
            yield f"{who}: {verb(outcome, helps=False)} {outcome.title} by {harm_text(comparison.estimate, scale)}."
    if findings.noninferior_cells and not findings.run.unfinished:
        cells = ", ".join(findings.noninferior_cells[:3])
        yield f"Smaller cells whose mean is no worse than the full method's: {cells}."


def _interaction_sentences(findings: Findings) -> Iterator[str]:
    """Sentences on pairs whose effects do not add up, adjusted over the interactions.

    They change how components are to be read.
    """
    if findings.run.unfinished:
        return
    scale = natural(findings)
    adjusted = holm([interaction.estimate.p for interaction in findings.headline.interactions])
    for item, p in zip(scale.interactions, adjusted, strict=True):
        if p <= findings.run.inference.alpha:
            more = "more" if item.estimate.value > 0 else "less"
            effect = effect_text(item.estimate, scale) if more == "more" else harm_text(item.estimate, scale)
            names = " and ".join(titled(name, findings) for name in item.members)
            yield f"{names} together are worth {more} than the sum of each ({effect}), so read their effects together."


def _ranking_sentence(findings: Findings) -> Iterator[str]:
    """Components by size of main effect, where a fraction has too few blocks for verdicts."""
    visible = natural(findings)
    pairs = [pair for pair in zip(findings.headline.rows, visible.rows, strict=True) if pair[0].effect.has_value]
    if not pairs:
        return
    pairs.sort(key=lambda pair: -abs(pair[0].effect.value))
    listed = ", ".join(
        f"{titled(row.component, findings)} {effect_text(entry.effect, visible)}" for row, entry in pairs
    )
    blocks = findings.headline.fit.n_blocks
    yield f"A ranking, not a verdict ({blocks} block{'' if blocks == 1 else 's'}): {listed}."


def _component_sentences(findings: Findings) -> Iterator[str]:
    visible, outcome = natural(findings), findings.run.primary
    pairs = [pair for pair in zip(findings.headline.rows, visible.rows, strict=True) if pair[0].effect.has_value]
    before = {item.component: item for item in findings.run.lineage.decided if item.outcome == outcome.name}
    for row, message in sorted(pairs, key=lambda pair: -pair[0].effect.value):
        effect, p, name = effect_text(message.effect, visible), p_is(row.p_holm), titled(row.component, findings)
        if old := before.get(row.component):
            yield (
                f"{name}: {effect}; decided before the extension, in {old.run}: {old.verdict} ({p_is(old.p_holm)}); "
                "not tested again."
            )
        elif findings.looks and not findings.looks.blocks:
            yield f"{name}: not judged: {findings.looks.progress}."
        elif findings.run.unfinished:
            yield f"{name}: so far {_better_or_worse(message.effect, visible)}; not judged: {findings.run.unfinished}."
        elif not row.effect.has_interval:
            yield f"{name}: {_better_or_worse(message.effect, visible)}; {row.effect.reason}."
        elif not row.p_holm <= findings.run.inference.alpha:
            yield f"{name}: effect on {outcome.title} not distinguishable from zero ({effect}; {p})."
        else:
            helps = row.effect.value > 0
            share = f", {row.share.value:.0%} of the gain" if row.share.value > 0 else ""
            effect = effect if helps else harm_text(message.effect, visible)
            yield f"{name}: {verb(outcome, helps)} {outcome.title} by {effect}{share}{WHICH[row.tested or 'shapley']}."


def _better_or_worse(estimate: Estimate, scale: Attribution) -> str:
    """`better by 3.1 points [0.2, 6.0]`, or `worse by 3.1 points`."""
    return (
        f"worse by {harm_text(estimate, scale)}" if estimate.value < 0 else f"better by {effect_text(estimate, scale)}"
    )


def _search_sentences(findings: Findings) -> Iterator[str]:
    """Each found cell against the space's settings on the fresh seeds; adjusted by Holm."""
    scale, outcome = findings.headline, findings.run.primary
    effects = {cell: estimate for cell, estimate in scale.relative.items() if estimate.has_value}
    if scale.reference != DEFAULTS or not effects:
        return
    natural_scale = natural(findings)
    adjusted = holm([estimate.p for estimate in effects.values()])
    alpha = findings.run.inference.alpha
    better = [estimate.value > 0 and p <= alpha for estimate, p in zip(effects.values(), adjusted, strict=True)]
    if not any(better):
        yield "The search found no settings that are distinguishably better than the space's own."
    for (cell, estimate), p, is_better in zip(effects.items(), adjusted, better, strict=True):
        arm = findings.run.results[findings.run.results["cell"] == cell].iloc[0]
        chosen = [f"{key} {setting(arm['hp.' + key])}" for key in knobs(findings.run)]
        name = f"{cell} ({', '.join(chosen)})"
        against = f"the space's own settings on {scale.fit.n_blocks} fresh seeds"
        visible = natural_scale.relative.get(cell, estimate)
        effect = effect_text(visible, natural_scale)
        if not estimate.has_interval:
            yield f"{name}: {_better_or_worse(visible, natural_scale)} against {against}; {estimate.reason}."
        elif is_better:
            yield f"{name}: {verb(outcome)} {outcome.title} by {effect} against {against}."
        elif p <= alpha:
            worse = harm_text(visible, natural_scale)
            raises = f"{verb(outcome, helps=False)} {outcome.title} by {worse}"
            yield f"{name}: {raises} against {against}: it did not replicate on fresh seeds."
        else:
            yield f"{name}: not distinguishable from {against} ({effect}; {p_is(p)})."
