"""Builder of `report/`, of a run or runs: index.html, ablation.{md,csv,tex,json}, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from branchwise.analysis.records.comparing import check_comparable, check_inference
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run, parts
from branchwise.analysis.records.remeasured import load_remeasured
from branchwise.analysis.report import formats, numbers, tables
from branchwise.analysis.report.across.plots import forest
from branchwise.analysis.report.across.tables import across_of, across_tables, document
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.exports import tidy
from branchwise.analysis.report.exports.page import Contents, Section, html, measure_tables
from branchwise.analysis.report.exports.paper import PaperOptions, write_paper
from branchwise.analysis.report.figures import style, write
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.looks import decided_table, looks_table
from branchwise.analysis.report.plots.attribution import attribution_plots
from branchwise.analysis.report.plots.cells import cell_forest
from branchwise.analysis.report.plots.doses import dose_plots
from branchwise.analysis.report.plots.evidence import line_plots
from branchwise.analysis.report.plots.samples import sample_rows, unread
from branchwise.analysis.report.remeasured.efficiency import efficiency_table
from branchwise.analysis.report.remeasured.plots import measure_plots
from branchwise.analysis.report.screening.plots import screening_plots
from branchwise.analysis.report.search import search_plots, search_tables
from branchwise.analysis.report.text import Table, number_style
from branchwise.analysis.report.wording import for_print, with_titles
from branchwise.analysis.statistics.findings import Findings, analyze_run
from branchwise.analysis.statistics.remeasured.effects import under_each_measurement
from branchwise.run_files.layout import REPORT, staged_folder

MARK = "ablation.json"  # a folder that holds it is a report, and may be replaced by the next


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Parts of a report that a terminal shows, and its folder."""

    warnings: tuple[str, ...]  # before any table
    answers: tuple[str, ...]
    attribution: Table
    cells: tuple[Table, ...]  # a table per run
    claims: Table
    across: tuple[Table, ...]  # of a run on multiple data sets
    looks: tuple[Table, ...]  # per run; of a run that declared none, empty
    decided: tuple[Table, ...]  # per run; of a run that grew out of no other, empty
    measures: tuple[Table, ...]  # of models that were remeasured
    notes: tuple[str, ...]
    folder: Path


def build_report(run_folders: Sequence[Path], out: Path | None = None) -> Summary:
    """Read the runs, analyze them and write the report atomically (built next to, then renamed).

    `out` defaults to `<run folder>/report` and is required for multiple runs. Raises RunFolderError for a folder
    that is no run, or an `out` that holds something else than a report; IncomparableError when values were measured
    differently.
    """
    folders = [Path(folder).resolve() for folder in run_folders]
    if not folders:
        raise RunFolderError("a report needs at least one run folder")
    if out is None and len(folders) > 1:
        raise RunFolderError("a report on several runs belongs to none of them: name a folder for it with --out")
    target = Path(out).resolve() if out is not None else folders[0] / REPORT
    try:
        if target.exists() and not (target.is_dir() and ((target / MARK).is_file() or not any(target.iterdir()))):
            raise RunFolderError(f"{target} exists and is not a report: choose another folder")
    except OSError as error:
        raise RunFolderError(f"--out {target}: {error.strerror or error}") from error
    contents = _draw(_contents(folders))
    sections, analyses = contents.sections, contents.analyses
    write_files = _write_interim if any(findings.run.progress for findings in analyses) else _write_all
    try:
        with staged_folder(target) as staging:
            write_files(staging, contents, target)
    except OSError as error:
        raise RunFolderError(
            f"--out {target}: the report cannot be written: {error.strerror or error}; name a folder that can be "
            "written with --out"
        ) from error
    return Summary(
        warnings=tuple(section.heading + text for section in sections for text in section.findings.warnings),
        answers=tuple(section.heading + text for section in sections for text in answers(section.findings)),
        attribution=with_titles(tables.attribution_table(analyses), analyses),
        cells=tuple(_titled(tables.cell_table(section.findings), section) for section in sections),
        claims=claims_table(analyses),
        across=tuple(across_tables(contents.across, analyses)),
        looks=tuple(_titled(looks_table(section.findings), section) for section in sections),
        decided=tuple(_titled(decided_table(section.findings), section) for section in sections),
        measures=tuple(table for section in sections for table in measure_tables(section.remeasured)),
        notes=(*contents.across_notes, *dict.fromkeys(note for findings in analyses for note in _notes(findings))),
        folder=target,
    )


def build_paper(run_folders: Sequence[Path], folder: Path, options: PaperOptions) -> list[Path]:
    """Write the tables, figures and numbers of a paper on these runs into a separate folder.

    Raises:
        RunFolderError: A run cannot be read or is unfinished, or the folder cannot be written.
        IncomparableError: The runs' values were measured differently.
    """
    contents = _contents([Path(run_folder).resolve() for run_folder in run_folders])
    analyses = contents.analyses
    if running := [findings.run.name for findings in analyses if findings.run.progress]:
        raise RunFolderError(f"--paper: {running[0]} is not finished; its tables would change")
    with number_style(options.style):
        return write_paper(analyses, report_tables(contents), _draw(contents).plots, folder, options)


