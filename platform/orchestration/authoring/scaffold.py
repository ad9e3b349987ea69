"""A space for a script: options become settings at their defaults, switches components."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from branchwise.orchestration.authoring.argparse_options import argparse_options
from branchwise.orchestration.authoring.metric_guess import Metric, guess_from_source
from branchwise.orchestration.authoring.options import NEGATIONS, ScriptOption, ScriptOptions, called
from branchwise.orchestration.authoring.other_options import (
    absl_options,
    click_options,
    dataclass_options,
    function_options,
    hydra_options,
)
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import to_yaml

MAX_COMPONENTS = 6
MAX_SOURCE = 4 << 20  # bytes of a script
MAX_MODULES = 20  # next to the script; their options are read, too
BLOCKS = 5
# Terms in the names of switches that are no part of a method.
TOOLING = re.compile(
    "debug|verbose|quiet|silent|dry|save|resume|cuda|gpu|cpu|mps|xpu|accel|tpu|log|wandb|tensorboard|tqdm|progress|plots?|"
    "download|overwrite|evaluate|eval|test|only|profile|pin|workers|version|push|cache|deterministic|benchmark|ddp|"
    "distributed|compile|visuali[sz]e|show|print|demo|display|fork|multiprocessing|sandbox|offline|hub|"
    "interactive|track|uuid|secure|optimize|render|record|capture|video|clearml|neptune|comet|mlflow"
)
REGULARISERS = re.compile("dropout|weight_decay|wd|momentum|smoothing|warmup|noise|clip|mixup|l2|alpha")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The material of a space."""

    script: Path
    options: ScriptOptions
    metric: Metric | None
    cwd: str = ""
    confirmed: bool = False  # the output of a run has the metric


