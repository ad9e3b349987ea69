"""Tables of a findings: as text cells for people (Markdown, LaTeX, HTML, terminal), as numbers for CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, floor, isnan, log10, nan
from typing import Any

from branchwise.analysis.statistics.attribution import ScaleResult
from branchwise.analysis.statistics.findings import CellRow, Findings
from branchwise.analysis.statistics.model import Estimate
from branchwise.analysis.statistics.verdicts import Verdict

DASH = "–"  # noqa: RUF001
CHECK = "✓"
TIMES = " × "  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of text; the first `text_columns` columns are words, the others numbers.

    brief: the columns that a terminal has room for; empty for all.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""
    brief: tuple[str, ...] = ()


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits and no exponent below 1e6; a dash for NaN."""
    if isnan(value):
        return DASH
    if abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - floor(log10(abs(value))) if value else digits - 1
    return _fixed(value, min(max(decimals, 0), digits))


def with_interval(estimate: Estimate, factor: float = 1.0) -> str:
    """`value [low, high]` to two digits of the half-width; the value alone, or a dash, where the rest is not known."""
    if not estimate.known:
        return DASH
    if not estimate.has_interval:
        return number(factor * estimate.value)
    half = factor * (estimate.high - estimate.low) / 2
    decimals = min(max(1 - floor(log10(half)), 0), 8) if half > 0 else 3
    value, low, high = (_fixed(factor * x, decimals) for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("-") and not float(text) else text


def reduction(effect: float) -> float:
    """Percent by which a log-scale gain lowers the distance; negative where it raises it."""
    return 100 * (1 - exp(-effect))


def as_reduction(estimate: Estimate) -> str:
    """`value% [low, high]` of `reduction`."""
    if not estimate.known:
        return DASH
    value = f"{reduction(estimate.value):.1f}%"
    if not estimate.has_interval:
        return value
    return f"{value} [{reduction(estimate.low):.1f}, {reduction(estimate.high):.1f}]"


def p_text(p: float) -> str:
    return DASH if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def attribution_table(analyses: Sequence[Findings]) -> Table:
    """What each component is worth: one row a component, with the run's name first when there are several."""
    log = all(findings.log for findings in analyses)
    several = len(analyses) > 1
    rows = []
    for findings in analyses:
        scale = findings.log if log else findings.raw
        assert scale is not None
        for row in scale.rows:
            rows.append(
                (
                    *((findings.run.name,) if several else ()), row.component,
                    as_reduction(row.shapley) if log else with_interval(row.shapley),
                    *((with_interval(row.shapley),) if log else ()),
                    with_interval(row.share, 100), p_text(row.p_holm),
                    as_reduction(row.pooled) if log else with_interval(row.pooled), p_text(row.pooled_p_holm),
                    with_interval(row.leave_one_out), with_interval(row.add_one_in),
                )
            )  # fmt: skip
    head = ("lowers the distance by", "Shapley value (log)") if log else ("Shapley value (raw)",)
    columns = (*(("run",) if several else ()), "component", *head, "% of the gain", "p (Holm)", "on these seeds",
               "p on these seeds", "leave-one-out", "add-one-in")  # fmt: skip
    return Table(
        title="What each component is worth", columns=columns, rows=tuple(rows), text_columns=2 if several else 1,
        brief=("run", "component", head[0], "% of the gain", "p (Holm)"),
        note="95% intervals in brackets, by block: they hold for the next seed. On these seeds: the pooled interval, "
        "right only if effects and spreads are equal in all blocks and cells. Positive: the component lowers the "
        "distance. "
        + ("Shapley, leave-one-out and add-one-in are differences of log distance. " if log else "")
        + "Only Shapley values and claims are adjusted for their number; the rest is exploratory.",
    )  # fmt: skip


def cell_table(findings: Findings) -> Table:
    """The paper-style table: one row a cell with check marks, mean and SD over seeds, change against the reference."""
    reference = findings.raw.reference
    shown = [c.name for c in findings.run.shown if any(not isnan(row.shown.get(c.name, nan)) for row in findings.cells)]
    columns = ("cell", *findings.run.components, "seeds", f"{findings.run.metric} (mean ± SD)", f"Δ vs {reference}",
               f"lower than {reference} by", *shown)  # fmt: skip
    rows = tuple(
        (row.cell, *_marks(row, len(findings.run.components)), _seeds(row), mean_sd(row), with_interval(row.change),
         as_reduction(row.relative), *(number(row.shown.get(name, nan)) for name in shown))
        for row in findings.cells
    )  # fmt: skip
    return Table(
        title=f"Cells, by {findings.run.measure}", columns=columns, rows=rows,
        brief=("cell", "seeds", columns[-3 - len(shown)], columns[-1 - len(shown)]),
        note="SD is over training seeds. Δ comes from the fitted model, its 95% interval is by block. Lower is better.",
    )  # fmt: skip


def _marks(row: CellRow, k: int) -> tuple[str, ...]:
    return tuple((CHECK if on else "") for on in row.on) if row.on is not None else ("",) * k


def _seeds(row: CellRow) -> str:
    return f"{row.n} of {row.n + len(row.lost)}" if row.lost else str(row.n)


def mean_sd(row: CellRow) -> str:
    if isnan(row.mean):
        return DASH
    return number(row.mean) if isnan(row.sd) else f"{number(row.mean)} ± {number(row.sd, 2)}"


def claims_table(analyses: Sequence[Findings]) -> Table:
    """Declared claims with their verdicts and the numbers behind them."""
    several = len(analyses) > 1
    rows = tuple(
        (*((findings.run.name,) if several else ()), verdict.claim.text, verdict.status, evidence(verdict),
         p_text(verdict.by_block.p_holm), p_text(verdict.pooled.p_holm))
        for findings in analyses
        for verdict in findings.verdicts
    )  # fmt: skip
    columns = (*(("run",) if several else ()), "claim", "verdict", "evidence", "p (Holm)",
               "p on these seeds")  # fmt: skip
    edited = any(findings.edited for findings in analyses)
    return Table(
        title="Claims edited after the run" if edited else "Claims written before the run",
        columns=columns, rows=rows, text_columns=4 if several else 3,
        brief=("run", "claim", "verdict", "evidence", "p (Holm)"),
        note="Judged by block, two-sided at the 5% level, adjusted over all claims and Shapley values together; "
        "equivalence by two one-sided tests. “On these seeds”: only the pooled test shows it. Effects: positive = the "
        "component lowers the distance.",
    )  # fmt: skip


def evidence(verdict: Verdict) -> str:
    """The numbers behind a verdict in one line: by block, or pooled where the verdict is of these seeds alone."""
    test = verdict.pooled if verdict.status.endswith("on these seeds") else verdict.by_block
    if not test.estimate.known:
        return test.reason or DASH
    claim = verdict.claim
    factor, unit = (100.0, "% of the gain") if claim.scale == "share" else (1.0, "")
    relation = {"above": "above", "below": "below", "equivalent": "within ±"}[claim.relation]
    text = f"{with_interval(test.estimate, factor)}{unit}, claimed {relation}"
    text += f"{'' if claim.relation == 'equivalent' else ' '}{number(factor * claim.bound)}"
    return f"{text} ({test.reason})" if test.reason else text


def interaction_table(findings: Findings) -> Table:
    scale = findings.headline
    rows = tuple(
        (TIMES.join(one.members), with_interval(one.estimate), p_text(one.estimate.p)) for one in scale.interactions
    )
    mains = tuple((row.component, with_interval(row.main_effect), p_text(row.main_effect.p)) for row in scale.rows)
    return Table(
        title="Main effects and interactions (exploratory)", columns=("effect", f"estimate ({scale.scale})", "p"),
        rows=mains + rows,
        note="Not adjusted for how many there are. An interaction of 0: the components simply add up.",
    )  # fmt: skip


def gains_table(findings: Findings) -> Table:
    rows = tuple(
        (
            name,
            as_reduction(estimate) if findings.log else DASH,
            with_interval(findings.raw.gains.get(name, Estimate())),
        )
        for name, estimate in findings.headline.gains.items()
    )
    return Table(
        title="Total gain of the full method",
        columns=("against", "lower by", f"lower by ({findings.run.metric})"),
        rows=rows,
    )


def variance_table(findings: Findings) -> Table:
    v = findings.variance
    names = ("within blocks (residual)", "between blocks", "one cell over seeds", "sampling alone", "training alone")
    values = (v.residual, v.block, v.total, v.sampling, v.training)
    rows = [(name, number(value)) for name, value in zip(names, values, strict=True)]
    unit = "log distance" if findings.log else findings.run.metric
    return Table(
        title="Where the noise comes from", columns=("source", f"SD ({unit})"),
        rows=(*rows, ("intra-block correlation", number(v.intra_block))),
    )  # fmt: skip


def agreement_table(findings: Findings) -> Table:
    """Do the seeds agree? What makes intervals by block wider than pooled ones."""
    rows = tuple(
        (row.component, number(row.se_ratio, 2), number(row.varies, 2), p_text(row.varies_p), number(row.off_sd, 2),
         number(row.on_sd, 2), p_text(row.spread_p))
        for row in findings.agreement
    )  # fmt: skip
    return Table(
        title="Do the seeds agree?", rows=rows,
        columns=("component", "SE by block / pooled", f"block{TIMES}component F", "p of F", "SD without", "SD with",
                 "p of SDs"),
        note="F: does the effect differ between blocks? SDs: residual, of cells without and with the component. p "
        "adjusted over the components (Holm). They choose no test: verdicts are by block whatever stands here.",
    )  # fmt: skip


def lost_table(findings: Findings) -> Table:
    """Shapley values without the lost arms, and with bad values in their place."""
    show = as_reduction if findings.log else with_interval
    rows = tuple(
        (row.component, show(row.shapley), show(findings.with_worst[row.component]))
        for row in findings.headline.rows
        if row.component in findings.with_worst
    )
    return Table(
        title="If the lost arms had done badly", rows=rows,
        columns=("component", "without the lost arms", "with bad values in their place"),
        note="In its place: as bad, for its cell and block, as the worst arm of the run was for its own. Where the two "
        "columns disagree, the conclusion hangs on the lost arms.",
    )  # fmt: skip


def csv_columns() -> tuple[str, ...]:
    """Column names of ablation.csv: the promised ones, then intervals of the single-component contrasts
    and the pooled ones."""
    promised = ("shapley", "shapley_low", "shapley_high", "p_holm", "share", "share_low", "share_high", "leave_one_out",
                "add_one_in")  # fmt: skip
    bounds = tuple(f"{name}_{end}" for name in ("leave_one_out", "add_one_in") for end in ("low", "high"))
    pooled = ("pooled_low", "pooled_high", "pooled_p_holm", "pooled_share_low", "pooled_share_high")
    further = (*bounds, *pooled)
    return (
        "component",
        *promised,
        *(f"raw_{c}" for c in promised),
        *(f"{p}{c}" for p in ("", "raw_") for c in further),
    )


def csv_rows(findings: Findings) -> list[dict[str, Any]]:
    """One row a component; None where a number is not known."""
    rows = []
    for i, component in enumerate(findings.run.components):
        row: dict[str, Any] = {"component": component}
        for prefix, scale in (("", findings.log), ("raw_", findings.raw)):
            row |= {f"{prefix}{key}": value for key, value in _csv_numbers(scale, i).items()}
        rows.append(row)
    return rows


def _csv_numbers(scale: ScaleResult | None, i: int) -> Mapping[str, float | None]:
    if scale is None:
        return {}
    row = scale.rows[i]
    numbers = {
        "p_holm": row.p_holm, "pooled_low": row.pooled.low, "pooled_high": row.pooled.high,
        "pooled_p_holm": row.pooled_p_holm, "pooled_share_low": row.pooled_share.low,
        "pooled_share_high": row.pooled_share.high,
    }  # fmt: skip
    for name in ("shapley", "share", "leave_one_out", "add_one_in"):
        estimate: Estimate = getattr(row, name)
        numbers |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: None if isnan(value) else value for key, value in numbers.items()}


def csv_text(analyses: Sequence[Findings]) -> str:
    """ablation.csv; the runs' names come in a first column `run` when there are several."""
    several = len(analyses) > 1
    out = io.StringIO()
    writer = csv.DictWriter(out, (*(("run",) if several else ()), *csv_columns()), restval="", lineterminator="\n")
    writer.writeheader()
    for findings in analyses:
        for row in csv_rows(findings):
            writer.writerow(({"run": findings.run.name} if several else {}) | row)
    return out.getvalue()
