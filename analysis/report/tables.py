"""Tables of a report, as text cells: Markdown, LaTeX, HTML and the terminal show the same.

Effects have the same sign everywhere: positive makes the outcome better.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from branchwise.analysis.declared.factors import OFF, ON
from branchwise.analysis.report.screening.tables import chain_table, main_effect_table, stages_table
from branchwise.analysis.report.text import (
    CHECK,
    DASH,
    TIMES,
    Table,
    in_percent,
    mean_sd,
    number,
    p_text,
    with_interval,
)
from branchwise.analysis.report.wording import NEXT_SEED, better_by, effect_text, natural, next_seed, verb
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.levels import TREND
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.table import CellRow

MAX_MARKED = 20  # components with a column of marks in the table of cells


def effect_tables(findings: Findings) -> list[Table]:
    """Tables in addition to the effects of components and the verdicts; those with rows."""
    makers = (stages_table, comparison_table, outcome_table, level_table, budget_table, chain_table)
    return [table for table in (make(findings) for make in makers) if table.rows]


def check_tables(findings: Findings) -> list[Table]:
    """Return the tables with rows that show how far a run can be trusted."""
    interactions = () if findings.run.grid.is_fraction else (interaction_table,)
    makers = (failures_table, *interactions, agreement_table, variance_table)
    return [table for table in (make(findings) for make in makers) if table.rows]


def attribution_table(analyses: Sequence[Findings]) -> Table:
    """The effects of components: a row per component, with the run's name first in a comparison."""
    if all(findings.run.grid.is_fraction for findings in analyses):
        return main_effect_table(analyses)
    lead = (analyses[0].run.label_column,) if len(analyses) > 1 else ()
    paired = analyses[0].run.inference.paired
    ahead = (NEXT_SEED,) if paired else ()
    rows = []
    for findings in analyses:
        shown = natural(findings)
        for row, view in zip(findings.headline.rows, shown.rows, strict=True):
            rows.append(
                (
                    *(findings.run.label for _ in lead), row.component, effect_text(view.effect, shown),
                    *(next_seed(view.effect, shown) for _ in ahead), with_interval(row.share, 100), p_text(row.p_holm),
                    effect_text(view.leave_one_out, shown), effect_text(view.add_one_in, shown),
                )
            )  # fmt: skip
    head, inference = better_by(analyses), analyses[0].run.inference
    columns = (*lead, "component", head, *ahead, "% of the gain", "p (Holm)",
               "leave-one-out", "add-one-in")  # fmt: skip
    return Table(
        title=f"What each component is worth{'' if paired else ', by unpaired runs'}",
        name="attribution", columns=columns, rows=tuple(rows),
        text_columns=1 + len(lead),
        brief=(*lead, "component", head, NEXT_SEED, "% of the gain", "p (Holm)"),
        note=f"{_quantity_note(analyses)} {inference.percent} intervals in brackets, {inference.method}, for the mean "
        f"over seeds.{_next_seed_note(analyses)}{_scale_note(analyses)} Positive: better. "
        "Only these effects and claims are adjusted for their number; "
        "the rest is exploratory.",
    )  # fmt: skip


def _quantity_note(analyses: Sequence[Findings]) -> str:
    """Explanation of the effects in the table."""
    kinds = {row.tested for findings in analyses for row in findings.headline.rows}
    marks = {
        "shapley": "Shapley values: the mean over all orders in which components can be added.",
        "leave_one_out": "Leave-one-out effects: the full method against the full method without the component.",
        "add_one_in": "Add-one-in effects: the component alone against the base.",
        "main_effect": "Main effects: the mean over the planned settings of the other components.",
    }
    return " ".join(text for kind, text in marks.items() if kind in kinds)


def _next_seed_note(analyses: Sequence[Findings]) -> str:
    inference = analyses[0].run.inference
    if not inference.paired:
        return " Seeds are not shared: Welch's t, degrees of freedom by Welch and Satterthwaite."
    return (
        f" One further seed: where the effect of one more seed is expected ({inference.percent} prediction interval)."
    )


def _scale_note(analyses: Sequence[Findings]) -> str:
    logit = any(findings.headline.scale == "logit" for findings in analyses)
    return " p and shares: on the logit scale." if logit else ""


