"""The report's page: an HTML file that opens offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from branchwise.analysis.records.comparing import differing_fields
from branchwise.analysis.records.run import Run
from branchwise.analysis.report import tables
from branchwise.analysis.report.across.tables import across_tables
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.exports.links import arm_rows, folder_links
from branchwise.analysis.report.figures import Plot, inline_svg
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.looks import decided_table, looks_table
from branchwise.analysis.report.remeasured.efficiency import efficiency_table
from branchwise.analysis.report.remeasured.tables import best_table, evaluation_table, holds_table
from branchwise.analysis.report.search import search_tables
from branchwise.analysis.report.text import Table, with_minus
from branchwise.analysis.report.wording import titled, with_titles
from branchwise.analysis.statistics.comparisons.data_sets import Across
from branchwise.analysis.statistics.findings import Findings
from branchwise.analysis.statistics.power import describe
from branchwise.analysis.statistics.remeasured.effects import Remeasured

TEMPLATES = Path(__file__).parents[1] / "templates"
SCRIPT = TEMPLATES / "page.js"
MAX_ARMS = 500  # rows of arms in the HTML; the JSON has all


def measure_tables(measured: Remeasured) -> list[Table]:
    """Return the tables on models that were remeasured."""
    by_cell = evaluation_table(measured)
    return [holds_table(measured), *([by_cell] if by_cell.rows else []), best_table(measured)]


@dataclass(frozen=True, kw_only=True)
class Section:
    """The report of an analyzed part of its runs.

    Attributes:
        findings: Its results.
        remeasured: Its results under further evaluations.
        number: Its position, from 1; 0 for a single part.
        plots: Its figures.
    """

    findings: Findings
    remeasured: Remeasured
    number: int = 0
    plots: tuple[Plot, ...] = ()

    @property
    def key(self) -> str:
        """Prefix of the names of its tables and figures; empty for a single part."""
        return f"run{self.number}-" if self.number else ""

    @property
    def heading(self) -> str:
        """Prefix of its answers and titles; empty for a single part."""
        return f"{self.findings.run.label}: " if self.number else ""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Content of a report.

    Attributes:
        sections: One for each analyzed part of its runs.
        across: Effects combined over data sets, where the parts allow it.
        across_notes: On these effects, or why there are none.
        across_plots: Figures of all sections together.
    """

    sections: Sequence[Section]
    across: Across | None
    across_notes: Sequence[str]
    across_plots: Sequence[Plot] = ()

    @property
    def analyses(self) -> list[Findings]:
        return [section.findings for section in self.sections]

    @property
    def plots(self) -> list[Plot]:
        """All figures."""
        return [*(plot for section in self.sections for plot in section.plots), *self.across_plots]


def html(contents: Contents, target: Path) -> str:
    """Return the page in `target` as a self-contained string; the template escapes each text."""
    analyses = contents.analyses
    running = any(findings.run.progress for findings in analyses)
    return render_page(
        "interim.html.j2" if running else "report.html.j2",
        title=_title(analyses),
        across=across_tables(contents.across, analyses),
        across_notes=contents.across_notes,
        across_plots=[(plot, Markup(inline_svg(plot))) for plot in contents.across_plots],
        runs=[_page_run(section, target) for section in contents.sections],
        attribution=with_titles(tables.attribution_table(analyses), analyses),
        claims=claims_table(analyses),
        differing=differing_fields([findings.run for findings in analyses]),
    )


def _title(analyses: Sequence[Findings]) -> str:
    if analyses[0].run.data_set:
        return analyses[0].run.run_name
    return " against ".join(findings.run.name for findings in analyses)


def render_page(template: str, **values: object) -> str:
    """Return a page of a template, with the script that all share."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["minus"] = with_minus
    script = SCRIPT.read_text(encoding="utf-8")
    return environment.get_template(template).render(
        script=Markup(script),
        script_hash=f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
        **values,
    )


def costs(run: Run) -> dict[str, str]:
    """The cost of the run, from its manifest and records."""
    rows: dict[str, str] = {"arms": f"{len(run.arms):,}"}
    if seconds := _seconds(run.manifest):
        rows["time"] = str(timedelta(seconds=round(seconds)))
    if "run_seconds" in run.arms and run.arms["run_seconds"].notna().any():
        rows["in arms"] = str(timedelta(seconds=round(float(run.arms["run_seconds"].sum()))))
    if device := run.manifest.get("device"):
        rows["device"] = str(device)
    return rows


def _seconds(manifest: Mapping[str, Any]) -> float:
    """Duration of all sessions of the run, without pauses; 0 if unknown."""
    if hours := (manifest.get("spent") or {}).get("hours"):
        return float(hours) * 3600
    started, ended = manifest.get("started"), manifest.get("ended")
    if isinstance(started, str) and isinstance(ended, str):
        with suppress(ValueError):
            return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    return 0.0


def _page_run(section: Section, target: Path) -> dict[str, object]:
    findings, measured, run = section.findings, section.remeasured, section.findings.run
    keys = ("status", "started", "ended", "device", "host", "git_commit", "claims_sha256")
    return {
        "key": section.key,
        "name": run.label,
        "progress": run.progress,
        "claims": run.claims,
        "metric": run.metric,
        "measure": run.measure,
        "warnings": findings.warnings,
        "answers": answers(findings),
        "notes": findings.notes,
        "done": len(run.results),
        "total": int((run.arms["kind"] != "search").sum()) + len(run.missing),
        "searched": int((run.arms["kind"] == "search").sum()),
        "blocks": findings.headline.fit.n_blocks,
        "inference": run.inference,
        "outcome": findings.run.primary,
        "scale": findings.headline.scale,
        "question": run.part.question,
        "looks": with_titles(looks_table(findings), [findings]),
        "decided": with_titles(decided_table(findings), [findings]),
        "effects": [with_titles(table, [findings]) for table in tables.effect_tables(findings)],
        "cells": with_titles(tables.cell_table(findings), [findings]),
        "checks": [with_titles(table, [findings]) for table in tables.check_tables(findings)],
        "search": search_tables(run),
        "measures": measure_tables(measured),
        "efficiency": efficiency_table(run),
        "measured": [axis.name for axis in measured.axes],
        "plan": describe(findings.sensitivity, findings.repeats) if findings.sensitivity else [],
        "figures": {plot.name.split("-")[-1]: (plot, Markup(inline_svg(plot))) for plot in section.plots},
        "lines": [lines.name for lines in run.outline.plots],
        "weights": [(titled(row.component, findings), row.weights) for row in findings.headline.rows],
        "arms_of": {row.cell: row.arms for row in findings.cells if row.arms},
        "arms": arm_rows(run, target, MAX_ARMS),
        "hidden_arms": max(len(run.arms) - MAX_ARMS, 0),
        "links": folder_links(run, target),
        "costs": costs(run),
        "facts": {key: run.manifest[key] for key in keys if run.manifest.get(key) not in (None, "")},
    }
