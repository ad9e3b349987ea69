"""Builds `report/` of a single run, or of several compared: index.html, ablation.{md,csv,tex,json}, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from branchwise.analysis.records.comparing import check_comparable, check_inference
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run, parts
from branchwise.analysis.records.measures import load_measures
from branchwise.analysis.report import formats, numbers, tables
from branchwise.analysis.report.across.plots import forest
from branchwise.analysis.report.across.tables import across_of, across_tables, document
from branchwise.analysis.report.claims import claims_table
from branchwise.analysis.report.exports import tidy
from branchwise.analysis.report.exports.page import html, measure_tables
from branchwise.analysis.report.exports.paper import PaperOptions, write_paper
from branchwise.analysis.report.figures import Plot, style, write
from branchwise.analysis.report.headlines import answers
from branchwise.analysis.report.looks import decided_table, looks_table
from branchwise.analysis.report.measures.efficiency import efficiency_table
from branchwise.analysis.report.measures.plots import measure_plots
from branchwise.analysis.report.plots.attribution import attribution_plots
from branchwise.analysis.report.plots.cells import cell_forest
from branchwise.analysis.report.plots.doses import dose_plots
from branchwise.analysis.report.plots.evidence import line_plots
from branchwise.analysis.report.plots.samples import sample_rows, unread
from branchwise.analysis.report.screening.plots import screening_plots
from branchwise.analysis.report.search import search_plots, search_tables
from branchwise.analysis.report.text import Table, number_style
from branchwise.analysis.report.wording import for_print, with_titles
from branchwise.analysis.statistics.findings import Findings, analyse_run
from branchwise.analysis.statistics.measures.effects import Remeasured, under_each_measure
from branchwise.run_files.layout import REPORT, staged_folder

MARK = "ablation.json"  # a folder that holds it is a report, and may be replaced by the next


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a terminal shows of a report, and the files written."""

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
    paths: tuple[Path, ...]