def comparison_table(findings: Findings) -> Table:
    """The full method against its main references, regardless of the outcome."""
    scale = findings.headline
    rows = tuple(
        (row.against, row.role, effect_text(row.estimate, scale), p_text(row.estimate.p)) for row in findings.standings
    )
    gain = scale.gains.get("base")
    if gain is not None and gain.has_value and rows:
        rows = (("base", "every component off", effect_text(gain, scale), p_text(gain.p)), *rows)
    return Table(
        title="Where the full method stands", name="standings", rows=rows, text_columns=2,
        columns=("against", "which is", f"full {verb(findings.run.primary)} {findings.run.primary.title} by", "p"),
        note=f"{findings.run.inference.method.capitalize()}, unadjusted, but for the best baseline: p and "
        "interval allow for its having been picked. "
        "Negative: the full method is worse.",
    )  # fmt: skip


def outcome_table(findings: Findings) -> Table:
    """Each outcome's attribution; empty for a run with a single outcome."""
    rows = []
    for i, scale in enumerate(findings.outcomes):
        visible = natural(findings, i)
        for row, first, message in zip(scale.rows, findings.outcomes[0].rows, visible.rows, strict=True):
            tested = i == 0 or not first.p_holm > findings.run.inference.alpha
            p = p_text(row.p_holm) if tested else "not tested"
            effect = effect_text(message.effect, visible)
            rows.append((scale.outcome.title, row.component, effect, with_interval(row.share, 100), p))
    return Table(
        title="By outcome", name="outcomes",
        columns=("outcome", "component", "better by", "% of the gain", "p (Holm)"), text_columns=2,
        rows=tuple(rows) if len(findings.outcomes) > 1 else (),
        note="The first outcome is primary. A component's effects on the others are tested with what its effect on the "
        f"primary one leaves of the {findings.run.inference.error}: not at all where that is not significant. Their "
        "intervals are unadjusted.",
    )  # fmt: skip


def level_table(findings: Findings) -> Table:
    """Return levels against their reference and trends over doses, of factors beyond on or off."""
    rows = []
    for i, scale in enumerate(findings.outcomes):
        visible = natural(findings, i)
        for row, message in zip(scale.levels, visible.levels, strict=True):
            reference = findings.run.grid.factor(row.component).reference
            what = "trend over the doses" if row.level == TREND else f"{row.level} against {reference}"
            rows.append(
                (scale.outcome.title, row.component, what, number(row.dose), effect_text(message.estimate, visible),
                 p_text(row.p_holm))
            )  # fmt: skip
    return Table(
        title="Levels", name="levels",
        columns=("outcome", "component", "level", "dose", "better by", "p (Holm)"), rows=tuple(rows),
        text_columns=3,
        note="Averaged over the other components; adjusted over the levels and trends of an outcome. A trend is the "
        "rise of the least-squares line from the lowest dose to the highest.",
    )  # fmt: skip


def budget_table(findings: Findings) -> Table:
    """Effects after multiple training steps."""
    rows = []
    for budget in findings.budgets:
        for i, component in enumerate(findings.run.components):
            for steps, scale in zip(budget.steps, budget.results, strict=True):
                effect = scale.rows[i].effect
                rows.append(
                    (scale.outcome.title, component, f"{steps:,}", effect_text(effect, scale), p_text(effect.p))
                )
    return Table(
        title="By training steps", name="budget_effects",
        columns=("outcome", "component", "steps", "better by", "p"), rows=tuple(rows),
        text_columns=2,
        note="Effects of the components on the same models along the way, p unadjusted. Before the last row the "
        "learning rate is still high; models trained to their end in fewer steps are another experiment (train.steps "
        "as a component).",
    )  # fmt: skip


def cell_table(findings: Findings) -> Table:
    """Return the paper-style table: a row per cell with check marks, mean, SD and change.

    Mean and SD are over seeds; the change is against the reference.
    """
    run, reference = findings.run, findings.raw.reference
    visible = [
        c.name for c in run.outline.shown if any(not isnan(row.shown.get(c.name, nan)) for row in findings.cells)
    ]
    components = run.components if len(run.components) <= MAX_MARKED else ()
    better = f"better than {reference} by"
    published = run.outline.published
    extra = ("published",) if published else ()
    factor = (run.primary.points or 1.0) if in_percent() else 1.0
    value = f"{run.primary.title}{' in %' if in_percent() and run.primary.points else ''} (mean ± SD)"
    columns = ("cell", *components, "seeds", value, *extra, better, *visible)
    scale = natural(findings)
    rows = tuple(
        (row.cell, *(_marks(row, findings) if components else ()), _seeds(row),
         mean_sd(factor * row.mean, factor * row.sd),
         *(number(published.get(row.cell, nan)) for _ in extra),
         effect_text(scale.relative.get(row.cell, Estimate()), scale),
         *(number(row.shown.get(name, nan)) for name in visible))
        for row in findings.cells
    )  # fmt: skip
    means = [row.mean if row.arms else nan for row in findings.cells]
    available = [mean for mean in means if not isnan(mean)]
    best_mean = (min if run.primary.better == "lower" else max)(available, default=nan)
    return Table(
        title=f"Cells, by {run.measure}", name="cells", columns=columns, rows=rows,
        brief=("cell", "seeds", value, *extra, better),
        best=tuple((i, columns.index(value)) for i, mean in enumerate(means) if mean == best_mean),
        note="Arithmetic mean and SD over training seeds. Differences come from the fitted model, their "
        f"{run.inference.percent} intervals are {run.inference.method}. {run.primary.better.capitalize()} is better."
        + (f" Published, of another measurement: {run.outline.published_by}." if published else ""),
    )  # fmt: skip


