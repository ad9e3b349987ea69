"""`init --try`: run a script with its defaults to find its metric.

It also checks what seeds and components change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from branchwise.analysis.console import single_line
from branchwise.orchestration.authoring.metric_guess import Metric, guesses_from_run
from branchwise.orchestration.authoring.one_arm import ArmTrial, run_arm
from branchwise.orchestration.authoring.options import ScriptOption
from branchwise.orchestration.authoring.scaffold import Draft, components, space_text
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import parse_space
from branchwise.trainables.command.arguments import filled_arguments
from branchwise.trainables.command.output import missing_file
from branchwise.trainables.runtime.processes import scratch_folder

TIME_LIMIT = 600.0  # seconds of each run
MAX_OTHERS = 6  # metrics that are named next to the likeliest
ANY_METRIC = Metric(key="metric", source={"key": "metric"}, maximize=True)
FAILED = re.compile(r"exit code|killed|time limit|command")  # how a run that did not end well is reported
Say = Callable[[str], None]


def try_script(draft: Draft, folder: Path, say: Say) -> Draft:
    """Run the script that is in `folder`, and return the draft with its metric and `cwd`.

    Reports what happened. Raises UserError when the script fails.
    """
    if not components([option for option in draft.options.options if not option.is_seed]):
        raise UserError(
            f"{draft.script}: --try: the script has no option to vary; add an option for each part of the method"
        )
    required = [option.flag for option in draft.options.options if option.required]
    if required:
        say(f"--try: {', '.join(required)} is required; it is run with a value that was made up")
    with scratch_folder() as scratch:
        trial = _run(draft, folder, {}, 0, scratch / "0")
        path = missing_file(trial.log, folder) or _first_folder_option(draft, folder)
        if FAILED.match(trial.result.error):
            path = path or _first_sibling_folder(folder)
        if trial.result.status == "failed" and path and not draft.cwd:
            draft = replace(draft, cwd=".")
            trial = _run(draft, folder, {}, 0, scratch / "1")
            if not FAILED.match(trial.result.error):
                say(f"--try: it reads {path} from where it lies: cwd is set")
        if FAILED.match(trial.result.error):
            raise UserError(
                f"{draft.script}: --try: the script fails with its defaults: {trial.result.error}; give what it needs "
                "by --set NAME=VALUE"
            )
        draft = _with_metric(draft, trial, say)
        if draft.confirmed:
            _check(draft, folder, scratch, say)
    return draft


def _first_folder_option(draft: Draft, folder: Path) -> str:
    """The first value of an option that names a folder in `folder`; empty for none.

    A script that does not find its data may try to download them rather than name what is missing.
    """
    values = [option.value for option in draft.options.options if isinstance(option.value, str)]
    texts = [value for value in values if value.strip("./") and not Path(value).is_absolute()]
    return next((text for text in texts if os.path.isdir(folder / text)), "")


def _first_sibling_folder(folder: Path) -> str:
    """The first folder next to the script, hidden ones and results aside; empty if none.

    The script, or a library that it uses, may name it.
    """
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir())
    return next((name for name in sorted(names) if name[0] not in "._" and name != "results"), "")


def _with_metric(draft: Draft, trial: ArmTrial, say: Say) -> Draft:
    """The draft with the metric that the run printed or wrote."""
    guesses = guesses_from_run(trial.log, trial.folder)
    guess = guesses[0] if guesses else None
    if trial.value is not None and draft.metric is not None and (guess is None or guess.rank <= draft.metric.rank):
        guess = draft.metric
    if guess is None:
        say("--try: nothing that it printed or wrote looks like a metric; name it under command.metric")
        return draft
    unit = ", in per cent" if guess.percent else ""
    unit += "" if guess.is_certain else "; the direction is a guess: check command.direction"
    where = ", ".join(f"{key}: {value}" for key, value in guess.source.items())
    say(f"--try: metric {guess.key} ({where}), {'higher' if guess.maximize else 'lower'} is better{unit}")
    others = [metric.key for metric in guesses if metric.key.lower() != guess.key.lower()]
    if others:
        say(f"--try: it could also be {', '.join(others[:MAX_OTHERS])}{', ...' * (len(others) > MAX_OTHERS)}")
    return replace(draft, metric=guess, confirmed=True)


def _check(draft: Draft, folder: Path, scratch: Path, say: Say) -> None:
    """Print whether a seed repeats, two seeds differ, and each component changes the metric."""
    baseline = _run(draft, folder, {}, 0, scratch / "own")
    if baseline.value is None:
        say(f"--try: the metric was not read: {single_line(baseline.result.error)}")
        return
    has_seed = any(option.is_seed for option in draft.options.options)
    say(f"--try: {'seed 0' if has_seed else 'first run'}: {baseline.value:g}")
    rerun = _run(draft, folder, {}, 0, scratch / "again").value
    if has_seed:
        repeats = "the same" if rerun == baseline.value else f"not the same ({rerun}): the seed does not fix everything"
        say(f"--try: seed 0 once more: {repeats}")
        other = _run(draft, folder, {}, 1, scratch / "other").value
        differs = "the same: the seed changes nothing" if other == baseline.value else f"{other}"
        say(f"--try: seed 1: {differs}")
    else:
        repeats = "the same" if rerun == baseline.value else f"{rerun}"
        effect = "blocks differ only if the script is random" if rerun == baseline.value else "blocks are not paired"
        say(f"--try: second run: {repeats}; no option sets a seed, so {effect}")
    options = [option for option in draft.options.options if not option.is_seed]
    for name, option, value in components(options):
        trial = _run(draft, folder, {option.name: value}, 0, scratch / f"part-{name}")
        if trial.value is None:
            change = single_line(trial.result.error)
        elif trial.value == baseline.value:
            change = "changes nothing"
        elif rerun != baseline.value:
            change = f"{trial.value:g}; with runs that do not repeat, that may be chance"
        else:
            change = f"{trial.value:g}"
        say(f"--try: {name} off ({_argument_text(option, value)}): {change}")


def _argument_text(option: ScriptOption, value: Any) -> str:
    """An option with a value as the script gets it: --lr=0.1; "without --ema" if it is omitted."""
    return " ".join(filled_arguments(option.arguments, {option.name: value})) or f"without {option.flag}"


def _run(draft: Draft, folder: Path, patch: Mapping[str, Any], seed: int, scratch: Path) -> ArmTrial:
    scratch.mkdir()
    text = space_text(draft if draft.metric else replace(draft, metric=ANY_METRIC))
    space = parse_space(f"{draft.script}", text.encode(), [f"command.time_limit={TIME_LIMIT:g}"], str(folder))
    space.module.check_inputs(space.spec)
    arm = space.method.arm(name=f"try-{seed}", kind="cell", cell="", block=0, seed=seed, patch=patch)
    return run_arm(space, arm, scratch)
