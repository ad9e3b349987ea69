"""The effects of components on multiple data sets as a table, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import nan

from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.report.text import DASH, Table, number, p_text
from branchwise.analysis.report.wording import effect_text, with_titles
from branchwise.analysis.statistics.comparisons.data_sets import Across, combine
from branchwise.analysis.statistics.comparisons.random_effects import MIN_STUDIES
from branchwise.analysis.statistics.findings import Findings


def across_of(analyses: Sequence[Findings]) -> tuple[Across | None, tuple[str, ...]]:
    """Combine effects across the data sets of a run; return them, and notes for the reader.

    None for a run on one data set, an unfinished run, and, with the reason, effects that cannot be combined.
    """
    crossed = [findings for findings in analyses if findings.run.outline.across]
    if not crossed or crossed[0].run.unfinished:
        return None, ()
    try:
        estimates = combine(crossed, [findings.run.label for findings in crossed])
    except RunFolderError as error:
        return None, (f"Not combined over data sets: {str(error).removeprefix('--across: ')}.",)
    return estimates, estimates.notes


def across_tables(estimates: Across | None, analyses: Sequence[Findings]) -> list[Table]:
    """The table of what `across_of` found, if it found anything."""
    return [with_titles(effects_table(estimates), analyses)] if estimates else []


def effects_table(estimates: Across) -> Table:
    """Each component's effect in each run and, from three runs on, what holds across them."""
    several = len(estimates.runs) >= MIN_STUDIES
    extra = ("mean", "next data set", "p (Holm)", "tau", "I²", "Q (p)") if several else ()
    table_rows = []
    for name, each in estimates.effects.items():
        combined = estimates.combined[name]
        ahead = replace(combined.mean, low=combined.low, high=combined.high)
        text = effect_text(ahead, estimates.scale)
        further = (
            effect_text(combined.mean, estimates.scale) if combined.mean.has_value else combined.reason or DASH,
            text[text.index("[") :] if ahead.has_interval else DASH, p_text(estimates.p_holm[name]),
            number(combined.tau2**0.5 if combined.tau2 >= 0 else nan),
            f"{100 * combined.i2:.0f}%" if combined.i2 >= 0 else DASH,
            f"{number(combined.q)} ({p_text(combined.q_p)})",
        )  # fmt: skip
        table_rows.append((name, *(effect_text(e, estimates.scale) for e in each), *(further if several else ())))
    percent = estimates.rules.percent
    explained = (
        f" Mean: random effects, REML, Hartung and Knapp's {percent} interval. Next data set: {percent} prediction "
        "interval. tau: SD of the effect between data sets, on the scale of the effects. I²: share of the variance "
        "between data sets. Each run's own error is taken as known: with five seeds, 95% intervals cover 91 to 95%."
        if several
        else ""
    )
    scale = " Effects are on the logit scale." if estimates.scale.scale == "logit" else ""
    return Table(
        title="Across data sets", name="across", columns=("component", *estimates.runs, *extra), rows=tuple(table_rows),
        note=f"{percent} intervals {estimates.rules.method}, for the mean over seeds. Positive: better.{scale}"
             f"{explained}",
    )  # fmt: skip


def document(estimates: Across) -> dict[str, object]:
    """All that was found, as plain values."""
    return {
        "across": estimates.runs,
        "scale": estimates.scale.scale,
        "level": estimates.rules.level,
        "effects": {name: [asdict(item) for item in each] for name, each in estimates.effects.items()},
        "combined": {
            name: asdict(entry) | {"p_holm": estimates.p_holm[name]} for name, entry in estimates.combined.items()
        },
        "notes": estimates.notes,
    }
