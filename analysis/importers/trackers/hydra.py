"""Hydra: folders of its jobs, each with the config that it composed and a file of results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.files.folders import relative, walk
from branchwise.analysis.importers.files.history_csv import STEP_NAMES, read_history
from branchwise.analysis.importers.files.yaml_text import read_yaml
from branchwise.analysis.importers.history.points import MetricLog
from branchwise.analysis.importers.run_table import SETTING, RunLog, RunTable, as_settings, count, counted, listed
from branchwise.analysis.importers.trackers.trackio import NO_STATES
from branchwise.analysis.records.comparing import flatten
from branchwise.analysis.records.damage import RunFolderError

JOB, CONFIG, HYDRA = ".hydra", "config.yaml", "hydra.yaml"
RESULTS = ("result", "results", "metric", "metrics")  # names of the file of results where a job left several
SUFFIXES = (".json", ".jsonl", ".csv")
KINDS = "one .json, .jsonl or .csv file in the folder of each job"


def folders(path: Path) -> Iterator[Path]:
    """The folders of jobs, of a multirun or of single runs."""
    for folder, names, _ in walk(path):
        if (folder / JOB / CONFIG).is_file():
            names.clear()
            yield folder


def read(path: Path) -> RunTable:
    runs, without_results, cut_off = RunLog(), [], []
    for folder in folders(path):
        name, results = relative(folder, path), dict[str, Any]()
        row = runs.add({"run": name}, _settings(folder / JOB), results)
        file = _result_file(folder)
        if file is None:
            without_results.append(name)
        elif not _read_results(file, row, runs.metrics, results):
            cut_off.append(name)
    if len(without_results) == len(runs.facts):
        raise RunFolderError(f"{path} holds Hydra's jobs and no result of any; write {KINDS}")
    notes = [NO_STATES.format("Hydra")]
    if without_results:
        notes.append(f"{count(len(without_results), 'job')} left no file of results: {listed(without_results, 5)}.")
    if cut_off:
        notes.append(f"The last line of the results is cut off and left out in {counted(cut_off, 'job')}.")
    return runs.table(run_id="run", notes=tuple(notes))


def _settings(folder: Path) -> dict[str, Any]:
    """Composed config, in which overrides have taken effect, and choices of config groups."""
    settings = read_yaml(folder / CONFIG)
    hydra = read_yaml(folder / HYDRA).get("hydra") if (folder / HYDRA).is_file() else None
    runtime = hydra.get("runtime") if isinstance(hydra, Mapping) else None
    choices = runtime.get("choices") if isinstance(runtime, Mapping) else None
    taken = as_settings(settings)
    for group, choice in (choices or {}).items() if isinstance(choices, Mapping) else ():
        name = group.replace("@", ".").replace("/", ".")
        if not group.startswith("hydra/") and SETTING + name not in taken:
            settings[name if name not in settings else f"{name}.choice"] = choice
    return flatten(settings)


def _result_file(folder: Path) -> Path | None:
    """The file of results of a job. Raises RunFolderError for multiple candidates."""
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not files:  # Lightning's CSVLogger creates folders
        files = sorted(file for file in folder.rglob("metrics.csv") if file.is_file())
    named = [file for file in files if file.stem in RESULTS]
    files = named if len(files) > 1 and named else files
    if len(files) > 1:
        names = listed([file.relative_to(folder).as_posix() for file in files])
        raise RunFolderError(f"{folder}: which of {names} holds the results? Keep one of them, or call it metrics")
    return files[0] if files else None


def _read_results(file: Path, row: int, log: MetricLog, results: dict[str, Any]) -> bool:
    """Add the results of a job; return whether the file is complete."""
    if file.suffix == ".csv":
        return read_history(file, row, log)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{file} is not UTF-8 text (byte {error.start})") from error
    complete = True
    try:
        content = json.loads(text)
    except ValueError:
        content, complete = _lines(file, text)
    if isinstance(content, Mapping):
        results |= {name: value for name, value in flatten(content).items() if value is not None}
        return True
    if not isinstance(content, Sequence) or not all(isinstance(line, Mapping) for line in content):
        raise RunFolderError(f"{file}: it must hold one {{...}} of results, or one {{...}} for each step")
    for i, line in enumerate(content):
        flat = flatten(line)
        step = next((flat[name] for name in STEP_NAMES if isinstance(flat.get(name), int | float)), i)
        for name, value in flat.items():
            if isinstance(value, int | float):
                log.add(name, row, step, value)
    return complete


def _lines(file: Path, text: str) -> tuple[list[Any], bool]:
    """The objects of a file with an object per line, and whether the last is complete."""
    lines = [line for line in text.splitlines() if line.strip()]
    content: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            content.append(json.loads(line))
        except ValueError as error:
            if number == len(lines) and not text.endswith("\n"):
                return content, False
            raise RunFolderError(f"{file}, line {number}: it is no JSON ({error})") from error
    return content, True