def _marks(row: CellRow, findings: Findings) -> tuple[str, ...]:
    if row.levels is None:
        return ("",) * len(findings.run.components)
    marks = {ON: CHECK, OFF: ""}
    return tuple(marks.get(level, level) for level in row.levels)


def _seeds(row: CellRow) -> str:
    return f"{row.n} of {row.n + len(row.failed_arms)}" if row.failed_arms else str(row.n)


def interaction_table(findings: Findings) -> Table:
    scale = natural(findings)

    def effect_row(name: str, estimate: Estimate) -> tuple[str, ...]:
        return name, effect_text(estimate, scale), p_text(estimate.p)

    mains = tuple(effect_row(row.component, row.main_effect) for row in scale.rows)
    pairs = tuple(
        effect_row(TIMES.join(interaction.members), interaction.estimate) for interaction in scale.interactions
    )
    return Table(
        title="Main effects and interactions (exploratory)", name="interactions",
        columns=("effect", "better by", "p"), rows=mains + pairs,
        note="Not adjusted for how many there are. An interaction of 0: the components simply add up"
        + (" on the log scale." if scale.scale == "log" else "."),
    )  # fmt: skip


def variance_table(findings: Findings) -> Table:
    v = findings.variance
    names = ("within blocks (residual)", "between blocks", "one cell over seeds", "sampling alone", "training alone")
    values = (v.residual, v.block, v.total, v.sampling, v.training)
    rows = [(name, number(value)) for name, value in zip(names, values, strict=True)]
    correlation: tuple[tuple[str, str], ...] = (("intra-block correlation", number(v.intra_block)),)
    if not findings.run.inference.paired:
        rows, correlation = [(f"{rows[2][0]}, pooled", rows[2][1]), *rows[3:]], ()
    rows = [row for row in rows if row[1] != DASH]
    scale = findings.headline
    unit = scale.outcome.title if scale.scale == "identity" else f"{scale.scale} of {scale.outcome.title}"
    return Table(
        title="Where the noise comes from", columns=("source", f"SD ({unit})"),
        rows=(*rows, *correlation),
    )  # fmt: skip


def agreement_table(findings: Findings) -> Table:
    """Do the seeds agree? What makes intervals by block wider than pooled ones."""
    visible = natural(findings)
    pooled = {row.component: effect_text(row.pooled, visible) for row in visible.rows}
    rows = tuple(
        (row.component, pooled[row.component], number(row.se_ratio, 2), number(row.varies, 2), p_text(row.varies_p),
         number(row.off_sd, 2),
         number(row.on_sd, 2), p_text(row.spread_p))
        for row in findings.agreement
    )  # fmt: skip
    return Table(
        title="Do the seeds agree?", rows=rows,
        columns=("component", "pooled estimate", "SE by block / pooled", f"block{TIMES}component F", "p of F",
                 "SD without", "SD with",
                 "p of SDs"),
        note="Pooled: the Shapley value with the interval of the pooled residual, right only if effects and spreads "
        "are equal in all blocks and cells. F: does the effect differ between blocks? SDs: residual, of cells without "
        "and with the component. p "
        "adjusted over the components (Holm). They choose no test: verdicts are by block whatever stands here.",
    )  # fmt: skip


def failures_table(findings: Findings) -> Table:
    """The tested effects without the failed arms, and with bad values substituted."""
    scale: Attribution = findings.headline
    failed_arms: list[ComponentRow] = [row for row in scale.rows if row.component in findings.with_worst]
    rows = tuple(
        (row.component, effect_text(row.effect, scale), effect_text(findings.with_worst[row.component], scale))
        for row in failed_arms
    )
    return Table(
        title="If the failed arms had done badly", rows=rows,
        columns=("component", "without the failed arms", "with bad values in their place"),
        note="In its place: as bad, for its cell and block, as the worst arm of the run was for its own. Where the two "
        "columns disagree, the conclusion depends on the failed arms. A claim is supported or refuted only "
        "where it would be with either.",
    )  # fmt: skip
