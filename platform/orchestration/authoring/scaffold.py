"""A first space for a script: its options become settings, the rest is said in comments."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

from branchwise.orchestration.errors import UserError
from branchwise.trainables.command.words import BUILT_IN

MOST_SETTINGS = 12
SEEDS = ("seed", "random_seed", "random_state")


@dataclass(frozen=True)
class Option:
    """An option of a script: `--lr` with its default; the default of a switch is None."""

    flag: str
    default: int | float | str | None

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")


def space_for(script: Path) -> str:
    """A space that runs `script`, as text. Raises UserError when there is no such file."""
    try:
        text = script.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{script}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    options = options_of(text) if script.suffix == ".py" else []
    seed = next((option for option in options if option.name in SEEDS), None)
    own = [one for one in options if one != seed and one.name not in BUILT_IN][:MOST_SETTINGS]
    program = ["python", script.name] if script.suffix == ".py" else [f"./{script.name}"]
    words = [*program, *([seed.flag, "{seed}"] if seed else [])]
    for option in own:
        words += [f"{{{option.name}}}"] if option.default is None else [option.flag, f"{{{option.name}}}"]
    settings = {option.name: option.flag if option.default is None else option.default for option in own}
    return _TEXT.format(
        name=re.sub(r"[^a-z0-9._-]+", "-", script.stem.lower()).strip("-._") or "space",
        run=json.dumps(words),
        no_seed="" if seed else ' # add the option that sets the seed: --seed, "{seed}"',
        settings=json.dumps(settings),
        components=_components(own),
    )


def options_of(text: str) -> list[Option]:
    """The options that a script declares with argparse, as far as their defaults can be read."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            flag = next((name for name in names if name.startswith("--")), None)
            given = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
            switch = given.get("action") == "store_true"
            default = given.get("default")
            if flag and flag[2:].replace("-", "_").isidentifier():
                if flag[2:].replace("-", "_") in SEEDS:
                    found.append(Option(flag, 0))
                elif switch:
                    found.append(Option(flag, None))
                elif isinstance(default, int | float | str) and not isinstance(default, bool):
                    found.append(Option(flag, default))
    return found


def _components(options: list[Option]) -> str:
    """A component for each switch; else an example to fill in."""
    switches = [option for option in options if option.default is None and len(option.name) < 32][:6]
    if switches:
        return "".join(f'\n    {option.name}: {{off: {{{option.name}: ""}}}}' for option in switches)
    example = next((option for option in options if isinstance(option.default, int | float) and option.default), None)
    if example is None:
        return "\n    part: {off: {setting: 0}} # name the parts of your method, and what switches each off"
    told = "name the parts of your method, and what switches each off"
    return f"\n    {example.name}: {{off: {{{example.name}: 0}}}} # {told}"


_TEXT = """\
# What each part of the method is worth: branchwise run THIS_FILE (--dry-run: what would run)
name: {name}
trainable: command
command:
  run: {run}{no_seed}
  # Where the result is found: a key of a JSON file that the script writes into its working folder,
  metric: {{file: result.json, key: accuracy}}
  # of a JSON line that it prints (metric: {{key: accuracy}}), or a group of a pattern that a printed line matches:
  # metric: {{pattern: "test accuracy: (?P<accuracy>[0-9.]+)"}}
  direction: maximize # or minimize
  # scale: logit # effects on it: logit for rates, log for losses and distances, identity; default: by the metric's name
settings: {settings} # fill the {{placeholders}}; "" leaves a word out
design:
  components: # what can be switched off, and how{components}
  blocks: 3 # seeds: every combination runs once on each; 5 see much more
  # claims: [part.effect > 0] # what you expect, judged after the run
# resources: {{cpus_per_trial: 1, gpus_per_trial: 0}}
"""