def read_script(script: Path) -> Draft:
    """The options and the seed in the source of a script. Raises UserError if it cannot be read."""
    try:
        if script.stat().st_size > MAX_SOURCE:
            raise UserError(f"{script}: larger than {MAX_SOURCE >> 20} MiB, so not a script")
        text = script.read_bytes()
        tree = ast.parse(text) if script.suffix == ".py" else None
    except OSError as error:
        raise UserError(f"{script}: cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"{script}: is not Python that can be read: {error}") from error
    if tree is None:
        return Draft(script=script, options=ScriptOptions(), metric=None)
    modules = list(_modules(tree, script.parent, {script.resolve()}))
    options = _options(tree, modules, script.parent)
    metric = next((guess for module in [tree, *modules] if (guess := guess_from_source(module))), None)
    if options.parser == "HfArgumentParser" or (metric is None and "Trainer(" in ast.unparse(tree)):
        metric = Metric(key="eval_loss", source={"key": "eval_loss"}, maximize=False)
    return Draft(script=script, options=options, metric=metric)


def _modules(tree: ast.Module, folder: Path, visited: set[Path]) -> Iterator[ast.Module]:
    """The modules next to the script that it imports."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = folder / f"{name.replace('.', '/')}.py"
            if len(visited) <= MAX_MODULES and file.is_file() and file.resolve() not in visited:
                visited.add(file.resolve())
                try:
                    module = ast.parse(file.read_bytes())
                except (OSError, SyntaxError, ValueError, RecursionError):
                    continue
                yield module
                yield from _modules(module, folder, visited)


def _options(tree: ast.Module, modules: Sequence[ast.Module], folder: Path) -> ScriptOptions:
    calls = {called(node) for module in (tree, *modules) for node in ast.walk(module) if isinstance(node, ast.Call)}
    imports = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
        for module in (tree, *modules)
        for node in ast.walk(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    if "hydra" in imports:
        return hydra_options(tree, folder)
    if calls & {"HfArgumentParser", "TrlParser"}:
        return dataclass_options(tree, "HfArgumentParser")
    if "typer" in imports:
        return function_options(tree, "typer")
    if "click" in imports:
        return click_options(tree)
    if "add_argument" in calls:
        return argparse_options([tree, *modules])
    if "tyro" in imports or "simple_parsing" in imports:
        return dataclass_options(tree, "tyro")
    if "Fire" in calls:
        return function_options(tree, "fire")
    if "absl" in imports:
        return absl_options([tree, *modules])
    match = ScriptOptions()
    if "LightningCLI" in calls or "jsonargparse" in imports:
        match.notes.append("its options come from jsonargparse, which reads the code that it runs; write them by hand")
    return match


def summary(draft: Draft) -> str:
    """The options that were found, and those that were not, in a line."""
    options = draft.options
    if not options.total:
        return "; ".join(["found no options of argparse, click, typer, fire, tyro, absl or Hydra", *options.notes])
    skipped = ", ".join(f"{flag} ({reason})" for flag, reason in options.skipped.items())
    message = f"found {len(options.options)} of {options.total} options ({options.parser})"
    message += f"; left at the script's defaults: {skipped}" if skipped else ""
    required = [option.flag for option in options.options if option.required and not option.is_seed]
    message += f"; fill in {', '.join(required)}: required, without a default" if required else ""
    return "; ".join([message, *options.notes])


def space_text(draft: Draft) -> str:
    """The space as a commented YAML text."""
    options = [option for option in draft.options.options if not option.is_seed]
    seed = next((option for option in draft.options.options if option.is_seed), None)
    is_python = draft.script.suffix == ".py"
    arguments = ["python", draft.script.name] if is_python else [f"./{draft.script.name}"]
    arguments += draft.options.arguments
    positional = [
        option for option in options if not option.flag.startswith("-") and option.arguments[0].startswith("{")
    ]
    ordered = [*[option for option in options if option not in positional], *positional]
    if seed is not None:
        arguments += [argument.replace(f"{{{seed.name}}}", "{seed}") for argument in seed.arguments]
    arguments += draft.options.fixed
    arguments += [argument for option in ordered for argument in option.arguments]
    name = re.sub(r"[^a-z0-9._-]+", "-", draft.script.stem.lower()).strip("-._")[:40] or "space"
    lines = [
        "# What each part of the method is worth: branchwise run THIS_FILE (--dry-run: what would run)",
        f"name: {_scalar(name)}",
        "trainable: command",
        "command:",
        "  run:",
        f"    [{', '.join(map(_scalar, arguments))}]",
    ]
    if seed is None:
        lines.append(
            '    # no option sets the seed: add one to the script and "--seed={seed}" here, else seeds are noise'
        )
    if draft.cwd:
        lines.append(f"  cwd: {_scalar(draft.cwd)} # where the script runs, seen from this file: it reads files there")
    lines += _metric_lines(draft)
    lines += _setting_lines(options)
    lines += ["design:", "  components: # what can be switched off, and how", *_component_lines(options)]
    lines += [
        f"  blocks: {BLOCKS} # seeds: every combination runs once on each",
        "  # claims: [NAME.effect > 0] # what you expect, judged after the run",
        "# resources: {cpus_per_trial: 1, gpus_per_trial: 0}",
    ]
    return "\n".join(lines) + "\n"


def _metric_lines(draft: Draft) -> list[str]:
    metric = draft.metric
    if metric is None:
        return [
            "  # CHANGE THIS: where the result is found. {key: accuracy}: in the last JSON line that is printed;",
            '  # {file: result.json, key: accuracy}: in a file; {key: accuracy, pattern: "acc: {number}"}: in text',
            "  metric: {key: accuracy}",
            "  direction: maximize # or minimize",
            "  # range: [0, 100] # of a rate in per cent; without it, rates lie between 0 and 1",
        ]
    output = "as a run printed it" if draft.confirmed else "as the source reads; check it, or run init with --try"
    source = ", ".join(f"{key}: {_scalar(value)}" for key, value in metric.source.items())
    check = "" if metric.is_certain else " # CHECK: a guess, since the name does not tell"
    direction = "maximize" if metric.maximize else "minimize"
    lines = [f"  metric: {{{source}}} # {output}", f"  direction: {direction}{check}"]
    return [*lines, "  range: [0, 100] # printed in per cent"] if metric.percent else lines


def _setting_lines(options: Sequence[ScriptOption]) -> list[str]:
    if not options:
        return ["settings: {}"]
    lines = ["settings: # the script's own defaults"]
    for option in options:
        notes = []
        if option.required:
            notes.append(f"FILL IN: {option.flag} is required and has no default")
        if option.is_switch:
            notes.append(f"or {json.dumps(option.other)}")
        elif option.choices:
            notes.append(f"of {', '.join(map(json.dumps, option.choices))}"[:80])
        if option.note:
            notes.append(option.note)
        comment = f" # {'; '.join(notes)}" if notes else ""
        lines.append(f"  {option.name}: {_value(option.value)}{comment}")
    return lines


def components(options: Sequence[ScriptOption]) -> list[tuple[str, ScriptOption, Any]]:
    """Each component that is proposed: its name, its option and the value that switches it off."""
    chosen = [(option, option.other) for option in options if option.is_switch and not _tooling(option)]
    if not chosen:
        multiple = [option for option in options if len(option.choices) > 1 and not option.required]
        others = [(option, next(c for c in option.choices if c != option.value)) for option in multiple]
        chosen = [
            (option, other) for option, other in others if isinstance(option.value, str) == isinstance(other, str)
        ]
    if not chosen:
        numbers = [option for option in options if _number(option.value) and not option.required]
        regular = [option for option in numbers if REGULARISERS.search(option.name)]
        without = [(option, 0 * option.value) for option in regular]
        reduced = [(option, option.value / 10) for option in numbers if isinstance(option.value, float)]
        halved = [(option, option.value // 2) for option in numbers if abs(option.value) > 1]
        chosen = (without or reduced or halved)[:1]
    names: dict[str, tuple[str, ScriptOption, Any]] = {}
    for option, other in chosen:
        name = _component_name(option)
        names.setdefault(name, (name, option, other))
    return list(names.values())[:MAX_COMPONENTS]


def _component_lines(options: Sequence[ScriptOption]) -> list[str]:
    chosen = components(options)
    if not chosen:
        return [
            "    part: {off: {setting: 0}} # CHANGE THIS: name the parts of your method, and what switches each off"
        ]
    lines = []
    for name, option, other in chosen:
        comment = ""
        if option.is_switch and name.startswith("no_"):
            comment = f" # what the script's default, {name.replace('_', ' ', 1)}, is worth"
        elif not option.is_switch:
            comment = " # an example; name the parts of your method, and what switches each off"
        lines.append(f"    {name}: {{off: {{{option.name}: {_value(other)}}}}}{comment}")
    return lines


def _component_name(option: ScriptOption) -> str:
    """Name what the script does by default: aug of a flag --no-aug, no_ema of a flag --ema."""
    name = option.name.lower()
    if option.is_switch:
        negation = next((argument for argument in NEGATIONS if name.startswith(argument)), "")
        part = name.removeprefix(negation).removeprefix("use_").removeprefix("with_")
        name = (part if negation else name) if option.on != bool(negation) else f"no_{part}"
    name = re.sub(r"^[^a-z]+", "", name)[:32] or "part"
    return f"use_{name}"[:32] if name in ("full", "base", "own", "teacher", "best") else name


def _tooling(option: ScriptOption) -> bool:
    return any(TOOLING.fullmatch(argument) for argument in re.split(r"[-_.]+", option.flag.lower()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0


def _scalar(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text)
    return text if plain and to_yaml([text]) == f"- {text}\n" else json.dumps(text, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _scalar(value) if value else '""'
    return json.dumps(value)
