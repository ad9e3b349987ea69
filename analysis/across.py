"""Effects over multiple data sets: `branchwise analyze RUN RUN --across`, and their report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.report import formats, numbers
from branchwise.analysis.report.across.plots import forest
from branchwise.analysis.report.across.tables import document, effects_table
from branchwise.analysis.report.exports.page import render_page
from branchwise.analysis.report.figures import Plot, inline_svg, style, write
from branchwise.analysis.report.text import Table
from branchwise.analysis.statistics.comparisons.data_sets import Across, combine
from branchwise.analysis.statistics.findings import Findings, analyze_run
from branchwise.run_files.layout import staged_folder

MARK = "across.json"  # a folder that holds it is such a report, and may be replaced by the next


def across(folders: Sequence[Path]) -> Across:
    """Combine the effects of components over runs, each on a data set, or a run's data sets.

    Raises:
        RunFolderError: A single data set, or effects with other scales, kinds or directions.
    """
    resolved = [Path(folder).resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise RunFolderError("--across: a run is named twice; name each once")
    analyses = [findings for folder in resolved for findings in _data_sets(folder)]
    if len(analyses) < 2:
        raise RunFolderError("--across needs two runs or more, one of each data set")
    for findings in analyses:
        if findings.run.unfinished:
            raise RunFolderError(f"{findings.run.name}: only {findings.run.unfinished} are finished; resume it first")
    return combine(analyses, _distinct([findings.run.name for findings in analyses]))


def _data_sets(folder: Path) -> list[Findings]:
    """Those of a run; of another its first part, which is of a single data set."""
    combined = analyze_run(load_run(folder))
    return combined if combined[0].run.outline.across else combined[:1]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if names.count(name) == 1 else f"{name} #{i}" for i, name in enumerate(names, start=1))


def write_report(combined: Across, out: Path) -> Path:
    """Write index.html, across.md, across.json and the figure to a folder, at once.

    Raises:
        RunFolderError: The folder holds something else, or cannot be written.
    """
    target = out.resolve()
    if target.exists() and not (target.is_dir() and ((target / MARK).is_file() or not any(target.iterdir()))):
        raise RunFolderError(f"--out {out}: exists and is no report across data sets; name another folder")
    with style():
        plot = forest(combined)
    table = effects_table(combined)
    try:
        with staged_folder(target) as staging:
            (staging / "index.html").write_text(_html(combined, table, plot), encoding="utf-8")
            (staging / "across.md").write_text(formats.markdown(table), encoding="utf-8")
            (staging / MARK).write_text(numbers.to_json(document(combined)), encoding="utf-8")
            write([plot], staging)
    except OSError as error:
        raise RunFolderError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return target


def _html(result: Across, table: Table, plot: Plot) -> str:
    return render_page(
        "across.html.j2", title=" and ".join(result.runs), runs=[], table=table, notes=result.notes, plot=plot,
        svg=Markup(inline_svg(plot)),
    )  # fmt: skip
