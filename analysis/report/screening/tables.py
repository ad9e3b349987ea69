"""Tables of a screening: main effects with aliases, sums of interactions, the two stages."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from branchwise.analysis.declared.fractions import MIN_BLOCKS, chain_text
from branchwise.analysis.report.text import DASH, TIMES, Table, number, p_text
from branchwise.analysis.report.wording import NEXT_SEED, better_by, effect_text, natural, next_seed
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.screening import ranks, ranks_only

MAX_ALIASES = 3  # three-component effects named next to a main effect


def main_effect_table(analyses: Sequence[Findings]) -> Table:
    """The main effects of fractions, the largest first, each with its verdict and its aliases."""
    multiple = len(analyses) > 1
    rows = []
    for findings in analyses:
        display, scale = natural(findings), findings.headline
        sizes = ranks([row.effect for row in scale.rows])
        aliases = {item.contrast.component: item.contrast.triples for item in scale.fraction}
        ordered = sorted(
            zip(sizes, scale.rows, display.rows, strict=True),
            key=lambda entry: (isnan(entry[0]), -0.0 if isnan(entry[0]) else entry[0]),
        )
        for size, row, visible in ordered:
            rows.append(
                (
                    *((findings.run.name,) if multiple else ()), row.component,
                    DASH if isnan(size) else f"{size:.0f}", effect_text(visible.effect, display),
                    next_seed(visible.effect, display), p_text(row.p_holm),
                    _verdict(row.p_holm, row.effect, findings.run.inference.alpha),
                    aliased(aliases.get(row.component, ())),
                )
            )  # fmt: skip
    head, inference = better_by(analyses), analyses[0].run.inference
    lead = ("run", "component") if multiple else ("component",)
    ranking = any(ranks_only(findings.headline.fit, findings.run.grid) for findings in analyses)
    note = (
        f"A ranking: fewer than {MIN_BLOCKS} blocks judge nothing. "
        if ranking
        else f"{inference.percent} intervals in brackets, {inference.method}, for the mean over seeds; one further "
        f"seed: where the effect of one more seed is expected ({inference.percent} prediction interval); p adjusted "
        "over the components and claims (Holm). "
    )
    return Table(
        title="Main effects, by size", name="attribution",
        columns=(*lead, "rank", head, NEXT_SEED, "p (Holm)", "verdict", "cannot be told from"), rows=tuple(rows),
        text_columns=len(lead),
        brief=(*lead, "rank", head, "p (Holm)", "verdict"),
        note=note + "A main effect is the mean of the runs with the component minus that of the runs without; "
        "positive: better. No effect of two components is mixed into it; those of three that are stand beside it. What "
        "a screening finds is confirmed by a follow-up on fresh seeds.",
    )  # fmt: skip


def _verdict(p: float, effect: Estimate, alpha: float) -> str:
    if isnan(p):
        return "ranked only" if effect.has_value else "not known"
    return "survives" if p <= alpha else "not shown"


def aliased(triples: Sequence[tuple[str, ...]]) -> str:
    """Return the first few effects of three components and the number of others."""
    display = ", ".join(TIMES.join(triple) for triple in triples[:MAX_ALIASES])
    more = len(triples) - MAX_ALIASES
    return display + (f" and {more} more of three components" if more > 0 else "") or DASH


def chain_table(findings: Findings) -> Table:
    """Interactions of two components as a fraction knows them: in sums."""
    scale = natural(findings)
    rows = tuple(
        (chain_text(item.contrast.pairs), effect_text(item.interaction, scale))
        for item in sorted(
            (row for row in scale.fraction if row.contrast.pairs), key=lambda row: -abs(row.estimate.value)
        )
    )
    return Table(
        title="Interactions, in sums (exploratory)", name="chains",
        columns=("sum of", "better by"), rows=rows,
        note="Effects of two components that a line adds up cannot be told from each other. Each is a difference of "
        "differences, 0 where components simply add up; intervals are by block and unadjusted.",
    )  # fmt: skip


def _second_verdict(p: float, same_sign: bool, alpha: float) -> str:
    """The result on fresh seeds of an effect that the screening found."""
    if isnan(p):
        return DASH
    if p > alpha:
        return "not shown"
    return "confirmed" if same_sign else "reversed"


def stages_table(findings: Findings) -> Table:
    """Of a follow-up: the screening's result for each component, and that on fresh seeds."""
    first = findings.run.first_stage
    if first is None:
        return Table(title="", columns=(), rows=())
    display = {row.component: row for row in natural(findings).rows}
    tested_rows = {row.component: row for row in findings.headline.rows}
    scale, rows, alpha = natural(findings), [], findings.run.inference.alpha
    for effect in sorted(first.effects, key=lambda effect: effect.rank):
        if effect.component in display:
            row = tested_rows[effect.component]
            verdict = _second_verdict(row.p_holm, effect.value * row.effect.value > 0, alpha)
            second = (effect_text(display[effect.component].effect, scale), p_text(row.p_holm), verdict)
        else:
            second = (f"held {first.others}", DASH, "not confirmed")
        rows.append((effect.component, f"{effect.rank:.0f}", number(effect.value), p_text(effect.p_holm), *second))
    seeds = ", ".join(map(str, first.seeds))
    return Table(
        title="The two stages", name="stages",
        columns=("component", "rank in the screening", f"main effect there ({first.scale})", "p (Holm) there",
                 better_by([findings]), "p (Holm)", "on fresh seeds"), rows=tuple(rows),
        note=f"Only the fresh seeds confirm. The screening ({first.run}, seeds {seeds}) chose the components, so its "
        f"effects are optimistically biased. Components that it left out are held {first.others} here, and nothing is "
        "known of them but their rank.",
    )  # fmt: skip
