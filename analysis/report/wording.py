"""Effects in terms of outcomes: lowers a distance by 31%, raises an accuracy by 1.8 points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import expm1, inf, isinf

from branchwise.analysis.declared.outcomes import Outcome
from branchwise.analysis.report.text import DASH, TIMES, Table, rounded, with_interval
from branchwise.analysis.statistics.attribution import Attribution
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.model import Estimate

MAX_EXPONENT = 700.0  # of e, in a double

NEXT_SEED = "one further seed"


def conclusion(findings: Findings) -> str:
    """Return the component with the largest effect clear of zero, as the title of a figure."""
    scale = natural(findings)
    clear = [
        (abs(row.effect.value), displayed)
        for row, displayed in zip(findings.headline.rows, scale.rows, strict=True)
        if row.p_holm <= findings.run.inference.alpha
    ]
    if not clear:
        return "No component has an effect that is clear of zero"
    row = max(clear, key=lambda pair: pair[0])[1]
    helps = row.effect.value > 0
    size = (effect_text(row.effect, scale) if helps else harm_text(row.effect, scale)).partition(" [")[0]
    return f"{titled(row.component, findings)} {verb(scale.outcome, helps)} {scale.outcome.title} most, by {size}"


def verb(outcome: Outcome, helps: bool = True) -> str:
    """The change of the values by a helping and a harming effect."""
    return "lowers" if (outcome.better == "lower") == helps else "raises"


def natural(findings: Findings, i: int = 0) -> Attribution:
    """Return the attribution of outcome `i` as readers speak of it.

    On the log scale as ratios, else in the metric's unit.
    """
    return findings.raws[i] if findings.outcomes[i].scale == "logit" else findings.outcomes[i]


def is_rate(scale: Attribution) -> bool:
    """Whether effects are in points."""
    return scale.scale == "identity" and scale.outcome.points is not None


def percent(effect: float, outcome: Outcome) -> float:
    """Return per cent by which a log-scale effect makes the value better; negative if worse."""
    exponent = -effect if outcome.better == "lower" else effect
    percentage = 100 * expm1(exponent) if exponent < MAX_EXPONENT else inf
    return -percentage if outcome.better == "lower" else percentage


def percent_text(effect: float, outcome: Outcome) -> str:
    """`31.2`, with an exponent where it is beyond a million."""
    percentage = percent(effect, outcome)
    if isinf(percentage):
        return "-inf" if percentage < 0 else "inf"
    return f"{percentage:.1f}" if abs(percentage) < 1e6 else f"{percentage:.1e}"


def in_unit(estimate: Estimate, scale: Attribution) -> tuple[float, float, float, str]:
    """Return an estimate, its bounds and unit, as tables print them.

    Per cent on the log scale, points of a rate, else the metric's unit.
    """
    numbers = (estimate.value, estimate.low, estimate.high)
    if scale.scale == "log":
        value, low, high = (percent(number, scale.outcome) for number in numbers)
        return value, low, high, "%"
    factor, unit = (scale.outcome.points or 1.0, "points") if is_rate(scale) else (1.0, scale.outcome.title)
    value, low, high = (factor * number for number in numbers)
    return value, low, high, unit


def effect_text(estimate: Estimate, scale: Attribution) -> str:
    """Format an effect with its interval; positive is better.

    It is `31.2% [24.0, 37.9]`, `1.8 points [1.1, 2.4]`, or the number with its interval.
    """
    if not estimate.has_value:
        return DASH
    if scale.scale == "log":
        if not estimate.has_interval:
            return f"{percent_text(estimate.value, scale.outcome)}%"
        ends = [percent(end, scale.outcome) for end in (estimate.value, estimate.low, estimate.high)]
        if all(abs(end) < 1e6 for end in ends) and ends[2] - ends[1] > 1e-7:
            value, low, high = rounded(*ends, min_decimals=1)
        else:
            value, low, high = (
                percent_text(end, scale.outcome) for end in (estimate.value, estimate.low, estimate.high)
            )
        return f"{value}% [{low}, {high}]"
    if is_rate(scale):
        head, _, tail = with_interval(estimate, scale.outcome.points or 1.0).partition(" ")
        return f"{head} points {tail}".rstrip()
    return with_interval(estimate)


def next_seed(estimate: Estimate, scale: Attribution) -> str:
    """The prediction interval for the next seed: `[12.0, 41.3]`."""
    if not estimate.has_interval:
        return DASH
    text = effect_text(estimate.for_next_seed(scale.fit.n_blocks), scale)
    return text[text.index("[") :]


def harm_text(estimate: Estimate, scale: Attribution) -> str:
    """By how much the value gets worse, as a positive number without an interval."""
    if scale.scale == "log":
        return f"{percent_text(estimate.value, scale.outcome).removeprefix('-')}%"
    return effect_text(replace(Estimate(), value=-estimate.value), scale)


def better_by(analyses: Sequence[Findings]) -> str:
    """`lowers fd_digits64 by`, where this describes all runs."""
    heads = {f"{verb(findings.run.primary)} {findings.run.primary.title} by" for findings in analyses}
    return heads.pop() if len(heads) == 1 else "better by"


def titled(name: str, findings: Findings) -> str:
    """Return a component's name for readers: its label, or its name."""
    return findings.run.grid.factor(name).title


def with_titles(table: Table, analyses: Sequence[Findings]) -> Table:
    """Return the table with components called by their labels; cells stay as claims call them."""
    titles = {name: titled(name, findings) for findings in analyses for name in findings.run.components}

    def reword(text: str) -> str:
        parts = text.split(TIMES)
        return TIMES.join(titles[part] for part in parts) if all(part in titles for part in parts) else text

    return replace(
        table, columns=tuple(map(reword, table.columns)), rows=tuple(tuple(map(reword, row)) for row in table.rows)
    )


def for_print(table: Table, analyses: Sequence[Findings]) -> Table:
    """Return the table as a paper prints it: no underscores, no plus without spaces.

    Components and cells are text.
    """
    titles = {
        name: findings.run.grid.factor(name).label or name.replace("_", " ")
        for findings in analyses
        for name in findings.run.components
    }
    signs = {"+": " + ", "=": ": ", TIMES: TIMES}

    def reword(text: str) -> str:
        parts = re.split(f"({TIMES}|[+=])", text)
        quoted = [part for i, part in enumerate(parts) if i % 2 == 0 and not (i and parts[i - 1] == "=")]
        if not all(piece in titles for piece in quoted):
            return text
        return "".join(signs.get(part) or titles.get(part, part) for part in parts)

    rows = tuple(
        tuple(reword(cell) if i < table.text_columns else cell for i, cell in enumerate(row)) for row in table.rows
    )
    return replace(table, columns=tuple(reword(column).replace("_", " ") for column in table.columns), rows=rows)
