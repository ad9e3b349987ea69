"""One effect over several data sets: `branchwise analyze RUN RUN RUN --across`, and the report of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import nan
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from branchwise.analysis.declared.inference import Inference
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run, parts
from branchwise.analysis.report import formats, numbers
from branchwise.analysis.report.exports.page import render_page
from branchwise.analysis.report.figures import INK, TWO_COLUMNS, Plot, inline_svg, new_figure, render, style, write
from branchwise.analysis.report.plots.axes import effect_axis, interval, rows, span, zero_line
from branchwise.analysis.report.text import DASH, Table, number, p_text
from branchwise.analysis.report.wording import effect_text
from branchwise.analysis.statistics.attribution import ComponentRow, ScaleResult
from branchwise.analysis.statistics.comparisons.random_effects import MIN_STUDIES, RandomEffects, random_effects
from branchwise.analysis.statistics.findings import Findings, analyse
from branchwise.analysis.statistics.model import Estimate, holm
from branchwise.run_files.layout import staged_folder

MARK = "across.json"  # a folder that holds it is such a report, and may be replaced by the next one
NO_MEAN = "Two data sets say nothing about a third: a mean over data sets needs three or more."
COLOUR = "#0072B2"


@dataclass(frozen=True, kw_only=True)
class Across:
    """The effects of components in several runs, and what holds across them.

    Attributes:
        runs: Names of the runs.
        effects: By component, its effect in each run; not known where a run lacks it.
        combined: By component, the random-effects mean and what belongs to it.
        p_holm: By component, the p-value of the mean, adjusted over the components.
        scale: An attribution on the scale that all share.
        rules: How the runs were tested.
        notes: What a reader must know.
    """

    runs: tuple[str, ...]
    effects: dict[str, tuple[Estimate, ...]]
    combined: dict[str, RandomEffects]
    p_holm: dict[str, float]
    scale: ScaleResult
    rules: Inference
    notes: tuple[str, ...]

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each component: the mean, both intervals and the heterogeneity, on the scale of the effects."""
        return pd.DataFrame(
            {
                "component": name, "k": item.k, "mean": item.mean.value, "low": item.mean.low, "high": item.mean.high,
                "p": item.mean.p, "p_holm": self.p_holm[name], "next_low": item.low, "next_high": item.high,
                "tau2": item.tau2, "i2": item.i2, "q": item.q, "q_p": item.q_p, "reason": item.reason,
            }
            for name, item in self.combined.items()
        )  # fmt: skip


def across(folders: Sequence[Path]) -> Across:
    """Combine the effects of components over runs, one data set each.

    Raises:
        RunFolderError: There is one run only, or the effects are on other scales, of other kinds or directions.
    """
    if len(folders) < 2:
        raise RunFolderError("--across needs two runs or more, one of each data set")
    resolved = [Path(folder).resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise RunFolderError("--across: a run is named twice; name each once")
    analyses = [analyse(parts(load_run(folder))[0]) for folder in resolved]
    for findings in analyses:
        if findings.run.unfinished:
            raise RunFolderError(f"{findings.run.name}: only {findings.run.unfinished} are finished; resume it first")
    _check(analyses)
    names = _distinct([findings.run.name for findings in analyses])
    shared = [
        name for name in analyses[0].run.components if all(name in findings.run.components for findings in analyses)
    ]
    if not shared:
        raise RunFolderError(
            "--across: no component is in every run; "
            + "; ".join(
                f"{name} has {', '.join(findings.run.components)}"
                for name, findings in zip(names, analyses, strict=True)
            )
        )
    table = {name: [_row(findings, name) for findings in analyses] for name in shared}
    for name, component_rows in table.items():
        kinds = {row.tested for row in component_rows if row.tested}
        if len(kinds) > 1:
            raise RunFolderError(f"--across: {name}: the tested effects are of different kinds: {', '.join(kinds)}")
    rules = analyses[0].run.inference
    effects = {name: tuple(row.effect for row in component_rows) for name, component_rows in table.items()}
    combined = {
        name: random_effects([e.value if e.has_interval else nan for e in each], [e.se for e in each], rules.alpha)
        for name, each in effects.items()
    }
    p_holm = dict(zip(combined, holm([item.mean.p for item in combined.values()]), strict=True))
    return Across(
        runs=names, effects=effects, combined=combined, p_holm=p_holm, scale=analyses[0].headline, rules=rules,
        notes=tuple(_notes(analyses, names, shared)),
    )  # fmt: skip


def _row(findings: Findings, name: str) -> ComponentRow:
    return next(row for row in findings.headline.rows if row.component == name)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if names.count(name) == 1 else f"{name} #{i}" for i, name in enumerate(names, start=1))


def _check(result: Sequence[Findings]) -> None:
    """Raises RunFolderError where effects cannot be put side by side."""
    first = result[0]
    for one in result[1:]:
        both = (first.headline, one.headline)
        aspects: dict[str, list[object]] = {
            "scale": [scale.scale for scale in both], "direction": [scale.outcome.better for scale in both],
            "alpha": [first.run.inference.alpha, one.run.inference.alpha],
        }  # fmt: skip
        if first.headline.scale == "identity":  # effects are in the metric's own unit
            aspects["metric"] = [scale.outcome.title for scale in both]
            aspects["range"] = [scale.outcome.range for scale in both]
        for what, pair in aspects.items():
            left, right = pair
            if left != right:
                raise RunFolderError(
                    f"--across: {first.run.name} and {one.run.name} cannot be combined: the {what} is {left} against "
                    f"{right}"
                )