def _contents(folders: Sequence[Path]) -> Contents:
    """The runs, which must be comparable, part by part; without figures."""
    runs = [load_run(folder) for folder in folders]
    crossed = [run for run in runs if run.outline.across]
    if crossed and len(runs) > 1:
        raise RunFolderError(
            f"{crossed[0].name} is on several data sets, whose values no other run is compared with; report it alone, "
            "or combine effects with --across"
        )
    check_inference(runs)
    for together in [[part] for part in parts(crossed[0])] if crossed else [runs]:
        check_comparable(together)
    analyses = [_add_picture_notes(findings) for run in runs for findings in analyze_run(run)]
    sections = [
        Section(
            findings=findings,
            remeasured=under_each_measurement(findings, load_remeasured(findings.run)),
            number=number if len(analyses) > 1 else 0,
        )
        for number, findings in enumerate(analyses, start=1)
    ]
    across, across_notes = across_of(analyses)
    return Contents(sections=sections, across=across, across_notes=across_notes)


def _draw(contents: Contents) -> Contents:
    """The contents with their figures."""
    with style():
        across_plots = [forest(contents.across)] if contents.across else []
        return replace(contents, sections=list(map(_draw_section, contents.sections)), across_plots=across_plots)


def _draw_section(section: Section) -> Section:
    findings, run = section.findings, section.findings.run
    single = [plot for plot in (cell_forest(findings), sample_rows(run)) if plot is not None]
    plots = [*screening_plots(findings), *attribution_plots(findings), *single, *line_plots(run)]
    if not run.progress:  # an interim page shows no others
        plots += [*dose_plots(findings), *search_plots(run), *measure_plots(section.remeasured)]
    return replace(section, plots=tuple(replace(plot, name=section.key + plot.name) for plot in plots))


def _write_all(folder: Path, contents: Contents, target: Path) -> None:
    analyses, visible = contents.analyses, report_tables(contents)
    printed = [for_print(table, analyses) for table in visible]
    texts = {
        "index.html": html(contents, target),
        "ablation.md": "\n".join(formats.markdown(table) for table in visible),
        "ablation.csv": numbers.csv_text(analyses),
        "ablation.tex": formats.latex(printed),
        **{f"table-{table.slug}.tex": formats.latex([table]) for table in printed if table.rows},
        MARK: numbers.to_json(_json(contents)),
        **{f"{name}.csv": numbers.csv_frame(table) for name, table in tidy.all_tables(analyses).items()},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write(contents.plots, folder)


def _write_interim(folder: Path, contents: Contents, target: Path) -> None:
    """Write the page, and JSON only as a report's mark: interim numbers are not for other use."""
    details = {"format": 2, "interim": True, "runs": [findings.run.name for findings in contents.analyses]}
    (folder / MARK).write_text(numbers.to_json(details), encoding="utf-8")
    (folder / "index.html").write_text(html(contents, target), encoding="utf-8")


def _add_picture_notes(findings: Findings) -> Findings:
    """The findings with a note on each unusable picture."""
    return replace(findings, notes=(*findings.notes, *unread(findings.run)))


def _notes(findings: Findings) -> list[str]:
    """The notes, with the data set that each is on."""
    on = findings.run.data_set
    return [f"{on}: {note}" if on else note for note in findings.notes]


def numbers_of(run_folder: Path) -> str:
    """The text of ablation.json as this run's files give it now. Raises RunFolderError."""
    return numbers.to_json(_json(_contents([run_folder])))


def _json(contents: Contents) -> object:
    runs = [
        numbers.findings_json(section.findings) | {"measures": section.remeasured.as_json()}
        for section in contents.sections
    ]
    if len(runs) == 1:
        return runs[0]
    across = contents.across
    return {"format": 2, "runs": runs, **({"across": document(across)} if across else {})}


def report_tables(contents: Contents) -> list[Table]:
    """The tables of the Markdown file, in order."""
    analyses = contents.analyses
    visible = [claims_table(analyses), with_titles(tables.attribution_table(analyses), analyses)]
    visible += across_tables(contents.across, analyses)
    for section in contents.sections:
        findings = section.findings
        effects, checks = tables.effect_tables(findings), tables.check_tables(findings)
        looks = [table for table in (looks_table(findings), decided_table(findings)) if table.rows]
        each = [*looks, *effects, tables.cell_table(findings), *checks, *search_tables(findings.run)]
        further = (*measure_tables(section.remeasured), efficiency_table(findings.run))
        visible += [_titled(table, section) for table in (*each, *(table for table in further if table.rows))]
    return visible


def _titled(table: Table, section: Section) -> Table:
    """Table with its run in title and name where runs are compared, and components by labels."""
    named = replace(table, title=section.heading + table.title, name=section.key + table.slug)
    return with_titles(named, [section.findings])