def build_report(run_folders: Sequence[Path], out: Path | None = None) -> Summary:
    """Read the runs, analyse them and write the report atomically (built next to, then renamed).

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
    analyses, repeated = _analyses(folders)
    plots = _all_plots(analyses, repeated)
    write_files = _write_interim if any(findings.run.progress for findings in analyses) else _write_all
    try:
        with staged_folder(target) as staging:
            names = write_files(staging, analyses, repeated, plots, target)
    except OSError as error:
        raise RunFolderError(
            f"--out {target}: the report cannot be written: {error.strerror or error}; name a folder that can be "
            "written with --out"
        ) from error
    return Summary(
        warnings=tuple(_of_run(findings, analyses) + entry for findings in analyses for entry in findings.warnings),
        answers=tuple(_of_run(findings, analyses) + text for findings in analyses for text in answers(findings)),
        attribution=with_titles(tables.attribution_table(analyses), analyses),
        cells=tuple(_titled(tables.cell_table(findings), findings, analyses) for findings in analyses),
        claims=claims_table(analyses),
        across=tuple(across_tables(analyses)),
        looks=tuple(_titled(looks_table(findings), findings, analyses) for findings in analyses),
        decided=tuple(_titled(decided_table(findings), findings, analyses) for findings in analyses),
        measures=tuple(table for measured in repeated for table in measure_tables(measured)),
        notes=(*across_of(analyses)[1], *dict.fromkeys(note for findings in analyses for note in _notes(findings))),
        folder=target,
        paths=tuple(target / name for name in names),
    )


def build_paper(run_folders: Sequence[Path], folder: Path, options: PaperOptions) -> list[Path]:
    """Write the tables, figures and numbers of a paper on these runs into a separate folder.

    Raises:
        RunFolderError: A run cannot be read or is unfinished, or the folder cannot be written.
        IncomparableError: The runs' values were measured differently.
    """
    analyses, repeated = _analyses([Path(run_folder).resolve() for run_folder in run_folders])
    if running := [findings.run.name for findings in analyses if findings.run.progress]:
        raise RunFolderError(f"--paper: {running[0]} is not finished; its tables would change")
    with number_style(options.style):
        plots = [plot for group in _all_plots(analyses, repeated) for plot in group]
        return write_paper(analyses, report_tables(analyses, repeated), plots, folder, options)


def _analyses(folders: Sequence[Path]) -> tuple[list[Findings], list[Remeasured]]:
    """The findings of each part of the runs, which must be comparable, and what further evaluations found."""
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
    analyses = [_with_unread(findings) for run in runs for findings in analyse_run(run)]
    return analyses, [under_each_measure(findings, load_measures(findings.run)) for findings in analyses]


def _all_plots(analyses: Sequence[Findings], repeated: Sequence[Remeasured]) -> list[list[Plot]]:
    """The plots of each part, whose names begin with its number where there are several, then that of all."""
    with style():
        plots = [
            _plots(findings, measured, i if len(analyses) > 1 else None)
            for i, (findings, measured) in enumerate(zip(analyses, repeated, strict=True), start=1)
        ]
        across, _ = across_of(analyses)
        return [*plots, [forest(across)]] if across else plots


def _plots(findings: Findings, measured: Remeasured, index: int | None) -> list[Plot]:
    run = findings.run
    single = [plot for plot in (cell_forest(findings), sample_rows(run)) if plot is not None]
    plots = [*screening_plots(findings), *attribution_plots(findings), *single, *line_plots(run)]
    if not run.progress:  # an interim page shows no others
        plots += [*dose_plots(findings), *search_plots(run), *measure_plots(measured)]
    return plots if index is None else [replace(plot, name=f"run{index}-{plot.name}") for plot in plots]


def _write_all(
    folder: Path,
    analyses: Sequence[Findings],
    repeated: Sequence[Remeasured],
    plots: Sequence[Sequence[Plot]],
    target: Path,
) -> list[str]:
    visible = report_tables(analyses, repeated)
    printed = [for_print(table, analyses) for table in visible]
    texts = {
        "index.html": html(analyses, plots, repeated, target),
        "ablation.md": "\n".join(formats.markdown(table) for table in visible),
        "ablation.csv": numbers.csv_text(analyses),
        "ablation.tex": formats.latex(printed),
        **{f"table-{table.slug}.tex": formats.latex([table]) for table in printed if table.rows},
        "ablation.json": numbers.to_json(_json(analyses, repeated)),
        **{f"{name}.csv": numbers.csv_frame(table) for name, table in tidy.all_tables(analyses).items()},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [*texts, *(name for group in plots for name in write(group, folder))]


def _write_interim(
    folder: Path,
    analyses: Sequence[Findings],
    repeated: Sequence[Remeasured],
    plots: Sequence[Sequence[Plot]],
    target: Path,
) -> list[str]:
    """Only the page, and the JSON as the mark of a report: interim numbers are not for further use."""
    details = {"format": 2, "interim": True, "runs": [analysis.run.name for analysis in analyses]}
    (folder / MARK).write_text(numbers.to_json(details), encoding="utf-8")
    (folder / "index.html").write_text(html(analyses, plots, repeated, target), encoding="utf-8")
    return [MARK, "index.html"]


def _with_unread(findings: Findings) -> Findings:
    """The findings with a note on each picture that cannot be shown."""
    return replace(findings, notes=(*findings.notes, *unread(findings.run)))


def _notes(findings: Findings) -> list[str]:
    """The notes, with the data set that each is on."""
    on = findings.run.data_set
    return [f"{on}: {note}" if on else note for note in findings.notes]


def numbers_of(run_folder: Path) -> str:
    """The text of ablation.json as this run's files give it now. Raises RunFolderError."""
    return numbers.to_json(_json(*_analyses([run_folder])))


def _json(analyses: Sequence[Findings], repeated: Sequence[Remeasured]) -> object:
    runs = [
        numbers.findings_json(findings) | {"measures": measured.as_json()}
        for findings, measured in zip(analyses, repeated, strict=True)
    ]
    if len(runs) == 1:
        return runs[0]
    across, _ = across_of(analyses)
    return {"format": 2, "runs": runs, **({"across": document(across)} if across else {})}


def report_tables(analyses: Sequence[Findings], remeasured: Sequence[Remeasured]) -> list[Table]:
    """The tables of the Markdown file, in order."""
    visible = [claims_table(analyses), with_titles(tables.attribution_table(analyses), analyses)]
    visible += across_tables(analyses)
    for findings, measured in zip(analyses, remeasured, strict=True):
        effects, checks = tables.effect_tables(findings), tables.check_tables(findings)
        looks = [table for table in (looks_table(findings), decided_table(findings)) if table.rows]
        each = [*looks, *effects, tables.cell_table(findings), *checks, *search_tables(findings.run)]
        each += [table for table in (*measure_tables(measured), efficiency_table(findings.run)) if table.rows]
        visible += [_titled(table, findings, analyses) for table in each]
    return visible


def _titled(table: Table, findings: Findings, analyses: Sequence[Findings]) -> Table:
    """The table with its run in its title and name where there are several, and with components by their labels."""
    run = _of_run(findings, analyses)
    named = replace(
        table, title=run + table.title, name=f"run{analyses.index(findings) + 1}-{table.slug}" if run else table.slug
    )
    return with_titles(named, [findings])


def _of_run(findings: Findings, analyses: Sequence[Findings]) -> str:
    """The run of an answer or table, if there are several."""
    return f"{findings.run.label}: " if len(analyses) > 1 else ""
