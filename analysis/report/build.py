"""Builds `report/` of one run, or of several compared: index.html, ablation.{md,csv,tex,json}, plots as PNG and SVG."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from branchwise.analysis.records.comparing import check_comparable, differing_fields
from branchwise.analysis.records.folder import RunFolderError, load_run, parts
from branchwise.analysis.report import formats, numbers, tables
from branchwise.analysis.report.attribution_plots import attribution_plots
from branchwise.analysis.report.diagnostic_plots import evidence_plots
from branchwise.analysis.report.figures import Plot, inline_svg, style, write
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.search import search_plots, search_tables
from branchwise.analysis.report.text import Table
from branchwise.analysis.statistics.findings import Findings, analyse
from branchwise.analysis.statistics.power import describe

MARK = "ablation.json"  # a folder that holds it is a report, and may be replaced by the next one
MOST_ARMS = 500  # rows of arms in the HTML; the JSON has all


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a terminal shows of a report, and the files written."""

    answers: tuple[str, ...]
    attribution: Table
    cells: tuple[Table, ...]  # one a run
    claims: Table
    notes: tuple[str, ...]
    folder: Path
    paths: tuple[Path, ...]


def build_report(run_folders: Sequence[Path], out: Path | None = None) -> Summary:
    """Read the runs, analyse them and write the report whole or not at all (built beside, then renamed).

    `out` defaults to `<run folder>/report` and is required for several runs. Raises RunFolderError for a folder
    that is no run, or an `out` that holds something else than a report; IncomparableError when values were measured
    differently.
    """
    folders = [Path(folder).resolve() for folder in run_folders]
    if not folders:
        raise RunFolderError("a report needs at least one run folder")
    if out is None and len(folders) > 1:
        raise RunFolderError("a report on several runs belongs to none of them: name a folder for it with --out")
    target = Path(out).resolve() if out is not None else folders[0] / "report"
    if target.exists() and not (target.is_dir() and ((target / MARK).is_file() or not any(target.iterdir()))):
        raise RunFolderError(f"{target} exists and is not a report: choose another folder")
    runs = [load_run(folder) for folder in folders]
    check_comparable(runs)
    analyses = [analyse(part) for run in runs for part in parts(run)]
    with style():
        plots = [_plots(findings, i if len(analyses) > 1 else None) for i, findings in enumerate(analyses, start=1)]
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        beside.chmod(0o755)
        names = _write_all(beside, analyses, plots)
        _swap(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Summary(
        answers=tuple(
            _of_run(findings, analyses) + sentence for findings in analyses for sentence in answers(findings)
        ),
        attribution=tables.attribution_table(analyses),
        cells=tuple(_titled(tables.cell_table(findings), findings, analyses) for findings in analyses),
        claims=tables.claims_table(analyses),
        notes=tuple(note for findings in analyses for note in findings.notes),
        folder=target,
        paths=tuple(target / name for name in names),
    )


def _plots(findings: Findings, index: int | None) -> list[Plot]:
    plots = [*attribution_plots(findings), *evidence_plots(findings.run), *search_plots(findings.run)]
    return plots if index is None else [replace(plot, name=f"run{index}-{plot.name}") for plot in plots]


def _swap(beside: Path, target: Path) -> None:
    """Put the finished folder in the place of an older report."""
    for path in beside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if not target.exists():
        beside.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(old / "report")
    beside.rename(target)
    shutil.rmtree(old)


def _write_all(folder: Path, analyses: Sequence[Findings], plots: Sequence[Sequence[Plot]]) -> list[str]:
    shown = report_tables(analyses)
    texts = {
        "index.html": html(analyses, plots),
        "ablation.md": "\n".join(formats.markdown(table) for table in shown),
        "ablation.csv": numbers.csv_text(analyses),
        "ablation.tex": formats.latex(shown),
        "ablation.json": numbers.to_json(_json(analyses)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for group in plots:
        write(group, folder)
    return [*texts, *(f"{plot.name}.{end}" for group in plots for plot in group for end in ("png", "svg"))]


def _json(analyses: Sequence[Findings]) -> object:
    if len(analyses) == 1:
        return numbers.findings_json(analyses[0])
    return {"format": 2, "runs": [numbers.findings_json(findings) for findings in analyses]}


def report_tables(analyses: Sequence[Findings]) -> list[Table]:
    """The tables of the Markdown and LaTeX files, in order."""
    shown = [tables.claims_table(analyses), tables.attribution_table(analyses)]
    for findings in analyses:
        effects, checks = tables.effect_tables(findings), tables.check_tables(findings)
        each = [*effects, tables.cell_table(findings), *checks, *search_tables(findings.run)]
        shown += [_titled(table, findings, analyses) for table in each]
    return shown


def _titled(table: Table, findings: Findings, analyses: Sequence[Findings]) -> Table:
    return replace(table, title=_of_run(findings, analyses) + table.title)


def _of_run(findings: Findings, analyses: Sequence[Findings]) -> str:
    """Whose a sentence or table is, where there are several."""
    return f"{findings.run.name}: " if len(analyses) > 1 else ""


def html(analyses: Sequence[Findings], plots: Sequence[Sequence[Plot]]) -> str:
    """The page as one self-contained string; every text of a run is escaped by the template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    runs = [_page_run(findings, group) for findings, group in zip(analyses, plots, strict=True)]
    return environment.get_template("report.html.j2").render(
        title=" against ".join(findings.run.name for findings in analyses),
        runs=runs,
        attribution=tables.attribution_table(analyses),
        claims=tables.claims_table(analyses),
        differing=differing_fields([findings.run for findings in analyses]),
    )


def _page_run(findings: Findings, plots: Sequence[Plot]) -> dict[str, object]:
    run = findings.run
    arms = run.arms.sort_values(["block", "arm"]).head(MOST_ARMS)
    keys = ("status", "started", "ended", "device", "host", "git_commit", "claims_sha256")
    return {
        "name": run.name,
        "metric": run.metric,
        "measure": run.measure,
        "answers": answers(findings),
        "notes": findings.notes,
        "done": len(run.results),
        "total": int((run.arms["kind"] != "search").sum()) + len(run.missing),
        "searched": int((run.arms["kind"] == "search").sum()),
        "blocks": findings.headline.fit.n_blocks,
        "outcome": findings.run.primary,
        "scale": findings.headline.scale,
        "question": run.part.question,
        "effects": tables.effect_tables(findings),
        "cells": tables.cell_table(findings),
        "checks": tables.check_tables(findings),
        "search": search_tables(run),
        "plan": describe(findings.plan, findings.repeats) if findings.plan else [],
        "figures": {plot.name.split("-")[-1]: (plot, Markup(inline_svg(plot))) for plot in plots},
        "lines": [lines.name for lines in run.outline.lines],
        "weights": [(row.component, row.weights) for row in findings.headline.rows],
        "arms_of": {row.cell: row.arms for row in findings.cells if row.arms},
        "arms": arms[["arm", "cell", "block", "seed", "status", "value", "error"]].astype(object).to_dict("records"),
        "hidden_arms": len(run.arms) - len(arms),
        "facts": {key: run.manifest[key] for key in keys if run.manifest.get(key) not in (None, "")},
    }
