"""Ray Tune's results folders: the last result of each trial, and its final state.

Final states are in the experiment's state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from branchwise.analysis.importers.history.points import History, MetricLog, Points
from branchwise.analysis.importers.run_table import SETTING, RunTable, as_settings, counted, from_records, metric_name
from branchwise.analysis.records.damage import RunFolderError

PARAMS, RESULTS = "params.json", "result.json"
CUT_OFF = "interrupted"  # the last line of its results is incomplete, so the last value is unknown
_FACTS = ("experiment", "trial", "state")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial: its folder, settings, last complete result, and Tune's state ("" for none)."""

    folder: Path
    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    state: str
    cut_off: bool


def read(path: Path) -> RunTable:
    states: dict[Path, Mapping[str, str]] = {}
    trials = []
    for folder in folders(path):
        if folder.parent not in states:
            states[folder.parent] = _states(folder.parent)
        trials.append(_trial(folder, states[folder.parent]))
    if not any(trial.result for trial in trials):
        raise RunFolderError(f"{path} holds no result: none of its {len(trials)} trials has a line in {RESULTS}")
    return _table(path, trials, History(load=lambda name: _points(trials, name)))


def table_of_results(results: Any) -> RunTable:
    """Return the trials of a `ray.tune.ResultGrid`: from its folder, else from the results.

    The results serve where the folder holds no trials: Tune writes no folder where
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS is set, and its storage may be remote.
    """
    path = Path(results.experiment_path)
    if any(folders(path)):
        return read(path)
    trials = [
        Trial(
            folder=path / str(result.path).rpartition("/")[2],
            settings=result.config or {},
            result={name: value for name, value in (result.metrics or {}).items() if name != "config"},
            state="failed" if result.error else "finished",
            cut_off=False,
        )
        for result in results
    ]
    return _table(path, trials)


def _table(path: Path, trials: list[Trial], history: History | None = None) -> RunTable:
    ends_are_reported = any(trial.result.get("done") is True for trial in trials)
    rows = [_row(path, trial, ends_are_reported) for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = [name for name in names if name not in _FACTS and not name.startswith(SETTING)]
    return from_records(
        rows,
        kinds=dict.fromkeys(metrics, "metric"),
        state="state",
        experiment="experiment",
        run_id="trial",
        notes=_notes(trials),
        history=history,
    )


def _points(trials: list[Trial], name: str) -> Points:
    """The results of each trial's metric; a trial that was resumed repeats some iterations."""
    log, key = MetricLog(), name.removeprefix("metrics.")
    for row, trial in enumerate(trials):
        for i, result in enumerate(_results(trial.folder / RESULTS), start=1):
            value = _slashed(result).get(key)
            if isinstance(value, int | float):
                log.add(key, row, result.get("training_iteration", i), value)
    return log.points(key)


def _results(file: Path) -> Iterator[Mapping[str, Any]]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                result = json.loads(line)
            except ValueError:
                continue  # what is cut off is noted when the last result is read
            if isinstance(result, Mapping):
                yield result


def _row(path: Path, trial: Trial, ends_are_reported: bool) -> dict[str, Any]:
    experiment = trial.folder.parent.relative_to(path).as_posix()
    metrics = {metric_name(name, _FACTS): value for name, value in _slashed(trial.result).items()}
    return {
        "experiment": path.name if experiment == "." else experiment, "trial": trial.folder.name,
        "state": _state(trial, ends_are_reported), **metrics, **as_settings(trial.settings),
    }  # fmt: skip


def _state(trial: Trial, ends_are_reported: bool) -> str:
    """The final state of a trial: from the experiment's state, else from its files."""
    if trial.cut_off:
        return CUT_OFF
    if trial.state:
        return trial.state
    if trial.result.get("done") is True:
        return "finished"
    if (trial.folder / "error.txt").is_file():
        return "failed"
    # Functions never report that they are done, so this is not informative where no trial does.
    return "unfinished" if ends_are_reported and trial.result.get("done") is False else "finished"


def _notes(trials: list[Trial]) -> tuple[str, ...]:
    notes = []
    if cut := [trial.folder.name for trial in trials if trial.cut_off]:
        notes.append(f"{RESULTS} is cut off, so the last value is not known, in {counted(cut, 'trial', 3)}.")
    if not any(trial.state for trial in trials):
        notes.append("There is no experiment_state-*.json, so how the trials ended is known from their results alone.")
    return tuple(notes)


def folders(path: Path) -> Iterator[Path]:
    """Yield folders with settings and results, none inside another.

    A trial that never reported has its settings only, next to others.
    """
    for folder, folders, files in os.walk(path):
        folders.sort()
        current = Path(folder)
        if PARAMS in files and (RESULTS in files or (current != path and _is_next_to_trials(current))):
            folders.clear()
            yield current


def _is_next_to_trials(folder: Path) -> bool:
    above = folder.parent
    return any(above.glob("experiment_state-*.json")) or any(above.glob(f"*/{RESULTS}"))


def _trial(folder: Path, states: Mapping[str, str]) -> Trial:
    result, cut_off = _last_result(folder / RESULTS)
    settings = _mapping(folder / PARAMS)
    state = states.get(folder.name) or states.get(str(result.get("trial_id", ""))) or ""
    visible = {name: value for name, value in result.items() if name != "config"}
    return Trial(folder=folder, settings=settings, result=visible, state=state, cut_off=cut_off)


def _last_result(file: Path) -> tuple[Mapping[str, Any], bool]:
    """The last complete line, and whether a later line is cut off."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    cut_off = False
    for line in reversed(text.splitlines()):
        if not line.strip("\x00 \t"):
            continue
        try:
            result = json.loads(line)
        except ValueError:
            cut_off = True
            continue
        if isinstance(result, Mapping):
            return result, cut_off
    return {}, cut_off


def _mapping(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # cut off like any file of an interrupted run; the trial then has no settings
    return content if isinstance(content, Mapping) else {}


def _states(experiment: Path) -> dict[str, str]:
    """State of each trial in the newest readable state of an experiment, by folder and by id."""
    for file in sorted(experiment.glob("experiment_state-*.json"), reverse=True):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            entries = content["trial_data"] if "trial_data" in content else content["checkpoints"]
            trials = [entry[0] if isinstance(entry, list) else entry for entry in entries]
            read = [json.loads(trial) if isinstance(trial, str) else trial for trial in trials]
        except (ValueError, KeyError, IndexError, TypeError):
            continue  # cut off while it was written: the previous state
        by_id = {str(trial.get("trial_id", "")): str(trial.get("status", "")).lower() for trial in read}
        by_folder = {
            Path(str(trial.get("relative_logdir") or trial.get("logdir"))).name: str(trial.get("status", "")).lower()
            for trial in read
            if trial.get("relative_logdir") or trial.get("logdir")
        }
        return by_id | by_folder
    return {}


def _slashed(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested results with the names that Ray's tables have: `env_runners/episode_return_mean`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _slashed(item, f"{prefix}{key}/") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return flat
