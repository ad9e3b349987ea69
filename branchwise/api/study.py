"""A finished or running study: numbers as DataFrames, figures, verdicts as text or HTML."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchwise.api.errors import InputError, input_errors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from branchwise.analysis.report.figures import Plot
    from branchwise.analysis.report.text import Table
    from branchwise.analysis.statistics.findings import Findings

PLOTS = ("effects", "claims", "cells", "waterfall", "interactions")


@dataclass(frozen=True)
class Study:
    """The results of a single run folder.

    Each table is computed from the folder when it is first read, and positive effects are improvements.

    Attributes:
        folder: The run folder, which the command line reads as well.

    Example:
        >>> study = bw.load("results/ema")                        # doctest: +SKIP
        >>> study.effects[["component", "effect", "low", "high"]]  # doctest: +SKIP
    """

    folder: Path

    @cached_property
    def _analyses(self) -> Sequence[Findings]:
        """The findings on each data set; of a run with searches, only those of the space's settings."""
        from branchwise.analysis.records.folder import load_run
        from branchwise.analysis.statistics.findings import analyze_run

        with input_errors():
            analyses = analyze_run(load_run(self.folder))
        return analyses if analyses[0].run.data_set else analyses[:1]

    @property
    def _findings(self) -> Findings:
        return self._analyses[0]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._findings.run.run_name

    @property
    def space(self) -> str:
        """The space as YAML: `branchwise run FILE` reruns it, on this machine or on a cluster."""
        return (self.folder / "space.yaml").read_text(encoding="utf-8")

    @property
    def effects(self) -> pd.DataFrame:
        """A row per component: its tested effect, interval and p-values, share of the total gain.

        The effect is the Shapley value where the design runs each cell of the factorial, else leave-one-out or the
        main effect. Intervals are for the mean over seeds.

        Columns: component, effect, low, high, unit ("%" of the value, "points" of a rate, or the metric's),
        p, p_holm, share, share_low, share_high (fractions of the total gain). Of a run on multiple data sets, a first
        column names the data set, as it does in `cells` and `claims`.
        """
        from branchwise.analysis.report.exports import tidy

        return tidy.stacked(_effects, self._analyses)

    @property
    def cells(self) -> pd.DataFrame:
        """A row per cell, baseline and teacher: cell, component levels, n, mean, sd and more."""
        from branchwise.analysis.report.exports import tidy

        return tidy.stacked(tidy.cells, self._analyses)

    @property
    def arms(self) -> pd.DataFrame:
        """A row per arm, also failed: arm, cell, block, seed, status, error, value, records."""
        import pandas as pd

        return pd.concat([findings.run.arms for findings in self._analyses], ignore_index=len(self._analyses) > 1)

    @property
    def claims(self) -> pd.DataFrame:
        """A row per claim: claim, verdict, estimate, low, high, p, p_holm, reason."""
        from branchwise.analysis.report.exports import tidy

        return tidy.stacked(tidy.claims, self._analyses)

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits to how far the numbers can be trusted, in sentences."""
        from branchwise.analysis.report.across.tables import across_of

        return (
            *(dict.fromkeys(warning for findings in self._analyses for warning in findings.warnings)),
            *across_of(self._analyses)[1],
            *(_on_data_set(findings, note) for findings in self._analyses for note in findings.notes),
        )

    @property
    def report(self) -> Path:
        """The report's page, which opens in a browser."""
        return self.folder / "report" / "index.html"

    def extend(
        self,
        *,
        blocks: int | None = None,
        confirm: bool = False,
        add_component: Mapping[str, Any] | None = None,
        add_baseline: str | Sequence[str] = (),
        add_cell: Mapping[str, str] | Sequence[Mapping[str, str]] = (),
        claims: Sequence[str] = (),
        function: Callable[..., Any] | None = None,
        name: str | None = None,
        address: str | None = None,
        progress: bool = True,
        trust: bool = False,
    ) -> Study:
        """Add seeds, components, baselines or cells, as a new run that takes these finished arms.

        More seeds make each verdict exploratory, since this run was already tested. Additions are tested in a
        separate family, with `claims`; earlier decisions do not change.

        Args:
            blocks: Seeds in all, more than this run has.
            confirm: Run only the further seeds, and test the same claims on them, resealed.
            add_component: `{"warmup": {"warmup_steps": 0}}`, as `components` of `ablate`.
            add_baseline: Names of baselines that the trainable declares.
            add_cell: `{"ema": "off", "warmup": "off"}`, a combination that the design did not run; components that are
                not named are at their full level.
            claims: Statements on what is added, sealed before its first arm runs.
            function: The run's function, where a Python session defined it; it must be the same code.
            name: Name of the new run; by default the space's, numbered.
            address: As for `ablate`.
            progress: As for `ablate`.
            trust: Run the command or module of a run that this user did not start, as its folder names it.

        Returns:
            The finished run.

        Raises:
            InputError: This run is not finished, or what is added does not fit it.
            RunError: The new run could not be finished.

        Example:
            >>> study.extend(blocks=10, confirm=True)  # doctest: +SKIP
        """
        from branchwise.api.extensions import extend_run

        added = {"components": add_component, "baselines": add_baseline, "cells": add_cell, "claims": claims}
        return extend_run(
            self.folder,
            function,
            blocks=blocks,
            confirm=confirm,
            added=added,
            name=name,
            address=address,
            progress=progress,
            trust=trust,
        )

    def plot(self, name: str = "effects") -> Figure:
        """Return a figure: "effects", "claims", "cells", "waterfall" or "interactions".

        On multiple data sets, "effects".

        Raises:
            InputError: The figure does not exist, or the run has no numbers for it.
        """
        return self._drawn(name).figure

    def _drawn(self, name: str) -> Plot:
        from branchwise.analysis.report.figures import style

        if name not in PLOTS:
            raise InputError(f"plot {name!r}: must be one of {', '.join(PLOTS)}")
        several = len(self._analyses) > 1
        if several and name != PLOTS[0]:
            raise InputError(f"plot {name!r}: {self.name} is on several data sets; allowed is {PLOTS[0]!r}")
        with style():
            plot = _forest(self._analyses) if several else _plotters()[name](self._findings)
        if plot is None:
            raise InputError(f"plot {name!r}: {self.name} has no numbers for it")
        return plot

    def _tables(self) -> Sequence[Table]:
        from branchwise.analysis.report import tables
        from branchwise.analysis.report.across.tables import across_of, across_tables
        from branchwise.analysis.report.claims import claims_table
        from branchwise.analysis.report.looks import decided_table
        from branchwise.analysis.report.wording import with_titles

        analyses = self._analyses
        visible = [claims_table(analyses), decided_table(self._findings), tables.attribution_table(analyses)]
        visible += across_tables(across_of(analyses)[0], analyses)
        for findings in analyses:
            table = tables.cell_table(findings)
            visible.append(replace(table, title=_on_data_set(findings, table.title)))
        return [with_titles(table, analyses) for table in visible if table.rows]

    def _answers(self) -> list[str]:
        from branchwise.analysis.report.headlines import answers

        return [_on_data_set(findings, answer) for findings in self._analyses for answer in answers(findings)]

    def __repr__(self) -> str:
        from branchwise.analysis.console import Terminal
        from branchwise.analysis.report.terminal import rich_table

        console = Terminal(file=io.StringIO(), width=110)
        for answer in self._answers():
            console.print(answer, highlight=False)
        for table in self._tables():
            console.print(rich_table(table))
        for note in self.notes:
            console.print(f"note: {note}", highlight=False)
        console.print(f"report: {self.report}", highlight=False, soft_wrap=True)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text.rstrip()

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        from branchwise.analysis.report.figures import inline_svg

        parts = [f"<p>{html.escape(answer)}</p>" for answer in self._answers()]
        parts += [_table_html(table) for table in self._tables()]
        if self._findings.headline.rows:
            with suppress(InputError):  # no component has a number yet; the notes explain it
                parts.append(inline_svg(self._drawn("effects")).replace("var(--grid)", "#d0d0d0"))
        parts += [f"<p><b>note:</b> {html.escape(note)}</p>" for note in self.notes]
        return "\n".join(parts)


