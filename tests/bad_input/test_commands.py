"""Any error in a space of a command or a function: a message, exit code 2, and no file written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import load_space

COMMAND = """\
name: script
trainable: command
command:
  run: [python, train.py, --lr, "{lr}", "{ema}", --seed, "{seed}"]
  metric: {file: result.json, key: accuracy}
  direction: maximize
settings: {lr: 0.1, ema: --ema}
design: {components: {ema: {off: {ema: ""}}}}
"""
FUNCTION = """\
name: function
trainable: bad_input_function:train
function: {metric: accuracy, direction: maximize}
settings: {lr: 0.1}
design: {components: {ema: {off: {ema: false}}}}
"""
COMMANDS = [
    # (what is replaced, by what, parts of the message)
    ("  direction: maximize\n", "", ["command: direction is missing: say maximize or minimize"]),
    ("maximize", "up", ["command.direction", "'maximize' or 'minimize'", "'up'"]),
    ("maximize", "maximize\n  scale: square", ["command.scale", "'logit'", "'square'"]),
    ("maximize", "maximize\n  range: [1, 0]", ["command: range [1.0, 0.0] is empty"]),
    ("maximize", "maximize\n  scale: logit\n  range: [0, null]", ["scale logit is for metrics with two bounds"]),
    ('"{lr}"', '"{lrr}"', ["command.run[3]: {lrr} is unknown; did you mean {lr}?"]),
    ('"{lr}"', '"{lr:.3f}"', ["command.run[3]", "{lr} is no placeholder"]),
    ('"{lr}"', '"{lr"', ["'{lr'", "write {{ and }} for braces"]),
    ('"{lr}"', '"{config}"', ["{config} names a file that is not written; add command.config"]),
    ('"{lr}"', '"0.1"', ["settings.lr: no placeholder {lr} uses it, so it would change nothing"]),
    ('run: [python, train.py, --lr, "{lr}", "{ema}", --seed, "{seed}"]', "run: []", ["command.run", "at least 1"]),
    ("  run: [", "  rnu: [", ["command.rnu: unknown key; did you mean run?"]),
    ("key: accuracy}", "kye: accuracy}", ["command.metric"]),
    ("file: result.json, key: accuracy", "key: ''", ["command.metric: key is missing"]),
    ("file: result.json, key", "file: result.json, pattern: x, key", ["give file or pattern, not both"]),
    ("file: result.json", "file: /tmp/result.json", ["/tmp/result.json lies outside the arm's folder"]),
    ("file: result.json", "file: ../result.json", ["../result.json lies outside the arm's folder"]),
    ("file: result.json, key: accuracy", "pattern: '(?P<a>x'", ["is not a regular expression"]),
    ("file: result.json, key: accuracy", "pattern: '(?P<a>x)', key: b", ["has no group for b; write (?P<b>{number})"]),
    (
        "maximize",
        "maximize\n  outcomes: {value: {key: a, direction: minimize}}",
        ["outcomes.value: this name is taken"],
    ),
    ("maximize", "maximize\n  outcomes: {cost: {key: a}}", ["command.outcomes.cost: direction is missing"]),
    ("maximize", "maximize\n  time_limit: 0", ["command.time_limit", "greater than 0"]),
    ("lr: 0.1", "lr: {a: [[1]]}", ["settings.lr.a: [[1]] is not allowed: a number"]),
    ("lr: 0.1", "seed: 1, lr: 0.1", ["settings.seed: {seed} is the seed of the arm's block"]),
    ("lr: 0.1", "l-r: 0.1", ["settings.l-r: a setting is named by letters"]),
    (
        'off: {ema: ""}',
        "off: {ema: 0}",
        ["components", "ema", "must be a text or null like the space's own"],
    ),
    ('off: {ema: ""}', "off: {ema: --ema}", ["equals the current value"]),
    ('off: {ema: ""}', "off: {eam: x}", ["there is no setting eam; a bare key is one of settings's (lr, ema)"]),
    ("trainable: command", "trainable: command\nresources: {workers: 2}", ["resources.workers: 2 is not allowed"]),
]
FUNCTIONS = [
    ("direction: maximize", "", ["function: direction is missing"]),
    ("metric: accuracy, ", "", ["function.metric: missing"]),
    ("lr: 0.1", "lrr: 0.1", ["settings.lrr: unknown key; did you mean lr?"]),
    ("lr: 0.1", "lr: high", ["settings.lr", "'high'"]),
    (":train", ":trian", ["trainable", "has no function 'trian'"]),
    ("bad_input_function", "bad_inptu_function", ["there is no module 'bad_inptu_function' in"]),
]


def refused(file: Path, text: str, old: str, new: str, expected_texts: list[str]) -> None:
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        load_space(file)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    for expected_text in expected_texts:
        assert expected_text in message, message


@pytest.mark.parametrize(("old", "new", "expected_texts"), COMMANDS)
def test_command(tmp_path: Path, old: str, new: str, expected_texts: list[str]) -> None:
    refused(tmp_path / "space.yaml", COMMAND, old, new, expected_texts)


@pytest.mark.parametrize(("old", "new", "expected_texts"), FUNCTIONS)
def test_function(tmp_path: Path, old: str, new: str, expected_texts: list[str]) -> None:
    (tmp_path / "bad_input_function.py").write_text("def train(seed: int, lr: float = 0.1, ema: bool = True): ...\n")
    refused(tmp_path / "space.yaml", FUNCTION, old, new, expected_texts)


def test_missing_program_starts_no_sweep(sweep_in_process: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(COMMAND.replace("run: [python", "run: [no-such-program"))
    code, output = sweep_in_process("--space", tmp_path / "space.yaml", "--storage", tmp_path / "runs")
    assert code == 2
    assert "command.run: no program 'no-such-program'" in output
    assert not (tmp_path / "runs").exists()