def _notes(result: Sequence[Findings], names: Sequence[str], shared: Sequence[str]) -> list[str]:
    notes = [NO_MEAN] if len(result) < MIN_STUDIES else []
    metrics = dict.fromkeys(findings.run.primary.title for findings in result)
    if len(metrics) > 1:
        notes.append(f"The metrics have different names: {', '.join(metrics)}. Effects are compared, values are not.")
    for name, item in zip(names, result, strict=True):
        if others := [component for component in item.run.components if component not in shared]:
            notes.append(f"{name}: {', '.join(others)} left out, which not every run has.")
    return notes


def effects_table(found: Across) -> Table:
    """Each component's effect in each run and, from three runs on, what holds across them."""
    several = len(found.runs) >= MIN_STUDIES
    extra = ("mean", "next data set", "p (Holm)", "tau", "I²", "Q (p)") if several else ()
    table_rows = []
    for name, each in found.effects.items():
        combined = found.combined[name]
        ahead = replace(combined.mean, low=combined.low, high=combined.high)
        text = effect_text(ahead, found.scale)
        further = (
            effect_text(combined.mean, found.scale) if combined.mean.known else combined.reason or DASH,
            text[text.index("[") :] if ahead.has_interval else DASH, p_text(found.p_holm[name]),
            number(combined.tau2**0.5 if combined.tau2 >= 0 else nan),
            f"{100 * combined.i2:.0f}%" if combined.i2 >= 0 else DASH,
            f"{number(combined.q)} ({p_text(combined.q_p)})",
        )  # fmt: skip
        table_rows.append((name, *(effect_text(e, found.scale) for e in each), *(further if several else ())))
    percent = found.rules.percent
    explained = (
        f" Mean: random effects, REML, Hartung and Knapp's {percent} interval. Next data set: {percent} prediction "
        "interval. tau: SD of the effect between data sets, on the scale of the effects. I²: share of the variance "
        "between data sets. Each run's own error is taken as known: with five seeds, 95% intervals cover 91 to 95%."
        if several
        else ""
    )
    return Table(
        title="Across data sets", name="across", columns=("component", *found.runs, *extra), rows=tuple(table_rows),
        note=f"{percent} intervals {found.rules.method}, for the mean over seeds. Positive: better.{explained}",
    )  # fmt: skip


def forest(found: Across) -> Plot:
    """Every run's effect, the mean and the prediction interval, a block of rows for each component."""
    lines: list[tuple[str, Estimate, str, str]] = []
    for name, each in found.effects.items():
        lines += [(f"{name}: {run}", e, COLOUR, "o") for run, e in zip(found.runs, each, strict=True)]
        one = found.combined[name]
        if one.mean.known:
            lines.append((f"{name}: mean", one.mean, INK, "D"))
            lines.append((f"{name}: next data set", replace(one.mean, low=one.low, high=one.high), "#7F7F7F", "|"))
    figure, (axes,) = new_figure(TWO_COLUMNS, 0.7 + 0.22 * len(lines))
    low, high = span(estimate for _, estimate, _, _ in lines)
    axes.set_xlim(low, high)
    for i, (_, estimate, tint, marker) in enumerate(lines):
        interval(axes, estimate, i, tint, marker)
    rows(axes, [label for label, _, _, _ in lines])
    zero_line(axes)
    effect_axis(axes.xaxis, found.scale, low, high)
    alt = (
        f"Effect of each component in each run with {found.rules.percent} intervals; diamonds: the mean over data "
        "sets; grey: prediction interval for the next data set. Right of zero the component helps."
    )
    return render(figure, "across", "Effects across data sets", alt)


def write_report(found: Across, out: Path) -> Path:
    """Write index.html, across.md, across.json and the figure to a folder, at once.

    Raises:
        RunFolderError: The folder holds something else, or cannot be written.
    """
    target = out.resolve()
    if target.exists() and not (target.is_dir() and ((target / MARK).is_file() or not any(target.iterdir()))):
        raise RunFolderError(f"--out {out}: exists and is no report across data sets; name another folder")
    with style():
        plot = forest(found)
    table = effects_table(found)
    try:
        with staged_folder(target) as staging:
            (staging / "index.html").write_text(_html(found, table, plot), encoding="utf-8")
            (staging / "across.md").write_text(formats.markdown(table), encoding="utf-8")
            (staging / MARK).write_text(numbers.to_json(document(found)), encoding="utf-8")
            write([plot], staging)
    except OSError as error:
        raise RunFolderError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return target


def document(found: Across) -> dict[str, object]:
    """All that was found, as plain values."""
    return {
        "across": found.runs,
        "scale": found.scale.scale,
        "level": found.rules.level,
        "effects": {name: [asdict(item) for item in each] for name, each in found.effects.items()},
        "combined": {name: asdict(entry) | {"p_holm": found.p_holm[name]} for name, entry in found.combined.items()},
        "notes": found.notes,
    }


def _html(result: Across, table: Table, plot: Plot) -> str:
    return render_page(
        "across.html.j2", title=" and ".join(result.runs), runs=[], table=table, notes=result.notes, plot=plot,
        svg=Markup(inline_svg(plot)),
    )  # fmt: skip