def load(folder: str | Path) -> Study:
    """Load a run from its folder.

    Raises:
        InputError: The folder is not a run, or a file in it cannot be read.
    """
    study = Study(Path(folder))
    study._findings  # noqa: B018  # a folder that cannot be read is refused here, not at the first table
    return study


def verify(folder: str | Path) -> pd.DataFrame:
    """Check a run: its claims are the sealed ones, its arms as planned, its report matches.

    Returns:
        A row per check: check, holds, detail.

    Raises:
        InputError: The folder is not a run, or a file in it cannot be read.
    """
    import pandas as pd

    from branchwise.analysis.verify import checks

    with input_errors():
        rows = [{"check": check.name, "holds": check.holds, "detail": check.message} for check in checks(Path(folder))]
    return pd.DataFrame(rows, columns=["check", "holds", "detail"])


def _on_data_set(findings: Findings, text: str) -> str:
    """The text, with the data set that it holds for where the run is on multiple."""
    return f"{findings.run.data_set}: {text}" if findings.run.data_set else text


def _effects(findings: Findings) -> pd.DataFrame:
    import pandas as pd

    from branchwise.analysis.report.wording import in_unit, natural

    visible = natural(findings)
    rows = []
    for row, displayed in zip(findings.headline.rows, visible.rows, strict=True):
        effect, low, high, unit = in_unit(displayed.effect, visible)
        rows.append(
            {
                "component": row.component,
                "effect": effect,
                "low": low,
                "high": high,
                "unit": unit,
                "p": row.effect.p,
                "p_holm": row.p_holm,
                "share": row.share.value,
                "share_low": row.share.low,
                "share_high": row.share.high,
            }
        )
    columns = ["component", "effect", "low", "high", "unit", "p", "p_holm", "share", "share_low", "share_high"]
    return pd.DataFrame(rows, columns=columns)


def _forest(analyses: Sequence[Findings]) -> Plot | None:
    from branchwise.analysis.report.across.plots import forest
    from branchwise.analysis.report.across.tables import across_of

    found, _ = across_of(analyses)
    return forest(found) if found else None


def _plotters() -> dict[str, Callable[[Findings], Plot | None]]:
    from branchwise.analysis.report.plots.attribution import attribution_bars, interactions, waterfall
    from branchwise.analysis.report.plots.board import verdict_board
    from branchwise.analysis.report.plots.cells import cell_forest

    return {
        "effects": attribution_bars,
        "claims": verdict_board,
        "cells": cell_forest,
        "waterfall": waterfall,
        "interactions": interactions,
    }


def _table_html(table: Table) -> str:
    saved = [i for i, column in enumerate(table.columns) if not table.brief or column in table.brief]
    head = "".join(f"<th>{html.escape(table.columns[i])}</th>" for i in saved)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(row[i])}</td>" for i in saved) + "</tr>" for row in table.rows)
    title = html.escape(table.title)
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
